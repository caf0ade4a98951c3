//! Reconciles one `MigrationJob` in five steps: dereference → validate → build → apply (with runs and scale) → status.
//!
//! | step | does IO | takes | returns |
//! |---|---|---|---|
//! | [`dereference`] | reads Kubernetes, queue and ledger | the resource | [`dereference::Observed`] |
//! | [`validate`] | no | the resource, `Observed` | [`validate::run_configs::Validated`] |
//! | [`build`] | no | the configurations | [`build::Resources`] |
//! | [`apply`] | writes Kubernetes | `Resources` | [`apply::Applied`] |
//! | [`preflight`] | writes Kubernetes | the configurations, `Observed` | [`preflight::PreflightOutcome`] |
//! | [`events`] | writes Kubernetes | the configurations, `Observed` | [`events::EventsOutcome`] |
//! | [`runs`] | writes Kubernetes and ledger | the configurations, `Observed` | [`runs::RunsOutcome`] |
//! | [`scale`] | reads and writes Kubernetes | the Deployment, `Observed` | [`scale::Scaled`] |
//! | [`status`] | writes the status | all outputs | [`status::Written`] |
//!
//! No step changes what another step was given. What is kept for the next reconciliation is part of the outputs.

mod allowed;
mod apply;
mod autoscalers;
mod build;
mod cache;
pub mod cleanup;
pub mod context;
pub mod dereference;
pub mod error;
mod events;
pub mod finalizers;
mod keda;
pub mod kubernetes;
mod measure;
mod optimistic;
mod ownership;
mod preflight;
pub mod readable_ledger;
mod requeue;
mod runs;
mod scale;
mod status;
mod validate;
pub mod watched;

use std::time::Duration;

use kube::ResourceExt;
use migration_api::MigrationJob;

use crate::backoff::Failures;
use crate::problem::Problem;
use cache::{JobCache, JobCaches};
use cleanup::CleanupError;
use context::Context;
use dereference::cadence::Pace;
use error::ReconcileError;
use requeue::Fault;
use runs::RunsInput;
use status::Steps;

/// Reconciles `MigrationJobs`, and cleans up after those that are deleted.
pub struct JobController {
    /// The context that all reconciliations share.
    pub context: Context,
    /// Reconciliations and clean-ups that failed.
    pub failures: Failures,
    caches: JobCaches,
}

impl JobController {
    /// Creates a controller that has not reconciled anything yet.
    pub fn new(context: Context) -> Self {
        Self { context, failures: Failures::default(), caches: JobCaches::default() }
    }

    /// Reconciles a job. Returns the time until it is to be reconciled again, or none for the next change. If the API
    /// server refuses a request without which the reconciliation cannot go on, its message becomes a condition.
    pub async fn reconcile(&self, watched: &MigrationJob) -> Result<Option<Duration>, ReconcileError> {
        if let Some(left) = self.left_to_wait(watched).await {
            return Ok(Some(left));
        }
        let api = self.context.api::<MigrationJob>(&watched.namespace().unwrap_or_default());
        // The watch may not have delivered the operator's own last write of the status, which says what was started.
        let Some(job) = kubernetes::get(&api, &watched.name_any()).await? else {
            self.context.metrics.remove(&watched.namespace().unwrap_or_default(), &watched.name_any());
            return Ok(None);
        };
        if job.uid() != watched.uid() || job.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let cache = self.caches.of(&job.uid().unwrap_or_default());
        let mut cache = cache.lock().await;
        let (next, result) = Box::pin(reconcile(&job, cache.clone(), &self.context)).await;
        *cache = next;
        if let Err(error) = &result {
            self.report(&job, error.problem(cache.conflicts)).await;
        }
        result.map(Some)
    }

    /// Returns for how long a job goes on to wait for what its specification names, if nothing changed. What the watch
    /// has not delivered yet is followed when it does.
    async fn left_to_wait(&self, watched: &MigrationJob) -> Option<Duration> {
        if self.context.courier.is_waiting(&watched.uid()?, self.context.now()) {
            return None;
        }
        let cache = self.caches.find(&watched.uid()?)?;
        let cache = cache.lock().await;
        let left = cache.wait?.left(self.context.now())?;
        let is_same = watched.metadata.deletion_timestamp.is_none()
            && matches!(dereference::has_changed(watched, &cache.known, &self.context).await, Ok(false));
        is_same.then_some(left)
    }

