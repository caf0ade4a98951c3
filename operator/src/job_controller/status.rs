//! The last step: computes the status and writes it if it changed.

mod compute;
mod conditions;
mod cost;
mod display;
mod events;
mod limits;
mod nodes;
mod notifications;
mod preflight;

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Resource, ResourceExt};
use migration_api::buckets::BucketMapping;
use migration_api::config::QueueAndTable;
use migration_api::preflight::PreflightStatus;
use migration_api::status::{MigrationJobStatus, QueueDepth, Workers};
use migration_api::trigger::EventTriggerStatus;
use migration_api::{MigrationJob, Reason};
use migration_core::config::RateLimits;
use migration_core::cost::{Money, PriceTable};
use serde_json::json;
use tracing::warn;

use crate::job_controller::apply::Applied;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::cluster::{self, ObservedJob};
use crate::job_controller::dereference::ledger::{LedgerView, ShownRuns};
use crate::job_controller::dereference::limits::rate_limits;
use crate::job_controller::dereference::sharing::Sharing;
use crate::job_controller::dereference::{Observed, budget};
use crate::job_controller::events::EventsOutcome;
use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::optimistic;
use crate::job_controller::preflight::PreflightOutcome;
use crate::job_controller::runs::followups::{FollowupState, Report, Verification};
use crate::job_controller::runs::{RunsOutcome, lifecycle};
use crate::job_controller::scale::{Scaled, ScalingCondition};
use crate::job_controller::validate::run_configs::Validated;
use crate::names;
use crate::problem::Problem;
use compute::{blocked, compute};

pub use compute::with_problem;

/// The outputs of the earlier steps.
#[derive(Clone, Copy)]
pub struct Steps<'a> {
    /// The output of the first step.
    pub observed: &'a Observed,
    /// The configurations of its runs.
    pub validated: &'a Validated,
    /// The children.
    pub applied: &'a Applied,
    /// The check of the buckets.
    pub preflight: &'a PreflightOutcome,
    /// The events that start transfers.
    pub events: &'a EventsOutcome,
    /// The runs.
    pub runs: &'a RunsOutcome,
    /// The workers.
    pub scaled: &'a Scaled,
}

/// The output of the step.
pub struct Written {
    /// The status.
    pub status: MigrationJobStatus,
    /// Why the condition Degraded holds, the most important reason first; empty if it does not.
    pub degraded: Vec<Reason>,
    /// Nothing new starts because of a problem.
    pub blocked: bool,
    /// When the job comes back for a notification to announce or to deliver, or for a run that is not shown yet; none if
    /// there is neither.
    pub again: Option<Duration>,
}

/// Why the step failed.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The status could not be written.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
}

/// The time until the next run is shown after one whose end had been missed.
const NEXT_RUN: Duration = Duration::from_secs(1);

/// Computes the status from what the earlier steps returned, and writes it if it changed.
///
/// A run that ended and is not the last one any more is shown as if the next one had not begun: so its end stands in the
/// history and is announced before the next run is shown.
pub async fn update(job: &MigrationJob, steps: &Steps<'_>, context: &Context) -> Result<Written, StatusError> {
    let (blocking, nonblocking) = (steps.blocking(), steps.nonblocking());
    let notes = steps.notes(job);
    let input = steps.input(job, (&blocking, &nonblocking, &notes), context.now());
    let view = steps.runs.ledger.as_deref();
    let missed = view.and_then(|view| view.at_missed_end(ShownRuns::of(job.status.as_ref())));
    let input = missed.as_ref().map_or_else(|| input.clone(), |view| input.at_missed_end(view));
    let status = compute(&job.status.clone().unwrap_or_default(), &input);
    let degraded = conditions::degrading(&input, &status).into_iter().map(|problem| problem.reason).collect();
    let status = write(job, status, context).await?;
    let again = notifications::send(job, &status, context).into_iter().chain(missed.map(|_| NEXT_RUN)).min();
    Ok(Written { status, degraded, blocked: !blocking.is_empty(), again })
}

/// Writes the condition Degraded and leaves the rest of the status as it is. A failure is only logged. Returns the status.
pub async fn write_problem(job: &MigrationJob, problem: &Problem, context: &Context) -> MigrationJobStatus {
    let old = job.status.clone().unwrap_or_default();
    let new = with_problem(&old, problem, job.metadata.generation, context.now());
    match write(job, new.clone(), context).await {
        Ok(written) => {
            notifications::send(job, &written, context);
            written
        }
        Err(error) => {
            warn!(problem = problem.message, %error, "failed to report problem");
            new
        }
    }
}

