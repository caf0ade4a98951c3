//! One look at one job: dereference → validate → build → apply → status.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use migration_api::status::{MigrationJobStatus, Workers};
use migration_api::{MigrationJob, reasons};
use serde_json::json;
use tracing::{info, warn};

use crate::act;
use crate::apply::{self, told};
use crate::build;
use crate::cluster::{self, Cluster};
use crate::context::{Context, Memory, ValidatedFor};
use crate::dereference::{self, Found};
use crate::error::ReconcileError;
use crate::events;
use crate::names;
use crate::ownership::Owner;
use crate::plans::{self, Plans};
use crate::problem::Problem;
use crate::runs;
use crate::scaling;
use crate::sharing::Sharing;
use crate::status::{self, Seen};
use crate::validate::{self, Around, ValidateError, ValidatedJob};

/// How soon a job is looked at again while something moves, or should.
const SOON: Duration = Duration::from_secs(5);
/// How soon a job is looked at again while nothing moves. Jobs of Kubernetes that begin to send wake it up at once.
const IDLE: Duration = Duration::from_mins(10);

/// Looks at a job and does what is to be done. Where Kubernetes cuts the look short by what it refuses, its words become
/// a condition.
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
    let looked = look(&api, &job, context, memory).await;
    match &looked {
        Ok(_) => memory.conflicts = 0,
        Err(error) => {
            if let Some(problem) = error.problem(&mut memory.conflicts) {
                tell(&job, &problem, context).await;
            }
        }
    }
    looked
}

/// Writes that something keeps a job from working, and nothing else of its status.
pub async fn tell(job: &MigrationJob, problem: &Problem, context: &Context) {
    let api = Api::<MigrationJob>::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
    let old = job.status.clone().unwrap_or_default();
    let new = status::held(&old, problem, job.metadata.generation, context.now());
    if let Err(error) = write_status(&api, job, &new, context).await {
        warn!(job = job.name_any(), problem = problem.message, %error, "the condition could not be written");
    }
}

async fn look(
    api: &Api<MigrationJob>,
    job: &MigrationJob,
    context: &Context,
    memory: &mut Memory,
) -> Result<Action, ReconcileError> {
    let mut old = job.status.clone().unwrap_or_default();

    let mut found = dereference::dereference(job, &old, context, memory).await?;
    let plans = plan(job, &mut found, context, memory);
    let deployment = match &plans {
        Some(plans) => build_and_apply(job, plans, &mut found, context, memory).await?,
        None => found.cluster.deployment.ours().cloned(),
    };
    let start_due = act::act(job, &mut old, plans.as_ref(), &mut found, context, memory).await?;
    let workers = scale(job, deployment.as_ref(), &mut found, context, memory).await?;
    let new = compute_status(job, &old, &found, plans.as_ref(), workers, start_due, context.now());
    write_status(api, job, &new, context).await?;
    Ok(Action::requeue(next_look(&new, &found.cluster, workers, job.spec.scaling.min_replicas, start_due)))
}

/// What is built of the job: as its specification says, and with the sides of its last run. None where it can't be known:
/// what was built before stays.
fn plan(job: &MigrationJob, found: &mut Found, context: &Context, memory: &mut Memory) -> Option<Plans> {
    // A list that can't be read is no empty list. So it is with certificates; and a ledger that can't be read may hold a
    // run that has to keep its sides.
    let absent = [reasons::CONFIG_MAP_MISSING, reasons::CA_BUNDLE_INVALID];
    if found.missing.iter().any(|problem| absent.contains(&problem.reason.as_str())) {
        return None;
    }
    let external = found.services.as_ref()?.external.clone();
    let last = found.ledger.as_ref()?.run.as_ref().map(|run| run.record.clone());
    let around = Around { patterns: found.patterns.clone(), ca_version: found.ca_version.clone(), sides: None };
    let wanted = ValidatedFor { generation: job.metadata.generation, external, around };
    let [of_spec, of_run] = &mut memory.validated;
    let built = validate(job, wanted.clone(), of_spec, context).and_then(|next| {
        let sides = plans::other_sides(last.as_ref(), &next.sides).cloned();
        let with_sides = |sides| {
            let around = Around { sides: Some(sides), ..wanted.around.clone() };
            validate(job, ValidatedFor { around, ..wanted.clone() }, of_run, context)
        };
        let before = sides.map_or_else(|| Ok(next.clone()), with_sides)?;
        Ok(Plans { edited: plans::edited(last.as_ref(), &next.sides), next, last: before })
    });
    built.map_err(|error| found.missing.push(Problem::new(reasons::SPEC_INVALID, error.to_string()))).ok()
}

