//! One look at one job: dereference → validate → build → apply → status.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use migration_api::status::{MigrationJobStatus, QueueDepth, Workers};
use migration_api::{MigrationJob, reasons};
use migration_core::ports::{Condition, Item, Ledger, Write, WriteError};
use migration_core::records;
use serde_json::json;
use tracing::{info, warn};

use crate::apply::{self, ApplyError, Made};
use crate::build;
use crate::context::{Context, Memory};
use crate::dead_letters::{self, Look};
use crate::dereference::cluster::{self, Cluster};
use crate::dereference::ledger::{self, LedgerView};
use crate::dereference::secrets::{self, Secrets};
use crate::dereference::services::{Services, Wanted};
use crate::events;
use crate::names;
use crate::problem::Problem;
use crate::runs::{self, StartInput};
use crate::scaling;
use crate::status::{self, Seen};
use crate::validate::{self, ValidatedJob};

/// How soon a job is looked at again while something moves, or should.
const SOON: Duration = Duration::from_secs(5);
/// How soon a job is looked at again while nothing moves. Jobs of Kubernetes that begin to send wake it up at once.
const IDLE: Duration = Duration::from_secs(600);

/// Why a look was cut short. It is repeated soon.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Kubernetes.
    #[error("failed to reconcile MigrationJob: {0}")]
    Kubernetes(#[from] kube::Error),
    /// Something could not be applied, for now.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The end of a run could not be written, for now.
    #[error("failed to end run: {0}")]
    End(WriteError),
}

/// What was found by the first step.
struct Found {
    secrets: Secrets,
    cluster: Cluster,
    services: Option<Arc<Services>>,
    depth: Option<QueueDepth>,
    ledger: Option<LedgerView>,
    /// What the job needs and does not have.
    missing: Vec<Problem>,
}

/// Looks at a job and does what is to be done.
pub async fn reconcile(cached: &MigrationJob, context: &Context) -> Result<Action, ReconcileError> {
    let namespace = cached.namespace().unwrap_or_default();
    let api = Api::<MigrationJob>::namespaced(context.client.clone(), &namespace);
    // The cache may not have seen our own last write of the status, which says what was started.
    let Some(job) = api.get_opt(&cached.name_any()).await? else { return Ok(Action::await_change()) };
    if job.uid() != cached.uid() || job.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let memory = context.memory(&job.uid().unwrap_or_default());
    let memory = &mut *memory.lock().await;
    let mut old = job.status.clone().unwrap_or_default();

    let mut found = dereference(&job, &old, context, memory).await?;
    let validated = validate(&job, &mut found, context, memory);
    let deployment = match &validated {
        Some(validated) => build_and_apply(validated, &mut found, context, memory).await?,
        None => found.cluster.deployment.clone(),
    };
    let start_due = act(&job, &mut old, validated.as_deref(), &mut found, context, memory).await?;
    let workers = scale(&job, deployment.as_ref(), &found, context, memory).await?;
    let new = compute_status(&job, &old, &found, workers, start_due, context.now());
    write_status(&api, &job, &new, context).await?;
    Ok(Action::requeue(next_look(&new, &found.cluster, workers, job.spec.scaling.min_replicas, start_due)))
}

/// Reads all that stands behind the resource.
async fn dereference(
    job: &MigrationJob,
    old: &MigrationJobStatus,
    context: &Context,
    memory: &mut Memory,
) -> Result<Found, ReconcileError> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let secrets = secrets::read(&Api::<Secret>::namespaced(context.client.clone(), &namespace), &job.spec).await?;
    let cluster = cluster::read(&context.client, &namespace, &name).await?;
    let missing = secrets.problems.clone();
    let mut found = Found { secrets, cluster, services: None, depth: None, ledger: None, missing };
    let Some(wanted) = Wanted::of(job, &found.secrets) else { return Ok(found) };
    match Services::find(wanted, memory.services.as_ref()).await {
        Ok(services) => {
            memory.services = Some(services.clone());
            look_outside(job, old, &services, &mut found, context.now()).await;
            // What answered wrongly is looked for again next time: it may have been removed or replaced.
            if found.depth.is_none() || found.ledger.is_none() {
                memory.services = None;
            }
            found.services = Some(services);
        }
        Err(problems) => {
            memory.services = None;
            found.missing.extend(problems);
        }
    }
    Ok(found)
}

