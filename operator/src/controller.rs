//! Watches `MigrationJobs` and what belongs to them, and looks at each when something changed or its time has come.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use migration_api::{MigrationJob, reasons};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::cleanup::{self, CleanupError};
use crate::context::Context;
use crate::error::ReconcileError;
use crate::health::Readiness;
use crate::names;
use crate::note::Note;
use crate::reconcile;
use crate::sharing;

/// How soon a look that was cut short is repeated.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon a resource that can't go yet is looked at again.
const GOING: Duration = Duration::from_secs(2);

/// What is watched: the resource, also where it can't be read.
type Guarded = DeserializeGuard<MigrationJob>;

/// Why a look was cut short.
#[derive(Debug, thiserror::Error)]
enum LookError {
    /// A resource that stays, or goes.
    #[error(transparent)]
    Look(#[from] Box<finalizer::Error<StepError>>),
    /// One that can't be read.
    #[error("failed to release MigrationJob that can't be read: {0}")]
    Release(kube::Error),
}

/// Why a step was cut short.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    Cleanup(#[from] CleanupError),
}

/// Runs until told to stop, and lets looks under way end.
pub async fn run(
    client: Client,
    namespace: Option<String>,
    worker_image: String,
    ready: Readiness,
    stop: CancellationToken,
) {
    let reporter = Reporter { controller: names::MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let recorder = Recorder::new(client.clone(), reporter);
    let context = Arc::new(Context::new(client.clone(), recorder, worker_image));
    let namespace = namespace.as_deref();
    let ours = || watcher::Config::default().labels(names::SELECTOR);
    let refused = watcher::Config::default().fields("involvedObject.kind=CronJob,reason=FailedCreate");
    let controller = Controller::new(scoped::<Guarded>(&client, namespace), watcher::Config::default());
    let jobs = controller.store();
    context.know(jobs.clone());
    let controller = controller
        .owns(scoped::<ConfigMap>(&client, namespace), ours())
        .owns(scoped::<CronJob>(&client, namespace), ours())
        .owns(scoped::<Deployment>(&client, namespace), ours())
        // Jobs of the schedule, and those made by hand from it, are owned by the CronJob.
        .watches(scoped::<Job>(&client, namespace), ours(), |job| job_of(&job))
        // Who shares a queue with a job has to say so too, and to go on when it is gone.
        .watches(scoped::<Guarded>(&client, namespace), watcher::Config::default(), move |job| sharers(&job, &jobs))
        // What a CronJob can't make shows nowhere else.
        .watches(scoped::<CoreEvent>(&client, namespace), refused, |event| schedule_of(&event))
        .graceful_shutdown_on(stop.cancelled_owned());
    tokio::spawn(announce(scoped::<Guarded>(&client, namespace), ready));
    controller
        .run(look, again, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                debug!(%error, "a look was cut short");
            }
        })
        .await;
    info!("stopped");
}

/// Says that the operator is ready when it may read the resource. The controller's own store is not waited for: it
/// wakes one waiter only, which must be the controller.
async fn announce(api: Api<Guarded>, ready: Readiness) {
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        warn!(%error, "MigrationJobs can't be read; is their definition installed, and the role bound?");
        tokio::time::sleep(AGAIN).await;
    }
    ready.set();
    info!("ready");
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The other resources that have the queue of one.
fn sharers(guarded: &Guarded, jobs: &Store<Guarded>) -> Vec<ObjectRef<Guarded>> {
    let Ok(job) = &guarded.0 else { return Vec::new() };
    let all = jobs.state();
    let readable: Vec<_> = all.iter().filter_map(|other| other.0.as_ref().ok()).collect();
    let reference = |other: &MigrationJob| {
        ObjectRef::<Guarded>::new(&other.name_any()).within(&other.namespace().unwrap_or_default())
    };
    sharing::others(job, &readable).into_iter().map(reference).collect()
}

/// The resource that a Job belongs to, by its label.
fn job_of(job: &Job) -> Option<ObjectRef<Guarded>> {
    let name = job.labels().get(names::JOB_LABEL)?;
    Some(ObjectRef::new(name).within(&job.namespace()?))
}

/// The resource whose `CronJob` an event may be about, by its name. One of somebody else's wakes nobody, or in vain.
fn schedule_of(event: &CoreEvent) -> Option<ObjectRef<Guarded>> {
    let about = &event.involved_object;
    let name = names::job_of_cron_job(about.name.as_deref()?)?;
    Some(ObjectRef::new(name).within(about.namespace.as_deref()?))
}

