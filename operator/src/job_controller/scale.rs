//! Sets the number of workers, or sees to what does: KEDA, or a `HorizontalPodAutoscaler`.

mod condition;
mod decide;
mod deletion_cost;
mod health;
mod keep;

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use migration_api::scaling::ScalingDriver;
use migration_api::status::Workers;
use migration_api::{MigrationJob, Reason};
use migration_core::records::Heartbeat;
use tracing::info;

use crate::job_controller::apply::{Applied, ApplyError, or_problem, replicas};
use crate::job_controller::autoscalers::{self, Autoscalers};
use crate::job_controller::context::Context;
use crate::job_controller::dereference::Observed;
use crate::job_controller::dereference::sharing::Sharing;
use crate::job_controller::events::EventsOutcome;
use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::ownership::Owner;
use crate::job_controller::runs::RunsOutcome;
use crate::job_controller::validate;
use crate::problem::Problem;
use condition::State;
use decide::{Autoscaler, Decision, Facts, Found, ScaleInput, Step, decide};
use keep::SentObjects;

pub use condition::ScalingCondition;

/// The delay until the next look at objects that are being removed.
const CHANGING: Duration = Duration::from_secs(1);
/// The delay until the next look at an autoscaler that does not work, or has not stopped the workers yet.
const WAITING: Duration = Duration::from_secs(5);

/// The output of the step.
pub struct Scaled {
    /// Workers wanted and ready.
    pub workers: Workers,
    /// The least number of workers that stays without work.
    pub least: u32,
    /// Refusals of the API server, and an autoscaler that does not work.
    pub problems: Vec<Problem>,
    /// What the condition `ScalingActive` says; none if the operator sets the number.
    pub condition: Option<ScalingCondition>,
    /// The delay until the next look at what no watch reports; none if there is nothing like that.
    pub again: Option<Duration>,
    /// The state for the next reconciliation.
    pub cache: ScaleCache,
}

/// What is remembered between reconciliations. Losing it costs requests and restarts delays.
#[derive(Clone, Debug, Default)]
pub struct ScaleCache {
    /// Since when fewer workers would suffice, in milliseconds since 1970.
    fewer_since: Option<i64>,
    /// Since when the job is to stop and has workers, in milliseconds since 1970.
    stopping_since: Option<i64>,
    /// Since when the autoscaler does not work, in milliseconds since 1970.
    failing_since: Option<i64>,
    /// Whether the cluster takes a `HorizontalPodAutoscaler` that scales to zero; none if it was not tried.
    takes_zero: Option<bool>,
    /// The autoscalers that were sent.
    sent: SentObjects,
    /// The generation at which there was no autoscaler, and none is needed.
    without: Option<i64>,
}

/// Why the step failed.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// The autoscalers could not be read.
    #[error(transparent)]
    Read(#[from] RequestError),
    /// The number of workers or an autoscaler could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// A job whose workers are scaled, and what is known of it.
struct Scaler<'a> {
    job: &'a MigrationJob,
    namespace: String,
    owner: Owner,
    deployment: &'a Deployment,
    observed: &'a Observed,
    runs: &'a RunsOutcome,
    events: &'a EventsOutcome,
    context: &'a Context,
}

/// Sees to the autoscaler, and writes the number of workers if nobody else does. Without a Deployment there are none, and
/// those of a job that the operator's policy refuses stay as they are unless it is suspended. `cache` is
/// [`Scaled::cache`] of the reconciliation before.
pub async fn scale(
    job: &MigrationJob,
    applied: &Applied,
    observed: &Observed,
    (runs, events): (&RunsOutcome, &EventsOutcome),
    cache: ScaleCache,
    context: &Context,
) -> Result<Scaled, ScaleError> {
    let Some(deployment) = &applied.deployment else {
        let workers = Workers::default();
        return Ok(Scaled { workers, least: 0, problems: Vec::new(), condition: None, again: None, cache });
    };
    let (namespace, owner) = (job.namespace().unwrap_or_default(), Owner::of(job));
    if observed.is_refused {
        context.metrics.set(&namespace, &owner.name, None);
        let (problems, desired) = hold_refused(job, deployment, context).await?;
        let workers = Workers { desired, ready: replicas::ready(deployment) };
        return Ok(Scaled { workers, least: desired, problems, condition: None, again: None, cache });
    }
    Scaler { job, namespace, owner, deployment, observed, runs, events, context }.scale(cache).await
}