/// Asks queue and ledger.
async fn look_outside(job: &MigrationJob, old: &MigrationJobStatus, services: &Services, found: &mut Found, now: i64) {
    match services.depths().await {
        Ok((queue, dead)) => {
            found.depth = Some(QueueDepth {
                visible: queue.visible + queue.delayed,
                in_flight: queue.in_flight,
                dead_letters: dead.visible + dead.in_flight + dead.delayed,
            });
        }
        Err(problem) => found.missing.push(problem),
    }
    let known = old.last_run.as_ref().map(|run| run.id.as_str());
    match ledger::read(&services.ledger, &job.uid().unwrap_or_default(), known, now).await {
        Ok(view) => found.ledger = Some(view),
        Err(error) => found.missing.push(ledger::problem(&services.external.table, &error)),
    }
}

/// Validates the resource, unless that was done before for the same one.
fn validate(
    job: &MigrationJob,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) -> Option<Arc<ValidatedJob>> {
    let external = &found.services.as_ref()?.external;
    if let Some((generation, before, validated)) = &memory.validated
        && *generation == job.metadata.generation
        && before == external
    {
        return Some(validated.clone());
    }
    match validate::validate(job, external, &context.worker_image) {
        Ok(validated) => {
            let validated = Arc::new(validated);
            memory.validated = Some((job.metadata.generation, external.clone(), validated.clone()));
            Some(validated)
        }
        Err(error) => {
            found.missing.push(Problem::new(reasons::SPEC_INVALID, error.to_string()));
            None
        }
    }
}

