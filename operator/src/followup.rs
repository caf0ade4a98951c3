//! What follows a run by a Job of its own: its verification, and its report.

use migration_core::records::{ReportRecord, RunRecord, RunResult, VerificationRecord};

use crate::cluster::{JobState, SendJob};

/// How far something that follows the last run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State<T> {
    /// There is nothing to do, or nobody wants it.
    None,
    /// Its Job is to be made.
    Due,
    /// Its Job is at work.
    Running,
    /// It is over.
    Ended(T),
    /// Its Job failed for good without a result.
    Failed(String),
}

/// The verification of the last run.
pub type Verification = State<VerificationRecord>;
/// The report of the last run.
pub type Report = State<ReportRecord>;

/// Decides it. `run` is the last run, where it is over and the job wants that; `job` is the name of its Job.
///
/// | run | recorded | its Job | state |
/// |---|---|---|---|
/// | none | | | none |
/// | there | yes | any | ended |
/// | there | no | none | due |
/// | there | no | unfinished | running |
/// | there | no | succeeded | running: its record is seen with the next look |
/// | there | no | failed | failed |
pub fn state<T: Clone>(run: Option<&RunRecord>, recorded: Option<&T>, job: &str, jobs: &[SendJob]) -> State<T> {
    if run.is_none() {
        return State::None;
    }
    if let Some(record) = recorded {
        return State::Ended(record.clone());
    }
    match jobs.iter().find(|other| other.name == job).map(|job| &job.state) {
        None => State::Due,
        Some(JobState::Failed { message }) => State::Failed(message.clone()),
        Some(JobState::Unfinished | JobState::Succeeded) => State::Running,
    }
}

/// What follows the last run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Runs are verified.
    pub verification: bool,
    /// Runs are reported.
    pub report: bool,
}

impl Wanted {
    /// The run, if it is to be verified. What a failed run left is not a copy that anybody takes for whole.
    pub fn verified(self, run: Option<&RunRecord>) -> Option<&RunRecord> {
        let is_over = |run: &&RunRecord| run.end.as_ref().is_some_and(|end| end.result != RunResult::Failed);
        run.filter(|_| self.verification).filter(is_over)
    }

    /// The run, if it is to be reported: also one that failed has moved objects.
    pub fn reported(self, run: Option<&RunRecord>) -> Option<&RunRecord> {
        run.filter(|run| self.report && run.end.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::{job, run};

    #[test]
    fn a_run_is_followed_as_the_table_says() {
        let ended = run(true, Some(RunResult::Complete));
        let failed = JobState::Failed { message: "why".into() };
        let jobs = |state: Option<&JobState>| {
            state.map(|state| job("photos-report-1", state.clone())).into_iter().collect::<Vec<_>>()
        };
        for (last, recorded, state_of_job, expected) in [
            (None, None, None, State::None),
            (Some(&ended), Some(&7), Some(&failed), State::Ended(7)),
            (Some(&ended), None, None, State::Due),
            (Some(&ended), None, Some(&JobState::Unfinished), State::Running),
            (Some(&ended), None, Some(&JobState::Succeeded), State::Running),
            (Some(&ended), None, Some(&failed), State::Failed("why".into())),
        ] {
            let found = state(last, recorded, "photos-report-1", &jobs(state_of_job));
            assert_eq!(found, expected, "{last:?} {recorded:?} {state_of_job:?}");
        }
    }

    #[test]
    fn only_runs_that_are_over_are_followed() {
        let all = Wanted { verification: true, report: true };
        for (run, verified, reported) in [
            (run(true, None), false, false),
            (run(true, Some(RunResult::Complete)), true, true),
            (run(true, Some(RunResult::PartiallyFailed)), true, true),
            (run(false, Some(RunResult::Failed)), false, true),
        ] {
            assert_eq!(all.verified(Some(&run)).is_some(), verified, "{run:?}");
            assert_eq!(all.reported(Some(&run)).is_some(), reported, "{run:?}");
            assert_eq!(Wanted::default().verified(Some(&run)).or(Wanted::default().reported(Some(&run))), None);
        }
    }
}
