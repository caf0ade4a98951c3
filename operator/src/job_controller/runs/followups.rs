//! The Jobs that follow a run: its verification and its report.

use kube::ResourceExt;
use migration_api::MigrationJob;
use migration_core::records::{ReportRecord, RunRecord, VerificationRecord};

use crate::job_controller::dereference::cluster::{JobState, ObservedJob};
use crate::job_controller::dereference::followups::followup_settings;
use crate::job_controller::dereference::ledger::LedgerView;
use crate::names;

/// How far a Job that follows the last run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowupState<T> {
    /// There is nothing to do, or it is not requested.
    None,
    /// Its Job is to be created.
    Due,
    /// Its Job is running.
    Running,
    /// It has this result.
    Ended(T),
    /// Its Job failed for good without a result, for this reason.
    Failed(String),
}

/// The verification of the last run.
pub type Verification = FollowupState<VerificationRecord>;
/// The report of the last run.
pub type Report = FollowupState<ReportRecord>;

/// Returns how far the Job named `job` is. `run` is the last run, if it is over and to be followed.
///
/// | run | recorded | its Job | state |
/// |---|---|---|---|
/// | none | | | none |
/// | there | yes | any | ended |
/// | there | no | none | due |
/// | there | no | unfinished | running |
/// | there | no | succeeded | running: the next reconciliation reads its record |
/// | there | no | failed | failed |
pub fn state<T: Clone>(
    run: Option<&RunRecord>,
    recorded: Option<&T>,
    job: &str,
    jobs: &[ObservedJob],
) -> FollowupState<T> {
    if run.is_none() {
        return FollowupState::None;
    }
    if let Some(record) = recorded {
        return FollowupState::Ended(record.clone());
    }
    match jobs.iter().find(|other| other.name == job).map(|job| &job.state) {
        None => FollowupState::Due,
        Some(JobState::Failed { message }) => FollowupState::Failed(message.clone()),
        Some(JobState::Unfinished | JobState::Succeeded) => FollowupState::Running,
    }
}

/// Returns how far the verification of the last run is.
pub fn verification(job: &MigrationJob, view: Option<&LedgerView>, jobs: &[ObservedJob]) -> Verification {
    let last = view.and_then(|view| view.run.as_ref()).map(|run| &run.record);
    let run = followup_settings(job).verified(last);
    let name = run.map(|run| names::verify(&job.name_any(), &run.run)).unwrap_or_default();
    state(run, view.and_then(|view| view.verification.as_ref()), &name, jobs)
}

/// Returns how far the report of the last run is.
pub fn report(job: &MigrationJob, view: Option<&LedgerView>, jobs: &[ObservedJob]) -> Report {
    let last = view.and_then(|view| view.run.as_ref()).map(|run| &run.record);
    let run = followup_settings(job).reported(last);
    let name = run.map(|run| names::report(&job.name_any(), &run.run)).unwrap_or_default();
    state(run, view.and_then(|view| view.report.as_ref()), &name, jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::runs::lifecycle::tests::{job, run};
    use migration_core::records::RunResult;

    #[test]
    fn a_run_is_followed_as_the_table_says() {
        let ended = run(true, Some(RunResult::Complete));
        let failed = JobState::Failed { message: "why".into() };
        let jobs = |state: Option<&JobState>| {
            state.map(|state| job("photos-report-1", state.clone())).into_iter().collect::<Vec<_>>()
        };
        for (last, recorded, state_of_job, expected) in [
            (None, None, None, FollowupState::None),
            (Some(&ended), Some(&7), Some(&failed), FollowupState::Ended(7)),
            (Some(&ended), None, None, FollowupState::Due),
            (Some(&ended), None, Some(&JobState::Unfinished), FollowupState::Running),
            (Some(&ended), None, Some(&JobState::Succeeded), FollowupState::Running),
            (Some(&ended), None, Some(&failed), FollowupState::Failed("why".into())),
        ] {
            let found = state(last, recorded, "photos-report-1", &jobs(state_of_job));
            assert_eq!(found, expected, "{last:?} {recorded:?} {state_of_job:?}");
        }
    }
}