/// Builds what belongs into the cluster and applies it. What Kubernetes refuses is for a person to mend.
async fn build_and_apply(
    validated: &ValidatedJob,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) -> Result<Option<Deployment>, ReconcileError> {
    let (client, namespace) = (&context.client, &validated.namespace);
    let resources = build::resources(validated);
    match apply::resources(client, namespace, resources, &found.cluster, &mut memory.applied).await {
        Ok(deployment) => Ok(Some(deployment)),
        Err(error) if error.is_refusal() => {
            found.missing.push(Problem::new(reasons::APPLY_FAILED, error.to_string()));
            Ok(found.cluster.deployment.clone())
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends and starts runs, holds Jobs back, nudges pods. Says whether a run is asked for that could not be started.
async fn act(
    job: &MigrationJob,
    old: &mut MigrationJobStatus,
    validated: Option<&ValidatedJob>,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) -> Result<bool, ReconcileError> {
    let namespace = job.namespace().unwrap_or_default();
    let jobs = Api::<Job>::namespaced(context.client.clone(), &namespace);
    apply::suspend_jobs(&jobs, &found.cluster.jobs, job.spec.suspend).await?;
    if let Some(version) = &found.secrets.version {
        let pods = Api::<Pod>::namespaced(context.client.clone(), &namespace);
        apply::nudge_pods(&pods, &found.cluster.pods, version).await?;
    }
    if let Some(services) = found.services.clone() {
        drain_dead_letters(job, &services, found, context, memory).await;
        end_run(job, &services, found, context).await?;
    }
    (old.runs_started, old.last_manual_run) =
        runs::made_before(&job.name_any(), &found.cluster.jobs, old.runs_started, old.last_manual_run.take());
    start_run(job, old, validated, found, &jobs, context.now()).await
}

/// Starts a run where one is due. Says whether one is asked for that sends nothing yet.
async fn start_run(
    job: &MigrationJob,
    old: &mut MigrationJobStatus,
    validated: Option<&ValidatedJob>,
    found: &mut Found,
    jobs: &Api<Job>,
    now: i64,
) -> Result<bool, ReconcileError> {
    let Some(view) = &found.ledger else { return Ok(false) };
    let input = StartInput {
        trigger: &job.spec.trigger,
        started: old.runs_started,
        last_manual: old.last_manual_run.as_deref(),
        last_run: view.run.as_ref().map(|run| &run.record),
        jobs: &found.cluster.jobs,
        now,
    };
    let Some(start) = runs::start(&input) else { return Ok(false) };
    let Some(validated) = validated.filter(|_| found.missing.is_empty() && !job.spec.suspend) else { return Ok(true) };
    let made = apply::job(jobs, &build::job::build(validated, start.number, start.manual.as_deref())).await;
    let made = match made {
        Err(error) if error.is_refusal() => {
            found.missing.push(Problem::new(reasons::APPLY_FAILED, error.to_string()));
            return Ok(true);
        }
        made => made?,
    };
    info!(job = job.name_any(), number = start.number, ?made, "run started");
    // The number is used up also where another Job has the name: the next look takes the next one.
    old.runs_started = start.number;
    if made == Made::Yes {
        old.last_manual_run = start.manual;
    }
    Ok(true)
}

/// Turns dead letters of a live run into failures. What goes wrong is tried again with the next look.
async fn drain_dead_letters(
    job: &MigrationJob,
    services: &Services,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) {
    let (Some(depth), Some(view)) = (found.depth, &found.ledger) else { return };
    let (Some(live), now) = (view.live(), context.now()) else { return };
    if !dead_letters::due(memory.look, depth.dead_letters, now) {
        return;
    }
    let uid = job.uid().unwrap_or_default();
    match dead_letters::drain(&services.dead_letters, &services.ledger, &uid, &live.record, now).await {
        Ok(ended) => {
            memory.look = Some(Look { depth: depth.dead_letters, at: now });
            if ended > 0 {
                warn!(job = job.name_any(), ended, "batches among the dead letters became failures");
                reread(&uid, services, found, now).await;
            }
        }
        Err(error) => warn!(job = job.name_any(), %error, "dead letters are looked at again"),
    }
}

/// Writes the end of a run that is over. Where another writer was first, the next look decides anew.
async fn end_run(
    job: &MigrationJob,
    services: &Services,
    found: &mut Found,
    context: &Context,
) -> Result<(), ReconcileError> {
    let now = context.now();
    let Some(live) = found.ledger.as_ref().and_then(LedgerView::live) else { return Ok(()) };
    let Some(end) = runs::end(live, &found.cluster.jobs, now) else { return Ok(()) };
    let uid = job.uid().unwrap_or_default();
    let (mut record, before) = (live.record.clone(), live.record.revision);
    info!(job = job.name_any(), run = record.run, result = ?end.result, "run ended");
    (record.end, record.revision) = (Some(end), before + 1);
    let item = Item::of(records::run_key(&uid, &record.run), &record);
    match services.ledger.write(&[Write::Put { item, condition: Condition::Revision(before) }]).await {
        Ok(()) | Err(WriteError::Condition) => {
            reread(&uid, services, found, now).await;
            Ok(())
        }
        Err(error) => Err(ReconcileError::End(error)),
    }
}

async fn reread(uid: &str, services: &Services, found: &mut Found, now: i64) {
    match ledger::read(&services.ledger, uid, None, now).await {
        Ok(view) => found.ledger = Some(view),
        Err(error) => warn!(%error, "the ledger is read again with the next look"),
    }
}

/// Writes the number of workers where it is to change. Gives the workers as they are then.
async fn scale(
    job: &MigrationJob,
    deployment: Option<&Deployment>,
    found: &Found,
    context: &Context,
    memory: &mut Memory,
) -> Result<Workers, ReconcileError> {
    let Some(deployment) = deployment else { return Ok(Workers::default()) };
    let seen = scaling::Seen {
        backlog: found.depth.map(|depth| depth.visible + depth.in_flight),
        blocked: found.ledger.as_ref().is_some_and(|view| view.heartbeats.iter().any(|beat| !beat.blocked.is_empty())),
        suspended: job.spec.suspend,
        replicas: scaling::replicas(deployment),
        fewer_since: memory.fewer_since,
    };
    let decision = scaling::number(&validate::scaling(&job.spec), &seen, context.now());
    memory.fewer_since = decision.fewer_since;
    if decision.replicas != seen.replicas {
        info!(job = job.name_any(), from = seen.replicas, to = decision.replicas, backlog = seen.backlog, "scaling");
        let api = Api::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
        scaling::write(&api, &names::worker(&job.name_any()), decision.replicas).await?;
    }
    Ok(Workers { desired: decision.replicas, ready: scaling::ready(deployment) })
}

fn compute_status(
    job: &MigrationJob,
    old: &MigrationJobStatus,
    found: &Found,
    workers: Workers,
    start_due: bool,
    now: i64,
) -> MigrationJobStatus {
    let view = found.ledger.as_ref();
    let heartbeats = view.map(|view| view.heartbeats.as_slice()).unwrap_or_default();
    let mut faults: Vec<_> = status::blocked(heartbeats).iter().map(Problem::blocked).collect();
    faults.extend(cluster::stuck(&found.cluster));
    let last = view.and_then(|view| view.run.as_ref()).map(|run| &run.record);
    let live = view.is_some_and(|view| view.live().is_some());
    if let Some(words) = runs::failure(&found.cluster.jobs, last).filter(|_| !live && !start_due) {
        let message = format!("the jobsender failed: {words}; mend it and change spec.trigger.manual to start a run");
        faults.push(Problem::new(reasons::JOBSENDER_FAILED, message));
    }
    let seen = Seen {
        generation: job.metadata.generation,
        suspended: job.spec.suspend,
        missing: &found.missing,
        faults: &faults,
        external: found.services.as_ref().map(|services| &services.external),
        depth: found.depth,
        ledger: view,
        jobs: &found.cluster.jobs,
        workers,
        started: (old.runs_started, old.last_manual_run.as_deref()),
        start_due,
        now,
    };
    status::compute(old, &seen)
}

/// Writes the status where it changed, and tells of what changed. An operator that is ended in between tells nothing,
/// rather than twice.
async fn write_status(
    api: &Api<MigrationJob>,
    job: &MigrationJob,
    new: &MigrationJobStatus,
    context: &Context,
) -> Result<(), ReconcileError> {
    let before = job.status.clone().unwrap_or_default();
    if before == *new {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": MigrationJob::api_version(&()), "kind": MigrationJob::kind(&()), "status": new,
    });
    let params = PatchParams::apply(names::MANAGER).force();
    api.patch_status(&job.name_any(), &params, &Patch::Apply(patch)).await?;
    let about = job.object_ref(&());
    for note in events::of_change(&before, new) {
        context.tell(&about, note).await;
    }
    Ok(())
}

/// When a job is looked at again: soon while something moves, is wrong, or is still to be scaled down.
fn next_look(
    status: &MigrationJobStatus,
    cluster: &Cluster,
    workers: Workers,
    least_workers: u32,
    start_due: bool,
) -> Duration {
    // What only a change of the resource can mend is not waited for: that change wakes it up.
    let for_the_user = [reasons::JOBSENDER_FAILED, reasons::SPEC_INVALID];
    let degraded = status::conditions::of(status, reasons::DEGRADED)
        .is_some_and(|(holds, condition)| holds && !for_the_user.contains(&condition.reason.as_str()));
    let waiting = status.queue.is_some_and(|queue| queue.visible + queue.in_flight > 0);
    let suspended = status.phase == Some(migration_api::status::Phase::Suspended);
    let live = status.current_run.is_some()
        || start_due
        || waiting
        || workers.desired > least_workers
        || cluster.jobs.iter().any(cluster::SendJob::is_unfinished);
    if degraded || (live && !suspended) { SOON } else { IDLE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dereference::cluster::JobState;
    use crate::runs::tests::job;
    use migration_api::status::Phase;

    #[test]
    fn only_jobs_that_move_or_are_broken_are_looked_at_often() {
        let idle = MigrationJobStatus { phase: Some(Phase::Complete), ..MigrationJobStatus::default() };
        let workers = |desired| Workers { desired, ready: 0 };
        let look =
            |status: &MigrationJobStatus, cluster: &Cluster, workers, due| next_look(status, cluster, workers, 0, due);
        let nothing = Cluster::default();
        assert_eq!(look(&idle, &nothing, workers(0), false), IDLE);
        assert_eq!(look(&idle, &nothing, workers(1), false), SOON, "to be scaled down");
        assert_eq!(look(&idle, &nothing, workers(0), true), SOON, "a run is asked for");
        let sending = Cluster { jobs: vec![job("j", JobState::Unfinished)], ..Cluster::default() };
        assert_eq!(look(&idle, &sending, workers(0), false), SOON);
        let mut live = MigrationJobStatus { current_run: Some("r".into()), ..idle.clone() };
        assert_eq!(look(&live, &nothing, workers(0), false), SOON);
        live.phase = Some(Phase::Suspended);
        assert_eq!(look(&live, &nothing, workers(0), false), IDLE);
        let queue = Some(QueueDepth { visible: 0, in_flight: 1, dead_letters: 9 });
        assert_eq!(look(&MigrationJobStatus { queue, ..idle.clone() }, &nothing, workers(0), false), SOON);
        let dead = Some(QueueDepth { visible: 0, in_flight: 0, dead_letters: 9 });
        assert_eq!(look(&MigrationJobStatus { queue: dead, ..idle }, &nothing, workers(0), false), IDLE);
    }
}
