//! Tells the metrics what a reconciliation found, or that it failed.

use kube::ResourceExt;
use migration_api::status::MigrationJobStatus;
use migration_api::{MigrationJob, Reason};
use migration_engine::run::look::RunView;

use super::context::Context;
use super::dereference::ledger::LedgerView;
use super::status::{Steps, Written};
use crate::metrics::{JobReading, LiveRun, RunReading, ScheduleReading};

/// Sets the metrics of a job.
pub(super) fn measure(job: &MigrationJob, steps: &Steps<'_>, written: &Written, context: &Context) {
    let reading = JobReading {
        status: &written.status,
        degraded: &written.degraded,
        queue: steps.observed.depth,
        run: run(steps.runs.ledger.as_deref()),
        schedule: schedule(steps, written),
        now: context.now(),
    };
    context.metrics.read(&job.namespace().unwrap_or_default(), &job.name_any(), &reading);
}

fn run(ledger: Option<&LedgerView>) -> RunReading {
    let Some(ledger) = ledger else { return RunReading::Unknown };
    let Some(RunView { record, tally }) = ledger.live() else { return RunReading::None };
    let mirror = record.mirror.unwrap_or_default();
    RunReading::Live(LiveRun {
        since: record.started,
        last_end: tally.as_ref().and_then(|tally| tally.last_end),
        extraneous: [record.scan.counts.extra, mirror.deleted, mirror.kept],
    })
}

/// Tells the metrics that a reconciliation failed; `written`: the status that says why, with the reason.
pub(super) fn failed(job: &MigrationJob, written: Option<&(MigrationJobStatus, Reason)>, context: &Context) {
    let problem = written.map(|(status, reason)| (status, reason));
    context.metrics.failed(&job.namespace().unwrap_or_default(), &job.name_any(), problem, context.now());
}

fn schedule(steps: &Steps<'_>, written: &Written) -> Option<ScheduleReading> {
    let cron_job = steps.observed.cluster.cron_job.ours()?;
    let last = cron_job.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    Some(ScheduleReading {
        next: written.status.next_schedule_time.as_ref()?.0.as_millisecond(),
        last: last.map(|time| time.0.as_millisecond()),
        // The operator sets it.
        deadline: cron_job.spec.starting_deadline_seconds?.saturating_mul(1_000),
    })
}