/// Keeps the workers of a job that the operator's policy refuses from becoming more, and stops them if it is suspended. Its
/// autoscalers are removed: they would start pods, and can't be told to stop without applying what is refused. Returns what
/// the API server refused, and the number of workers.
async fn hold_refused(
    job: &MigrationJob,
    deployment: &Deployment,
    context: &Context,
) -> Result<(Vec<Problem>, u32), ScaleError> {
    let wanted = replicas::wanted(deployment);
    let (namespace, owner) = (job.namespace().unwrap_or_default(), Owner::of(job));
    let found = autoscalers::read(context, &namespace, &owner.name).await?;
    let mut problems = Vec::new();
    problems.extend(or_problem(found.remove_keda(context, &namespace, &owner).await)?.err());
    problems.extend(or_problem(found.remove_hpa(context, &namespace, &owner).await)?.err());
    if wanted == 0 || !job.spec.suspend {
        return Ok((problems, wanted));
    }
    match or_problem(replicas::write(&context.api(&namespace), deployment, 0).await)? {
        Ok(()) => Ok((problems, 0)),
        Err(problem) => {
            problems.push(problem);
            Ok((problems, wanted))
        }
    }
}

impl Scaler<'_> {
    async fn scale(&self, mut cache: ScaleCache) -> Result<Scaled, ScaleError> {
        let found = self.read(&cache).await?;
        let facts = self.facts(&found, &cache);
        self.measure(&facts);
        let decision = decide(&facts);
        let mut problems = Vec::new();
        problems.extend(or_problem(self.mark_busy(&facts, &decision).await)?.err());
        // The number comes first: a HorizontalPodAutoscaler does nothing where there are no workers.
        let written = or_problem(self.write_number(&facts, &decision).await)?;
        let desired = written.unwrap_or_else(|refusal| {
            problems.push(refusal);
            facts.input.replicas
        });
        let taken = or_problem(self.take(&found, &decision, &mut cache).await)?;
        let state = taken.unwrap_or_else(State::Refused);
        let scaling = &self.job.spec.scaling;
        let condition = condition::of(scaling.driver, &state, self.stop_reason(facts.input.suspended));
        cache.failing_since = condition::failing_since(condition.as_ref(), &state, &facts, cache.failing_since);
        problems.extend(condition::problem(condition.as_ref(), &state, cache.failing_since, facts.now));
        cache.fewer_since = decision.fewer_since;
        cache.stopping_since = decision.stopping_since;
        let needs_none = decision.step == Step::Keep(Autoscaler::None);
        cache.without = self.job.metadata.generation.filter(|_| needs_none);
        let workers = Workers { desired, ready: replicas::ready(self.deployment) };
        let again = again(decision.step, &cache);
        Ok(Scaled { workers, least: least(&facts, &state), problems, condition, again, cache })
    }

    /// Reads the autoscalers, unless there can be none of ours.
    async fn read(&self, cache: &ScaleCache) -> Result<Autoscalers, RequestError> {
        if cache.without.is_some() && cache.without == self.job.metadata.generation {
            return Ok(Autoscalers::default());
        }
        autoscalers::read(self.context, &self.namespace, &self.owner.name).await
    }

    fn facts(&self, found: &Autoscalers, cache: &ScaleCache) -> Facts {
        let Self { job, owner, deployment, observed, .. } = self;
        let scaling = &job.spec.scaling;
        Facts {
            driver: scaling.driver,
            // The schema requires it with the driver that uses it.
            fixed: scaling.replicas.unwrap_or(scaling.min_replicas),
            limits: validate::scaling(&job.spec),
            input: ScaleInput {
                backlog: observed.depth.map(|depth| depth.visible + depth.in_flight),
                blocked: self.heartbeats().iter().any(|beat| !beat.blocked.is_empty()),
                suspended: job.spec.suspend
                    || observed.over_budget.is_some()
                    || matches!(observed.sharing, Some(Sharing::Younger(_)))
                    || self.could_delete_for_good(),
                replicas: replicas::wanted(deployment),
                fewer_since: cache.fewer_since,
            },
            found: Found {
                keda_installed: found.keda_installed,
                keda: found.keda(owner),
                hpa: found.hpa(owner),
                hpa_disabled: found.hpa.as_ref().is_some_and(health::is_disabled),
            },
            stopping_since: cache.stopping_since,
            now: self.context.now(),
        }
    }

    /// Returns true if workers would follow removals, and it is not known that both sides keep versions.
    fn could_delete_for_good(&self) -> bool {
        self.job.spec.mirror.delete_events && !self.events.is_ready
    }

    /// Returns why there are to be no workers, if that is so.
    fn stop_reason(&self, stops: bool) -> Option<Reason> {
        let over_budget = self.observed.over_budget.as_ref().map(|problem| problem.reason.clone());
        let reason = if self.job.spec.suspend { Some(Reason::SuspendedByUser) } else { over_budget };
        stops.then(|| reason.unwrap_or(Reason::QueueShared))
    }

    fn heartbeats(&self) -> &[Heartbeat] {
        self.runs.ledger.as_ref().map(|view| view.heartbeats.as_slice()).unwrap_or_default()
    }

    /// Publishes the two numbers by which others may scale. A queue that does not answer has none, so that nobody scales by an
    /// old one.
    fn measure(&self, facts: &Facts) {
        let numbers = facts.input.backlog.zip(decide::needed(&facts.limits, &facts.input));
        self.context.metrics.set(&self.namespace, &self.owner.name, numbers);
    }

    /// Tells Kubernetes which workers are to go last, where some may go.
    async fn mark_busy(&self, facts: &Facts, decision: &Decision) -> Result<(), ApplyError> {
        let is_fewer = decision.replicas.is_some_and(|replicas| replicas < facts.input.replicas);
        let may_be_fewer = is_fewer || decision.fewer_since.is_some();
        // Pods that were read before may have their cost already.
        let is_known = !self.observed.fresh.cluster;
        if is_known
            || facts.driver == ScalingDriver::Fixed
            || (facts.driver == ScalingDriver::Operator && !may_be_fewer)
        {
            return Ok(());
        }
        let changes = deletion_cost::changes(&self.observed.cluster.pods, self.heartbeats(), facts.now);
        deletion_cost::write(&self.context.api(&self.namespace), &changes).await
    }

    /// Writes the number of workers if it is the operator's to write and changes. Returns the number that is wanted now.
    async fn write_number(&self, facts: &Facts, decision: &Decision) -> Result<u32, ApplyError> {
        let before = facts.input.replicas;
        let Some(replicas) = decision.replicas.filter(|replicas| *replicas != before) else { return Ok(before) };
        info!(from = before, to = replicas, backlog = facts.input.backlog, "scaling workers");
        replicas::write(&self.context.api(&self.namespace), self.deployment, replicas).await?;
        Ok(replicas)
    }

    /// Takes the step that was decided.
    async fn take(
        &self,
        found: &Autoscalers,
        decision: &Decision,
        cache: &mut ScaleCache,
    ) -> Result<State, ApplyError> {
        let (context, namespace, owner) = (self.context, self.namespace.as_str(), &self.owner);
        match decision.step {
            Step::Change { remove_keda, remove_hpa } => {
                let mut left = Vec::new();
                if remove_keda {
                    left.extend(found.remove_keda(context, namespace, owner).await?);
                }
                if remove_hpa {
                    left.extend(found.remove_hpa(context, namespace, owner).await?);
                }
                Ok(State::Changing(left.join(", ")))
            }
            Step::AwaitKeda => Ok(State::KedaMissing),
            Step::Keep(Autoscaler::None) => Ok(State::Own),
            Step::Keep(Autoscaler::Keda { range, paused }) => {
                self.keep_keda(found, range, paused, &mut cache.sent).await
            }
            Step::Keep(Autoscaler::Hpa { range }) => self.keep_hpa(found, range, cache).await,
        }
    }
}

/// Returns the delay until the next look at what no watch reports.
fn again(step: Step, cache: &ScaleCache) -> Option<Duration> {
    let is_waiting = cache.failing_since.is_some() || cache.stopping_since.is_some();
    match step {
        Step::Change { .. } => Some(CHANGING),
        Step::Keep(_) | Step::AwaitKeda => is_waiting.then_some(WAITING),
    }
}

/// Returns the least number of workers that stays without work.
fn least(facts: &Facts, state: &State) -> u32 {
    match facts.driver {
        _ if facts.input.suspended => 0,
        ScalingDriver::Fixed => facts.fixed,
        ScalingDriver::Hpa if matches!(state, State::Active { is_raised: true, .. }) => 1,
        ScalingDriver::Operator | ScalingDriver::Keda | ScalingDriver::Hpa => facts.limits.min,
    }
}