async fn look(guarded: Arc<Guarded>, context: Arc<Context>) -> Result<Action, LookError> {
    let job = match &guarded.0 {
        Ok(job) => Arc::new(job.clone()),
        Err(invalid) => return unreadable(&guarded, invalid, &context).await,
    };
    let api = Api::<MigrationJob>::namespaced(context.client.clone(), &job.namespace().unwrap_or_default());
    finalizer(&api, names::FINALIZER, job, |event| async {
        match event {
            Event::Apply(job) => Ok(reconcile::reconcile(&job, &context).await?),
            Event::Cleanup(job) => {
                let cleaned = cleanup::cleanup(&job, &context).await;
                if let Some(problem) = cleaned.as_ref().err().and_then(CleanupError::problem) {
                    reconcile::tell(&job, &problem, &context).await;
                }
                cleaned?;
                Ok(Action::await_change())
            }
        }
    })
    .await
    .map_err(|error| LookError::Look(Box::new(error)))
}

/// A resource that passed an older schema and can't be read now. It stops nobody else; and where it is to go it goes,
/// though nothing can be cleaned up after it.
async fn unreadable(guarded: &Guarded, invalid: &InvalidObject, context: &Context) -> Result<Action, LookError> {
    let about = guarded.object_ref(&());
    warn!(job = guarded.name_any(), error = invalid.error, "a MigrationJob can't be read");
    let text = format!("this MigrationJob can't be read: {}", invalid.error);
    context.tell(&about, Note::warning(reasons::SPEC_INVALID, "Reconcile", text)).await;
    let held = guarded.finalizers().iter().any(|name| name == names::FINALIZER);
    if guarded.meta().deletion_timestamp.is_none() || !held {
        return Ok(Action::await_change());
    }
    let text = format!(
        "queue and table {} and unfinished uploads, if any, are left behind",
        names::external(&guarded.name_any(), &guarded.uid().unwrap_or_default())
    );
    context.tell(&about, Note::warning("ResourcesLeft", "Cleanup", text)).await;
    let others: Vec<_> = guarded.finalizers().iter().filter(|name| *name != names::FINALIZER).collect();
    let patch = json!({"metadata": {"finalizers": others, "resourceVersion": guarded.resource_version()}});
    Api::<MigrationJob>::namespaced(context.client.clone(), &guarded.namespace().unwrap_or_default())
        .patch_metadata(&guarded.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(LookError::Release)?;
    Ok(Action::await_change())
}

#[allow(clippy::needless_pass_by_value, reason = "the controller hands its arguments over")]
fn again(guarded: Arc<Guarded>, error: &LookError, _: Arc<Context>) -> Action {
    let job = guarded.name_any();
    if let LookError::Look(inner) = error
        && let finalizer::Error::CleanupFailed(StepError::Cleanup(CleanupError::NotYet(what))) = &**inner
    {
        info!(job, what, "a MigrationJob is going");
        return Action::requeue(GOING);
    }
    if is_gone(error) {
        return Action::await_change();
    }
    error!(job, error = chain(error), "a look was cut short and is repeated");
    Action::requeue(AGAIN)
}

/// Whether the resource went while its finalizer was written.
fn is_gone(error: &LookError) -> bool {
    let LookError::Look(inner) = error else { return false };
    match &**inner {
        finalizer::Error::AddFinalizer(kube::Error::Api(status))
        | finalizer::Error::RemoveFinalizer(kube::Error::Api(status)) => status.is_not_found(),
        _ => false,
    }
}

/// An error with all that caused it, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_wakes_the_resource_of_its_label() {
        let job: Job = serde_yaml::from_str(
            "metadata: {name: x, namespace: media, labels: {s3migration.dev/job: photos}, ownerReferences: [{kind: CronJob, \
             apiVersion: batch/v1, name: photos-jobsender, uid: u}]}",
        )
        .unwrap();
        let found = job_of(&job).unwrap();
        assert_eq!((found.name.as_str(), found.namespace.as_deref()), ("photos", Some("media")));
        assert!(job_of(&Job::default()).is_none());
    }

    #[test]
    fn an_event_of_a_schedule_wakes_its_resource() {
        let event = |name: &str| -> CoreEvent {
            let about = serde_json::json!({"kind": "CronJob", "namespace": "media", "name": name});
            serde_json::from_value(serde_json::json!({"metadata": {}, "involvedObject": about})).unwrap()
        };
        let found = schedule_of(&event("photos-jobsender")).unwrap();
        assert_eq!((found.name.as_str(), found.namespace.as_deref()), ("photos", Some("media")));
        assert!(schedule_of(&event("backup")).is_none());
    }
}