    /// Cleans up after a job that is deleted. Its finalizer may be removed when this succeeds.
    pub async fn cleanup(&self, job: &MigrationJob) -> Result<(), CleanupError> {
        let cache = self.caches.of(&job.uid().unwrap_or_default());
        let kept = cache.lock().await.known.services.as_ref().map(|services| services.spec().clone());
        let result = Box::pin(cleanup::cleanup(job, kept, &self.context)).await;
        match &result {
            Ok(()) => {
                self.caches.remove(&job.uid().unwrap_or_default());
                self.context.courier.remove(&job.uid().unwrap_or_default());
                self.context.metrics.remove(&job.namespace().unwrap_or_default(), &job.name_any());
            }
            Err(error) => self.report(job, error.problem()).await,
        }
        result
    }

    /// Tells status and metrics of a failure, and of the problem if it is one to report.
    async fn report(&self, job: &MigrationJob, problem: Option<Problem>) {
        let written = match problem {
            Some(problem) => Some((status::write_problem(job, &problem, &self.context).await, problem.reason)),
            None => None,
        };
        measure::failed(job, written.as_ref(), &self.context);
    }
}

/// Runs the steps. Returns the cache for the next reconciliation, also if a step fails.
async fn reconcile(
    job: &MigrationJob,
    mut cache: JobCache,
    context: &Context,
) -> (JobCache, Result<Duration, ReconcileError>) {
    let steps = async {
        let before = cache.pace;
        cache.wait = None;
        // After an error everything is read again.
        let observed = Box::pin(dereference::dereference(job, cache.known.clone(), cache.pace.take(), context)).await?;
        cache.known = observed.known.clone();
        if observed.is_refused && observed.fresh.cluster {
            apply::suspend_refused(job, &observed.cluster, context).await?;
        }

        let known = cache.validated.clone();
        let validated = validate::run_configs::validate_runs(job, &observed, known, &context.pods);
        cache.validated = validated.cache.clone();
        let configs = validated.configs.as_ref();

        let resources = configs.filter(|_| observed.fresh.cluster).map(build::resources);

        let known = cache.applied.clone();
        let applied = Box::pin(apply::apply(job, resources, &observed.cluster, known, context)).await?;
        cache.applied = applied.cache.clone();

        let problems = [&observed.problems, &validated.problems, &applied.problems];
        let is_blocked = problems.into_iter().any(|problems| !problems.is_empty());
        let preflight = Box::pin(preflight::advance(job, &observed, configs, is_blocked, context)).await?;

        let is_unusable = is_blocked || !preflight.problems.is_empty();
        let events = Box::pin(events::advance(job, &observed, configs, is_unusable, context)).await?;

        let is_blocked = is_blocked || !events.problems.is_empty();
        let last_drain = cache.last_drain;
        let is_checked = preflight.is_ready;
        let input =
            RunsInput { job, observed: &observed, configs, events: &events, is_checked, is_blocked, last_drain };
        let runs = Box::pin(runs::advance(&input, context)).await?;
        cache.last_drain = runs.last_drain;
        cache.known.records.view.clone_from(&runs.ledger);

        let scaled = scale::scale(job, &applied, &observed, (&runs, &events), cache.scaled.clone(), context).await?;
        cache.scaled = scaled.cache.clone();

        let steps = Steps {
            observed: &observed,
            validated: &validated,
            applied: &applied,
            preflight: &preflight,
            events: &events,
            runs: &runs,
            scaled: &scaled,
        };
        let written = status::update(job, &steps, context).await?;
        measure::measure(job, &steps, &written, context);
        let pace = requeue::pace(&steps, &written, before, context.now());
        cache.waits = if pace == Pace::Waiting { cache.waits.saturating_add(1) } else { 0 };
        cache.pace = Some(pace);
        let delay = requeue::delay(pace, cache.waits, context.random());
        // What has not come after so many looks is looked at less often. The shortest interval is 1 s, and KEDA has 60 s.
        let again = scaled.again.filter(|_| cache.waits <= 90);
        let poll = dereference::poll_ms(&job.spec, observed.depth).map(requeue::milliseconds);
        let sooner = [poll, runs.next_removal, again, preflight.again, written.again];
        let next = sooner.into_iter().flatten().fold(delay, Duration::min);
        let labels = context.policy.required_label().is_some();
        cache.fault = Fault::of(job, &written.degraded, labels, cache.fault.take(), context.now());
        cache.wait = requeue::wait(job, pace, cache.fault.as_ref(), next, context.now());
        let named = cache.wait.and_then(|wait| wait.left(context.now()));
        Ok::<_, ReconcileError>(named.unwrap_or(next))
    };
    let result = steps.await;
    cache.conflicts = match &result {
        Ok(_) => 0,
        Err(error) => cache.conflicts + u32::from(ReconcileError::is_conflict(error)),
    };
    (cache, result)
}

#[cfg(test)]
pub(crate) mod tests;