/// Adds notifications to a status, writes it if it changed, and publishes events about the change. If the operator ends in
/// between, the events are lost, rather than published twice. Returns the status.
async fn write(
    job: &MigrationJob,
    new: MigrationJobStatus,
    context: &Context,
) -> Result<MigrationJobStatus, StatusError> {
    let uid = job.uid().unwrap_or_default();
    let outcomes = context.courier.outcomes(&uid);
    let (new, decided) = notifications::add(job, new, &outcomes, context);
    let old = job.status.clone().unwrap_or_default();
    if old != new {
        store(job, &new, context).await?;
        let about = job.object_ref(&());
        for event in events::of_change(&old, &new).into_iter().chain(notifications::events(&decided.given_up)) {
            context.publish(&about, event).await;
        }
    }
    context.courier.settle(&uid, &outcomes);
    context.metrics.notified(&job.namespace().unwrap_or_default(), &job.name_any(), &decided.results);
    Ok(new)
}

async fn store(job: &MigrationJob, new: &MigrationJobStatus, context: &Context) -> Result<(), StatusError> {
    let params = PatchParams::apply(names::MANAGER).force();
    let api = context.api::<MigrationJob>(&job.namespace().unwrap_or_default());
    let send = |now: MigrationJob| {
        let patch = json!({
            "apiVersion": MigrationJob::api_version(&()), "kind": MigrationJob::kind(&()),
            // With both, neither a resource that took the name of this one gets its status, nor one whose status
            // another operator wrote meanwhile.
            "metadata": {"uid": now.uid(), "resourceVersion": now.resource_version()}, "status": new,
        });
        let (api, name, params) = (api.clone(), now.name_any(), params.clone());
        async move { api.patch_status(&name, &params, &Patch::Apply(patch)).await }
    };
    let is_same = |one: &MigrationJob, other: &MigrationJob| one.status == other.status;
    optimistic::write(&api, job, "write status of", is_same, send).await?;
    Ok(())
}

impl Steps<'_> {
    /// Returns the problems because of which nothing new starts, in the order of the steps.
    fn blocking(&self) -> Vec<Problem> {
        let Self { observed, validated, applied, preflight, events, runs, scaled } = self;
        let before = [&observed.problems, &validated.problems, &applied.problems, &preflight.problems];
        let after = [&events.problems, &runs.problems, &scaled.problems];
        before.into_iter().chain(after).flatten().cloned().collect()
    }

    /// Returns the other problems.
    fn nonblocking(&self) -> Vec<Problem> {
        let Self { observed, runs, .. } = self;
        let view = runs.ledger.as_deref();
        let heartbeats = view.map(|view| view.heartbeats.as_slice()).unwrap_or_default();
        let mut problems: Vec<_> = self.over_budget().cloned().into_iter().collect();
        problems.extend(blocked(heartbeats).iter().map(Problem::blocked));
        problems.extend(cluster::pod_problem(&observed.cluster));
        problems.extend(observed.refusals.iter().cloned());
        problems.extend(self.events.notices.iter().cloned());
        if let Some(Sharing::Older(problem)) = &observed.sharing {
            problems.push(problem.clone());
        }
        let last = view.and_then(|view| view.run.as_ref()).map(|run| &run.record);
        let is_live = view.is_some_and(|view| view.live().is_some());
        let failure = lifecycle::failure(&observed.cluster.jobs, last).filter(|_| !is_live && !runs.start_pending);
        problems.extend(failure.map(|message| {
            let text =
                format!("the jobsender failed: {message}; correct this and change spec.trigger.manual to start a run");
            Problem::new(Reason::JobsenderFailed, text)
        }));
        problems
    }

    /// Returns why the live run is paused, unless it has ended meanwhile.
    fn over_budget(&self) -> Option<&Problem> {
        let may_be_live = self.runs.ledger.as_ref().is_none_or(|view| view.live().is_some());
        self.observed.over_budget.as_ref().filter(|_| may_be_live)
    }

    /// Returns what holds up nothing.
    fn notes(&self, job: &MigrationJob) -> Vec<Problem> {
        let refused = |view| nodes::refused_algorithm(view, job.spec.transfer.tcp_congestion_control);
        let refused = self.runs.ledger.as_deref().and_then(refused);
        self.preflight.notes.iter().cloned().chain(refused).collect()
    }

    fn input<'a>(
        &'a self,
        job: &'a MigrationJob,
        (blocking, nonblocking, notes): (&'a [Problem], &'a [Problem], &'a [Problem]),
        now: i64,
    ) -> StatusInput<'a> {
        let Self { observed, validated, applied: _, preflight, events, runs, scaled } = self;
        let is_live = runs.ledger.as_ref().is_some_and(|view| view.live().is_some());
        let edited = validated.configs.as_ref().and_then(|configs| configs.edited.as_deref());
        StatusInput {
            generation: job.metadata.generation,
            suspended: job.spec.suspend,
            over_budget: self.over_budget(),
            prices: budget::prices(job),
            cost_limit: job.spec.limits.cost,
            buckets: &job.spec.buckets,
            blocking,
            nonblocking,
            notes,
            rate_limits: rate_limits(job),
            queue_and_table: observed.services.as_ref().map(|services| &services.queue_and_table),
            depth: observed.depth,
            ledger: runs.ledger.as_deref(),
            jobs: &observed.cluster.jobs,
            verification: &runs.verification,
            report: &runs.report,
            workers: scaled.workers,
            scaling: scaled.condition.as_ref(),
            edited: edited.filter(|_| is_live),
            preflight: preflight.status.as_ref(),
            event_trigger: events.status.as_ref(),
            watching: job.spec.trigger.events.enabled && events.is_ready,
            schedule: job.spec.trigger.schedule.as_deref().map(|text| (text, job.spec.trigger.time_zone.as_deref())),
            started: (runs.runs_started, runs.last_manual_run.as_deref()),
            is_number_skipped: runs.is_number_skipped,
            start_pending: runs.start_pending,
            now,
        }
    }
}

