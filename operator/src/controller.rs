//! Watches `MigrationJobs` and their children, and reconciles a job when something changed or its time has come.

mod wake;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use migration_api::{EventReason, MigrationJob, Reason};
use migration_aws::SystemClock;
use migration_engine::log_context::{LogContext, within, within_sync};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::{self, Bounds};
use crate::event::JobEvent;
use crate::fence::Fence;
use crate::health::Readiness;
use crate::job_controller::JobController;
use crate::job_controller::cleanup::CleanupError;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::sharing;
use crate::job_controller::error::ReconcileError;
use crate::job_controller::finalizers;
use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::watched::{Children, Watched, WatchedJob};
use crate::metrics::Metrics;
use crate::names;
use crate::pod_defaults::PodDefaults;
use crate::policy::Policy;
use wake::changes;

/// The delays before a reconciliation that failed is retried.
const RETRIES: Bounds = Bounds { first: Duration::from_secs(2), most: Duration::from_mins(5) };
/// The delays before a clean-up is continued: what it waits for ends within minutes, and most of it is watched.
const CLEANUP: Bounds = Bounds { first: Duration::from_secs(2), most: Duration::from_secs(30) };
/// The interval at which the operator checks whether it may list resources.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(5);
/// How long changes are collected before a resource is reconciled.
const DEBOUNCE: Duration = Duration::from_millis(300);
/// The most resources that are reconciled at once. A service that does not answer holds one for minutes.
const CONCURRENCY: u16 = 32;