/// Validates the resource, unless that was done before for the same one.
fn validate(
    job: &MigrationJob,
    wanted: ValidatedFor,
    before: &mut Option<(ValidatedFor, Arc<ValidatedJob>)>,
    context: &Context,
) -> Result<Arc<ValidatedJob>, ValidateError> {
    if let Some((before, validated)) = before
        && *before == wanted
    {
        return Ok(validated.clone());
    }
    let validated = Arc::new(validate::validate(job, &wanted.external, &wanted.around, &context.worker_image)?);
    *before = Some((wanted, validated.clone()));
    Ok(validated)
}

/// Builds what belongs into the cluster and applies it. What Kubernetes refuses, and names that others have, are for a
/// person to mend.
async fn build_and_apply(
    job: &MigrationJob,
    plans: &Plans,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) -> Result<Option<Deployment>, ReconcileError> {
    let (client, namespace, owner) = (&context.client, &plans.next.namespace, Owner::of(job));
    let resources = build::resources(plans);
    let (deployment, problems) =
        apply::resources(client, namespace, &owner, resources, &found.cluster, &mut memory.applied).await?;
    found.missing.extend(problems);
    let (maps, unused) = (Api::namespaced(client.clone(), namespace), &mut memory.unused_configs);
    let removed =
        apply::remove_unused(&maps, &owner, &found.cluster, &plans.config_maps(), unused, context.now()).await;
    told(removed, &mut found.missing)?;
    Ok(deployment)
}

/// Writes the number of workers where it is to change. Gives the workers as they are then.
async fn scale(
    job: &MigrationJob,
    deployment: Option<&Deployment>,
    found: &mut Found,
    context: &Context,
    memory: &mut Memory,
) -> Result<Workers, ReconcileError> {
    let Some(deployment) = deployment else { return Ok(Workers::default()) };
    let seen = scaling::Seen {
        backlog: found.depth.map(|depth| depth.visible + depth.in_flight),
        blocked: found.ledger.as_ref().is_some_and(|view| view.heartbeats.iter().any(|beat| !beat.blocked.is_empty())),
        suspended: job.spec.suspend || matches!(found.sharing, Some(Sharing::Younger(_))),
        replicas: scaling::replicas(deployment),
        fewer_since: memory.fewer_since,
    };
    let decision = scaling::number(&validate::scaling(&job.spec), &seen, context.now());
    memory.fewer_since = decision.fewer_since;
    if decision.replicas != seen.replicas {
        info!(job = job.name_any(), from = seen.replicas, to = decision.replicas, backlog = seen.backlog, "scaling");
        let api = Api::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
        let written = apply::scale::scale(&api, deployment, decision.replicas).await;
        if told(written, &mut found.missing)?.is_none() {
            return Ok(Workers { desired: seen.replicas, ready: scaling::ready(deployment) });
        }
    }
    Ok(Workers { desired: decision.replicas, ready: scaling::ready(deployment) })
}

fn compute_status(
    job: &MigrationJob,
    old: &MigrationJobStatus,
    found: &Found,
    plans: Option<&Plans>,
    workers: Workers,
    start_due: bool,
    now: i64,
) -> MigrationJobStatus {
    let view = found.ledger.as_ref();
    let heartbeats = view.map(|view| view.heartbeats.as_slice()).unwrap_or_default();
    let mut faults: Vec<_> = status::blocked(heartbeats).iter().map(Problem::blocked).collect();
    faults.extend(cluster::stuck(&found.cluster));
    faults.extend(found.refusals.iter().cloned());
    if let Some(Sharing::Older(problem)) = &found.sharing {
        faults.push(problem.clone());
    }
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
        verification: &dereference::verification(job, found),
        report: &dereference::report(job, found),
        workers,
        edited: plans.and_then(|plans| plans.edited.as_deref()).filter(|_| live),
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
        "apiVersion": MigrationJob::api_version(&()), "kind": MigrationJob::kind(&()),
        // One that was made anew under the name has another status.
        "metadata": {"uid": job.uid()}, "status": new,
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
        || cluster.jobs.iter().chain(&cluster.followups).any(cluster::SendJob::is_unfinished);
    if degraded || (live && !suspended) { SOON } else { IDLE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::JobState;
    use crate::runs::tests::job;
    use migration_api::status::{Phase, QueueDepth};

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
        assert_eq!(look(&MigrationJobStatus { queue: dead, ..idle.clone() }, &nothing, workers(0), false), IDLE);
        let degraded = |reason: &str| {
            let condition = serde_json::json!({
                "type": reasons::DEGRADED, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            MigrationJobStatus { conditions: vec![serde_json::from_value(condition).unwrap()], ..idle.clone() }
        };
        assert_eq!(look(&degraded(reasons::SECRET_MISSING), &nothing, workers(0), false), SOON);
        assert_eq!(look(&degraded(reasons::JOBSENDER_FAILED), &nothing, workers(0), false), IDLE, "a person must act");
    }
}
