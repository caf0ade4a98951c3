//! Replaces the Job of a scan whose next pod Kubernetes holds back.
//!
//! Kubernetes creates the next pod of a Job 10 s after one has ended, 20 s after the next one, and so on up to 10 minutes;
//! pods that were evicted or stopped count like those that failed. Source: `pkg/controller/job/backoff_utils.go`.

use migration_core::records::RunRecord;

use crate::job_controller::dereference::cluster::ObservedJob;

/// How long a scan is left without a jobsender before its Job is replaced, in milliseconds. Longer than the 40 s before the
/// last pod of a Job that fails, which must not be retried for ever.
const HELD_BACK_MS: i64 = 60_000;

/// Returns the Job of a live run's scan if it has had no pod for too long. Another Job continues the scan at once.
pub fn held_back<'a>(run: &RunRecord, jobs: &'a [ObservedJob], now: i64) -> Option<&'a ObservedJob> {
    let mut unfinished = jobs.iter().filter(|job| job.is_unfinished());
    let (job, None) = (unfinished.next()?, unfinished.next()) else { return None };
    let is_open = run.end.is_none() && !run.scan.closed;
    let since = job.begun.max(run.lease_until);
    (is_open && !job.active && !job.suspended && now - since > HELD_BACK_MS).then_some(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::dereference::cluster::JobState;
    use crate::job_controller::runs::lifecycle::tests::{failed, job, run};
    use migration_core::records::RunResult;

    const LATE: i64 = 1_000_000;

    fn unfinished() -> ObservedJob {
        job("photos-run-1", JobState::Unfinished)
    }

    #[test]
    fn only_an_open_scan_that_nobody_continues_is_held_back() {
        let (open, own) = (run(false, None), unfinished());
        let found = |run: &RunRecord, jobs: &[ObservedJob], now| held_back(run, jobs, now).map(|job| job.name.clone());
        assert_eq!(found(&open, std::slice::from_ref(&own), LATE).as_deref(), Some("photos-run-1"));
        let ended = job("photos-run-0", failed());
        assert!(found(&open, &[own.clone(), ended.clone()], LATE).is_some(), "an earlier one has ended");
        for (run, jobs) in [
            (run(true, None), vec![own.clone()]),
            (run(true, Some(RunResult::Complete)), vec![own.clone()]),
            (open.clone(), vec![ObservedJob { active: true, ..own.clone() }]),
            (open.clone(), vec![ObservedJob { suspended: true, ..own.clone() }]),
            (open.clone(), vec![own.clone(), job("by-hand", JobState::Unfinished)]),
            (open.clone(), vec![ended]),
        ] {
            assert_eq!(found(&run, &jobs, LATE), None, "{jobs:?}");
        }
    }

    #[test]
    fn a_job_has_a_minute_from_its_start_and_from_the_end_of_the_lease() {
        let leased = RunRecord { lease_until: LATE, ..run(false, None) };
        let resumed = ObservedJob { begun: LATE, ..unfinished() };
        for (run, job) in [(leased, unfinished()), (run(false, None), resumed)] {
            let jobs = [job];
            assert_eq!(held_back(&run, &jobs, LATE + HELD_BACK_MS), None);
            assert!(held_back(&run, &jobs, LATE + HELD_BACK_MS + 1).is_some());
        }
    }
}