/// Why a resource could not be reconciled.
#[derive(Debug, thiserror::Error)]
enum ControllerError {
    /// Its finalizer could not be added or removed.
    #[error(transparent)]
    Finalizer(#[from] RequestError),
    /// What the resource asks for.
    #[error(transparent)]
    Reconcile(#[from] Box<ReconcileError>),
    /// What is left of it.
    #[error(transparent)]
    Cleanup(#[from] CleanupError),
}

impl ControllerError {
    /// Returns true if something was changed or replaced between read and write.
    fn is_conflict(&self) -> bool {
        match self {
            Self::Finalizer(error) | Self::Cleanup(CleanupError::Kubernetes(error)) => error.is_conflict(),
            Self::Reconcile(error) => error.is_conflict(),
            Self::Cleanup(CleanupError::Apply(error)) => error.is_conflict(),
            Self::Cleanup(CleanupError::Pending(_)) => false,
        }
    }
}

/// The settings of an operator.
pub struct Settings {
    /// The namespace that is watched; none for all.
    pub namespace: Option<String>,
    /// What applies to pods unless the resource says otherwise.
    pub pods: PodDefaults,
    /// What authors of resources may do.
    pub policy: Policy,
}

/// Runs until `stop` is cancelled, and waits for reconciliations in progress.
///
/// `client` and `fence` let only the leader write.
pub async fn run(client: Client, settings: Settings, fence: Fence, metrics: Metrics, stop: CancellationToken) {
    let reporter = Reporter { controller: names::MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let recorder = Recorder::new(client.clone(), reporter);
    let Settings { namespace, pods, policy } = settings;
    let context = Context::new(client.clone(), recorder, pods, Arc::new(SystemClock));
    let context = context.with_metrics(metrics).with_policy(policy).with_fence(fence);
    let namespace = namespace.as_deref();
    let ours = || watcher::Config::default().labels(names::SELECTOR);
    let refused = watcher::Config::default().fields("involvedObject.kind=CronJob,reason=FailedCreate");
    let (jobs, writer) = reflector::store::<WatchedJob>();
    let resources = || watcher(scoped::<WatchedJob>(&client, namespace), watcher::Config::default());
    let (config_maps, config_map_changes) = children::<ConfigMap>(scoped(&client, namespace), ours());
    let (cron_jobs, cron_job_changes) = children::<CronJob>(scoped(&client, namespace), ours());
    let (deployments, deployment_changes) = children::<Deployment>(scoped(&client, namespace), ours());
    let (runs, run_changes) = children::<Job>(scoped(&client, namespace), ours());
    let (refusals, refused_writer) = reflector::store::<CoreEvent>();
    let refused = watcher(scoped::<CoreEvent>(&client, namespace), refused).reflect(refused_writer);
    let known = jobs.clone();
    let delivered = context.courier.woken();
    let controller = Controller::for_stream(changes(resources().reflect(writer), wake::of_resource), jobs.clone())
        .with_config(controller::Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY))
        .owns_stream(config_map_changes)
        .owns_stream(cron_job_changes)
        .owns_stream(deployment_changes)
        // The CronJob owns Jobs of the schedule, and those that people create from it.
        .watches_stream(run_changes, |job| job_of(&job))
        // Jobs that share a queue report it, and the younger one continues when the older one is gone.
        .watches_stream(changes(resources(), wake::of_sharer), move |job| sharers(&job, &known))
        // Only an event says that a CronJob cannot create a Job.
        .watches_stream(changes(refused, wake::of_child), |event| cron_job_of(&event))
        // An attempt to deliver a notification ended.
        .reconcile_on(delivered.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)))
        .graceful_shutdown_on(stop.cancelled_owned());
    context.set_watched(Watched { jobs, config_maps, cron_jobs, deployments, runs, refused: refusals });
    controller
        .run(reconcile, error_policy, Arc::new(JobController::new(context)))
        .for_each(|result| async move {
            if let Err(error) = result {
                debug!(%error, "reconciliation failed");
            }
        })
        .await;
    info!("stopped");
}

/// Returns a store of the metadata of a kind of children, and their changes, which fill it.
fn children<K>(
    api: Api<PartialObjectMeta<K>>,
    of: watcher::Config,
) -> (Children<K>, impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    (store, changes(watcher(api, of).reflect(writer), wake::of_child))
}

/// Sets the operator ready when it may list the resource. It does not wait for the controller's own store, which wakes only
/// one waiter: that must be the controller.
pub async fn announce(client: Client, namespace: Option<String>, ready: Readiness) {
    let api = scoped::<WatchedJob>(&client, namespace.as_deref());
    while let Err(error) = api.list(&ListParams::default().limit(1)).await {
        warn!(%error, "failed to list MigrationJobs; is the CRD installed, and the role bound?");
        tokio::time::sleep(ANNOUNCE_AFTER).await;
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

/// Returns the other resources that use the queue of a resource.
fn sharers(watched: &WatchedJob, jobs: &Store<WatchedJob>) -> Vec<ObjectRef<WatchedJob>> {
    let Ok(job) = &watched.0 else { return Vec::new() };
    let all = jobs.state();
    let readable: Vec<_> = all.iter().filter_map(|other| other.0.as_ref().ok()).collect();
    let reference = |other: &MigrationJob| {
        ObjectRef::<WatchedJob>::new(&other.name_any()).within(&other.namespace().unwrap_or_default())
    };
    sharing::others(job, &readable).into_iter().map(reference).collect()
}

/// Returns the resource that a Job belongs to by its label.
fn job_of(job: &PartialObjectMeta<Job>) -> Option<ObjectRef<WatchedJob>> {
    let name = job.labels().get(names::JOB_LABEL)?;
    Some(ObjectRef::new(name).within(&job.namespace()?))
}

/// Returns the resource that the `CronJob` of an event belongs to by its name. If that is somebody else's, no resource is
/// reconciled, or one in vain.
fn cron_job_of(event: &CoreEvent) -> Option<ObjectRef<WatchedJob>> {
    let about = &event.involved_object;
    let name = names::job_of_cron_job(about.name.as_deref()?)?;
    Some(ObjectRef::new(name).within(about.namespace.as_deref()?))
}

async fn reconcile(watched: Arc<WatchedJob>, controller: Arc<JobController>) -> Result<Action, ControllerError> {
    let context = log_context_of(&watched);
    let done = within(context, reconcile_once(&watched, &controller)).await;
    if done.is_ok() {
        controller.failures.reset(&watched.uid().unwrap_or_default());
    }
    done
}

/// Returns what the log says of lines about a resource.
fn log_context_of(watched: &WatchedJob) -> LogContext {
    LogContext::job(&watched.namespace().unwrap_or_default(), &watched.name_any())
}

async fn reconcile_once(watched: &WatchedJob, controller: &JobController) -> Result<Action, ControllerError> {
    let job = match &watched.0 {
        Ok(job) => job,
        Err(invalid) => return reconcile_invalid(watched, invalid, &controller.context).await,
    };
    let api = controller.context.api::<WatchedJob>(&job.namespace().unwrap_or_default());
    match (job.metadata.deletion_timestamp.is_some(), is_held(watched)) {
        // With the finalizer it is reconciled.
        (false, false) => finalizers::add(&api, watched, names::FINALIZER).await?,
        (false, true) => {
            let next = Box::pin(controller.reconcile(job)).await.map_err(Box::new)?;
            return Ok(next.map_or_else(Action::await_change, Action::requeue));
        }
        (true, true) => {
            Box::pin(controller.cleanup(job)).await?;
            finalizers::remove(&api, watched, names::FINALIZER).await?;
        }
        // Somebody else removed the finalizer, or it was the operator.
        (true, false) => controller.context.metrics.remove(&job.namespace().unwrap_or_default(), &job.name_any()),
    }
    Ok(Action::await_change())
}

fn is_held(watched: &WatchedJob) -> bool {
    watched.finalizers().iter().any(|name| name == names::FINALIZER)
}

/// Reports a resource that an older schema accepted and that does not match the current one. If it is deleted, its finalizer
/// is removed without a clean-up, and an event names what is left.
async fn reconcile_invalid(
    watched: &WatchedJob,
    invalid: &InvalidObject,
    context: &Context,
) -> Result<Action, ControllerError> {
    let about = watched.object_ref(&());
    // It is not looked at any longer.
    context.metrics.remove(&watched.namespace().unwrap_or_default(), &watched.name_any());
    warn!(error = invalid.error, "a MigrationJob does not match the schema");
    let text = format!("this MigrationJob does not match the schema: {}", invalid.error);
    let reason = EventReason::Condition(Reason::SpecInvalid);
    context.publish(&about, JobEvent::warning(reason, "Reconcile", text)).await;
    if watched.meta().deletion_timestamp.is_none() || !is_held(watched) {
        return Ok(Action::await_change());
    }
    let text = format!(
        "queue and table {} and unfinished uploads, if any, are left behind",
        names::queue_and_table(&watched.name_any(), &watched.uid().unwrap_or_default())
    );
    context.publish_last(&about, JobEvent::warning(EventReason::ResourcesLeft, "Cleanup", text)).await;
    let api = context.api::<WatchedJob>(&watched.namespace().unwrap_or_default());
    finalizers::remove(&api, watched, names::FINALIZER).await?;
    Ok(Action::await_change())
}

#[allow(clippy::needless_pass_by_value, reason = "the controller hands its arguments over")]
fn error_policy(watched: Arc<WatchedJob>, error: &ControllerError, controller: Arc<JobController>) -> Action {
    within_sync(log_context_of(&watched), || retry_after(&watched.uid().unwrap_or_default(), error, &controller))
}

/// Logs why a reconciliation failed, and returns when it is retried.
fn retry_after(uid: &str, error: &ControllerError, controller: &JobController) -> Action {
    if is_gone(error) {
        controller.failures.reset(uid);
        return Action::await_change();
    }
    let retry = |bounds| {
        let failures = controller.failures.add(uid);
        Action::requeue(backoff::delay(bounds, failures, controller.context.random()))
    };
    if let ControllerError::Cleanup(CleanupError::Pending(what)) = error {
        info!(what, "clean-up is not complete yet");
        return retry(CLEANUP);
    }
    if error.is_conflict() {
        info!(reason = chain(error), "something changed meanwhile: it is read again");
        return retry(RETRIES);
    }
    warn!(error = chain(error), "reconciliation failed and is retried");
    retry(RETRIES)
}

/// Returns true if the resource was removed while its finalizer was written.
fn is_gone(error: &ControllerError) -> bool {
    matches!(error, ControllerError::Finalizer(error) if error.is_missing())
}

/// Returns the text of an error and of its causes, each once.
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
mod tests;
