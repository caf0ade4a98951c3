//! What is shown of a MigrationJob.

use kube::ResourceExt as _;
use migration_api::status::{MigrationJobStatus, Phase};
use migration_api::{ConditionType, MigrationJob, Reason};
use serde::Serialize;

use super::jobs::Found;

/// The state of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusRow {
    namespace: String,
    job: String,
    phase: String,
    objects: String,
    bytes: String,
    failed: u64,
    rate: String,
    eta: String,
    cost: String,
    workers: String,
    dead_letters: u64,
    last_run: String,
    message: String,
}

impl StatusRow {
    /// Creates the row of a job.
    pub fn new(found: &Found) -> Self {
        let row = Self { namespace: found.namespace().unwrap_or_default(), job: found.name_any(), ..Self::default() };
        match &found.0 {
            Ok(job) => Self::of_status(row, job),
            Err(invalid) => Self { message: format!("can't be read: {}", invalid.error), ..row },
        }
    }

    fn of_status(row: Self, job: &MigrationJob) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let display = status.display.clone().unwrap_or_default();
        Self {
            phase: phase(&status).as_str().to_owned(),
            objects: display.objects.unwrap_or_default(),
            bytes: display.bytes.unwrap_or_default(),
            failed: status.progress.as_ref().map_or(0, |progress| progress.objects.failed),
            rate: display.rate.unwrap_or_default(),
            eta: display.eta.unwrap_or_default(),
            cost: display.cost.unwrap_or_default(),
            workers: display.workers.unwrap_or_default(),
            dead_letters: status.queue.map_or(0, |queue| queue.dead_letters),
            last_run: status.last_run.as_ref().map(|run| run.ended_at.0.to_string()).unwrap_or_default(),
            message: message(&status),
            ..row
        }
    }
}

/// Returns the phase; `Pending` as long as the operator has written none.
pub fn phase(status: &MigrationJobStatus) -> Phase {
    status.phase.unwrap_or(Phase::Pending)
}

/// Returns what is wrong; otherwise what is going on.
pub fn message(status: &MigrationJobStatus) -> String {
    if let Some((true, degraded)) = status.condition(ConditionType::Degraded) {
        return format!("{}: {}", degraded.reason, degraded.message);
    }
    status.condition(ConditionType::Progressing).map(|(_, condition)| condition.message.clone()).unwrap_or_default()
}

fn is_over_budget(status: &MigrationJobStatus) -> bool {
    let condition = status.condition(ConditionType::Suspended);
    condition.is_some_and(|(holds, condition)| holds && condition.reason == Reason::OverBudget.to_string())
}

/// Returns true if nothing of a job is going on or about to start: its last run has ended and its trigger is answered,
/// or it is suspended or over its budget, or its resource can't be read.
pub fn is_at_rest(found: &Found) -> bool {
    let Ok(job) = &found.0 else { return true };
    let status = job.status.clone().unwrap_or_default();
    match phase(&status) {
        // The status follows the specification. A run over its budget waits for a person.
        Phase::Suspended => job.spec.suspend || is_over_budget(&status),
        Phase::Pending | Phase::Scanning | Phase::Transferring | Phase::Verifying => false,
        Phase::Complete | Phase::PartiallyFailed | Phase::Failed | Phase::Watching => {
            job.spec.trigger.manual.is_none() || job.spec.trigger.manual == status.last_manual_run
        }
    }
}
