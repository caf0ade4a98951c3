//! Decides when a job is reconciled again.

use std::time::Duration;

use migration_api::Reason;
use migration_api::status::Phase;

use crate::job_controller::dereference::cluster::{Cluster, ObservedJob};
use crate::job_controller::status::Written;

/// The delay while a run is in progress or the job is degraded.
const ACTIVE: Duration = Duration::from_secs(5);
/// The delay while nothing moves. A Job that starts to send causes a reconciliation at once.
const IDLE: Duration = Duration::from_mins(10);

/// Returns the delay until the next reconciliation: short while something moves, is wrong, or is still to be scaled down.
pub fn after(written: &Written, cluster: &Cluster, min_replicas: u32, start_pending: bool) -> Duration {
    let Written { status, degraded } = written;
    // These end only when a person acts, so frequent checks do not help.
    let needs_person = |reason: &Reason| {
        matches!(reason, Reason::JobsenderFailed | Reason::SpecInvalid | Reason::LedgerRecordsLeftOut)
    };
    let is_degraded = degraded.as_ref().is_some_and(|reason| !needs_person(reason));
    let has_messages = status.queue.is_some_and(|queue| queue.visible + queue.in_flight > 0);
    let is_suspended = status.phase == Some(Phase::Suspended);
    let is_active = status.current_run.is_some()
        || start_pending
        || has_messages
        || status.workers.is_some_and(|workers| workers.desired > min_replicas)
        || cluster.jobs.iter().chain(&cluster.followups).any(ObservedJob::is_unfinished);
    if is_degraded || (is_active && !is_suspended) { ACTIVE } else { IDLE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::dereference::cluster::JobState;
    use crate::job_controller::runs::lifecycle::tests::job;
    use migration_api::status::{MigrationJobStatus, QueueDepth, Workers};

    #[test]
    fn only_jobs_that_are_active_or_degraded_are_reconciled_often() {
        let idle = MigrationJobStatus { phase: Some(Phase::Complete), ..MigrationJobStatus::default() };
        let workers = |desired| MigrationJobStatus { workers: Some(Workers { desired, ready: 0 }), ..idle.clone() };
        let written = |status: &MigrationJobStatus| Written { status: status.clone(), degraded: None };
        let delay =
            |status: &MigrationJobStatus, cluster: &Cluster, pending| after(&written(status), cluster, 0, pending);
        let nothing = Cluster::default();
        assert_eq!(delay(&workers(0), &nothing, false), IDLE);
        assert_eq!(delay(&workers(1), &nothing, false), ACTIVE, "still to be scaled down");
        assert_eq!(after(&written(&workers(1)), &nothing, 1, false), IDLE, "the fewest that there may be");
        assert_eq!(delay(&idle, &nothing, true), ACTIVE, "a run is requested");
        let sending = Cluster { jobs: vec![job("j", JobState::Unfinished)], ..Cluster::default() };
        assert_eq!(delay(&idle, &sending, false), ACTIVE);
        let mut live = MigrationJobStatus { current_run: Some("r".into()), ..idle.clone() };
        assert_eq!(delay(&live, &nothing, false), ACTIVE);
        live.phase = Some(Phase::Suspended);
        assert_eq!(delay(&live, &nothing, false), IDLE);
        let queue = Some(QueueDepth { visible: 0, in_flight: 1, dead_letters: 9 });
        assert_eq!(delay(&MigrationJobStatus { queue, ..idle.clone() }, &nothing, false), ACTIVE);
        let dead = Some(QueueDepth { visible: 0, in_flight: 0, dead_letters: 9 });
        assert_eq!(delay(&MigrationJobStatus { queue: dead, ..idle.clone() }, &nothing, false), IDLE);
        let degraded = |reason| after(&Written { status: idle.clone(), degraded: Some(reason) }, &nothing, 0, false);
        assert_eq!(degraded(Reason::SecretMissing), ACTIVE);
        for reason in [Reason::JobsenderFailed, Reason::SpecInvalid, Reason::LedgerRecordsLeftOut] {
            assert_eq!(degraded(reason.clone()), IDLE, "{reason}: a person must act");
        }
    }
}