/// The facts that the status is computed from.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is independent")]
pub struct StatusInput<'a> {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `spec.suspend`.
    pub suspended: bool,
    /// Why the live run is paused: it has reached its budget.
    pub over_budget: Option<&'a Problem>,
    /// Prices of the services.
    pub prices: PriceTable,
    /// `spec.limits.cost`.
    pub cost_limit: Option<Money>,
    /// `spec.buckets`.
    pub buckets: &'a [BucketMapping],
    /// Problems because of which nothing new starts, the most important one first.
    pub blocking: &'a [Problem],
    /// Other problems.
    pub nonblocking: &'a [Problem],
    /// What is wrong besides, and holds up nothing.
    pub notes: &'a [Problem],
    /// The limits of bytes and requests.
    pub rate_limits: RateLimits,
    /// Queue and table; none if they are not known.
    pub queue_and_table: Option<&'a QueueAndTable>,
    /// The depth of the queue; none if the queue did not answer.
    pub depth: Option<QueueDepth>,
    /// The records of the job; none if the ledger did not answer.
    pub ledger: Option<&'a LedgerView>,
    /// The Jobs of jobsenders, the newest one first.
    pub jobs: &'a [ObservedJob],
    /// The verification of the last run.
    pub verification: &'a Verification,
    /// The report of the last run.
    pub report: &'a Report,
    /// Workers wanted and ready.
    pub workers: Workers,
    /// What the condition `ScalingActive` says; none if the operator sets the number of workers.
    pub scaling: Option<&'a ScalingCondition>,
    /// The difference between the sides of the specification and those of the live run, in words.
    pub edited: Option<&'a str>,
    /// `status.preflight`.
    pub preflight: Option<&'a PreflightStatus>,
    /// `status.eventTrigger`, before the runs of this reconciliation.
    pub event_trigger: Option<&'a EventTriggerStatus>,
    /// Events start transfers.
    pub watching: bool,
    /// The schedule of runs and its time zone.
    pub schedule: Option<(&'a str, Option<&'a str>)>,
    /// `status.runsStarted` and `status.lastManualRun`.
    pub started: (u32, Option<&'a str>),
    /// The last number of a run was used up without a run.
    pub is_number_skipped: bool,
    /// A run is requested and has not started to list.
    pub start_pending: bool,
    /// Milliseconds since 1970.
    pub now: i64,
}

impl<'a> StatusInput<'a> {
    /// Returns the facts as they were when the run of these records had ended. Nothing followed it.
    fn at_missed_end(&self, view: &'a LedgerView) -> Self {
        let (verification, report) = (&FollowupState::None, &FollowupState::None);
        Self { ledger: Some(view), verification, report, edited: None, ..self.clone() }
    }

    /// Returns true if jobsender and workers are stopped by `spec.suspend` or the budget.
    pub const fn stops(&self) -> bool {
        self.suspended || self.over_budget.is_some()
    }

    /// Returns the problems that hold up a run, the most important one first.
    pub fn problems(&self) -> impl Iterator<Item = &'a Problem> + use<'a> {
        self.blocking.iter().chain(self.nonblocking)
    }
}

#[cfg(test)]
mod tests;
