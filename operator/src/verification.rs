//! When a run is verified, and what is known of that.

use migration_api::verify::VerifyMode;
use migration_core::records::{RunRecord, RunResult, VerificationRecord};

use crate::dereference::cluster::{JobState, SendJob};
use crate::names;

/// How far the verification of the last run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is nothing to verify, or nobody wants it.
    None,
    /// Its Job is to be made.
    Due,
    /// Its Job is at work.
    Running,
    /// It is over.
    Ended(VerificationRecord),
    /// Its Job failed for good without a result.
    Failed(String),
}

/// Decides it.
///
/// | mode | last run | recorded | its Job | state |
/// |---|---|---|---|---|
/// | Written | any | | | none |
/// | Full | none, live, or failed | | | none |
/// | Full | ended | yes | any | ended |
/// | Full | ended | no | none | due |
/// | Full | ended | no | unfinished | running |
/// | Full | ended | no | succeeded | running: its record is seen with the next look |
/// | Full | ended | no | failed | failed |
pub fn state(
    mode: VerifyMode,
    job: &str,
    last: Option<&RunRecord>,
    recorded: Option<&VerificationRecord>,
    jobs: &[SendJob],
) -> State {
    let Some(run) = last.filter(|run| mode == VerifyMode::Full && is_over(run)) else { return State::None };
    if let Some(record) = recorded {
        return State::Ended(*record);
    }
    let name = names::verify(job, &run.run);
    match jobs.iter().find(|job| job.name == name).map(|job| &job.state) {
        None => State::Due,
        Some(JobState::Failed { message }) => State::Failed(message.clone()),
        Some(JobState::Unfinished | JobState::Succeeded) => State::Running,
    }
}

/// What a failed run left is not a copy that anybody takes for whole.
pub fn is_over(run: &RunRecord) -> bool {
    run.end.as_ref().is_some_and(|end| end.result != RunResult::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::{job, run};
    use VerifyMode::{Full, Written};
    use migration_core::verification::{Verification, VerifyMethod};

    #[test]
    fn a_run_is_verified_as_the_table_says() {
        let ended = run(true, Some(RunResult::Complete));
        let record = VerificationRecord { at: 1, method: VerifyMethod::Listing, found: Verification::default() };
        let failed = JobState::Failed { message: "why".into() };
        let name = names::verify("photos", &ended.run);
        let jobs =
            |state: Option<&JobState>| state.map(|state| job(&name, state.clone())).into_iter().collect::<Vec<_>>();
        for (mode, last, recorded, state_of_job, expected) in [
            (Written, Some(&ended), None, None, State::None),
            (Full, None, None, None, State::None),
            (Full, Some(&run(true, None)), None, None, State::None),
            (Full, Some(&run(false, Some(RunResult::Failed))), None, None, State::None),
            (Full, Some(&ended), Some(&record), Some(&failed), State::Ended(record)),
            (Full, Some(&ended), None, None, State::Due),
            (Full, Some(&ended), None, Some(&JobState::Unfinished), State::Running),
            (Full, Some(&ended), None, Some(&JobState::Succeeded), State::Running),
            (Full, Some(&ended), None, Some(&failed), State::Failed("why".into())),
        ] {
            let found = state(mode, "photos", last, recorded, &jobs(state_of_job));
            assert_eq!(found, expected, "{mode:?} {last:?} {recorded:?} {state_of_job:?}");
        }
    }
}
