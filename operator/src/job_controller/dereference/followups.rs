//! Which Jobs follow a run: its verification and its report.

use migration_api::MigrationJob;
use migration_api::verify::VerifyMode;
use migration_core::records::{RunRecord, RunResult};

/// Returns which Jobs follow the runs of a job.
pub fn followup_settings(job: &MigrationJob) -> FollowupSettings {
    let verification = job.spec.verify.mode == VerifyMode::Full;
    FollowupSettings { verification, report: job.spec.report.is_some() }
}

/// The Jobs that follow a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowupSettings {
    /// Runs are verified.
    pub verification: bool,
    /// Runs are reported.
    pub report: bool,
}

impl FollowupSettings {
    /// Returns the run if it is to be verified. The copy of a failed run is known to be incomplete.
    pub fn verified(self, run: Option<&RunRecord>) -> Option<&RunRecord> {
        let is_over = |run: &&RunRecord| run.end.as_ref().is_some_and(|end| end.result != RunResult::Failed);
        run.filter(|_| self.verification).filter(is_over)
    }

    /// Returns the run if it is to be reported. A failed run has moved objects, too.
    pub fn reported(self, run: Option<&RunRecord>) -> Option<&RunRecord> {
        run.filter(|run| self.report && run.end.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::runs::lifecycle::tests::run;

    #[test]
    fn only_runs_that_are_over_are_followed() {
        let all = FollowupSettings { verification: true, report: true };
        for (run, verified, reported) in [
            (run(true, None), false, false),
            (run(true, Some(RunResult::Complete)), true, true),
            (run(true, Some(RunResult::PartiallyFailed)), true, true),
            (run(false, Some(RunResult::Failed)), false, true),
        ] {
            assert_eq!(all.verified(Some(&run)).is_some(), verified, "{run:?}");
            assert_eq!(all.reported(Some(&run)).is_some(), reported, "{run:?}");
            assert_eq!(
                FollowupSettings::default().verified(Some(&run)).or(FollowupSettings::default().reported(Some(&run))),
                None
            );
        }
    }
}
