//! Cleans up before the finalizer of a deleted resource is removed: ends what runs, removes
//! notification entries, aborts uploads, removes queue and table.
//!
//! Nothing here waits for ever: what cannot be removed is named in an event, and the finalizer is removed. Migrated data and
//! objects of somebody else are never touched: each deletion carries UID and resource version of the child that was
//! read.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};
use migration_api::spec::DeletionPolicy;
use migration_api::{EventReason, MigrationJob, MigrationJobSpec};
use migration_core::error::{ErrorClass, Service, ServiceError, ServiceFault};
use migration_core::records::RunSides;
use migration_ledger::{ReadError, view};
use serde::de::DeserializeOwned;
use tracing::info;

use crate::event::JobEvent;
use crate::job_controller::allowed;
use crate::job_controller::apply::{self, ApplyCache, ApplyError, JobCreation, or_problem};
use crate::job_controller::autoscalers;
use crate::job_controller::build;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::cluster::{self, JobState};
use crate::job_controller::dereference::labels;
use crate::job_controller::dereference::secrets;
use crate::job_controller::dereference::services::{self, ServicesSpec};
use crate::job_controller::events;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::ownership::{Child, Owner, is_controlled_by, is_job_of};
use crate::job_controller::validate::{self, ValidateInput, ValidatedJob};
use crate::names;
use crate::problem::Problem;

/// How long after the deletion to wait for pods and services that may still end or answer, in milliseconds: longer than
/// the grace period of a worker.
fn patience_ms(spec: &MigrationJobSpec) -> i64 {
    let grace = spec.worker.termination_grace_period_seconds.unwrap_or_default();
    (i64::from(grace) + 180).max(300) * 1_000
}

/// How long to wait for the Job that aborts uploads, in milliseconds. Kubernetes ends it before that.
const ABORT_PATIENCE_MS: i64 = (build::abort::DEADLINE_SECONDS + 60) * 1_000;

/// Why the finalizer cannot be removed yet.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// Something still ends. It is checked again soon.
    #[error("failed to remove MigrationJob yet: {0}")]
    Pending(String),
    /// A child could not be read.
    #[error(transparent)]
    Kubernetes(#[from] RequestError),
    /// A child could not be written or deleted.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl CleanupError {
    /// Returns the problem to report, or none if the clean-up is to be retried first.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Kubernetes(error) => error.problem(),
            Self::Apply(error) => error.problem(),
            Self::Pending(_) => None,
        }
    }
}

/// The result of one of the last Jobs: an error says why something may be left.
type LastJobResult = Result<(), String>;

/// A Job of the clean-up, which acts on buckets with the rights of workers.
struct LastJob<'a> {
    /// The name of the Job and of its `ConfigMap`.
    name: String,
    /// What the clean-up waits for meanwhile.
    waiting: &'a str,
    /// How long to wait for the Job, in milliseconds. Kubernetes ends it before that.
    patience_ms: i64,
    build: fn(&ValidatedJob) -> (ConfigMap, Job),
}

/// The clean-up after one resource.
struct Cleanup<'a> {
    job: &'a MigrationJob,
    context: &'a Context,
    namespace: String,
    owner: Owner,
    /// Milliseconds since the resource was deleted.
    since: i64,
}

/// Cleans up. The finalizer may be removed when this succeeds.
///
/// `kept` is how queue and table were reached last. It replaces Secrets that are gone, as in a namespace that is
/// deleted: Kubernetes removes its objects in no particular order, and those with finalizers last.
pub async fn cleanup(job: &MigrationJob, kept: Option<ServicesSpec>, context: &Context) -> Result<(), CleanupError> {
    let deleted = job.metadata.deletion_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
    let cleanup = Cleanup {
        job,
        context,
        namespace: job.namespace().unwrap_or_default(),
        owner: Owner::of(job),
        since: context.now() - deleted,
    };
    cleanup.delete_children().await?;
    let secrets = secrets::read(&context.api(&cleanup.namespace), &job.spec).await?;
    let refused = cleanup.refused_services().await?;
    let spec = ServicesSpec::of(job, &secrets).or(kept).filter(|_| refused.is_none());
    match spec {
        Some(spec) => {
            Box::pin(cleanup.remove_notifications(&spec)).await?;
            Box::pin(cleanup.abort_uploads(&spec)).await?;
            Box::pin(cleanup.remove_services(&spec)).await?;
        }
        None => cleanup.warn_of_lost_keys(refused).await,
    }
    cleanup.delete_last_jobs().await?;
    info!(job = cleanup.owner.name, namespace = cleanup.namespace, "cleaned up");
    Ok(())
}

impl Cleanup<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        self.context.api(&self.namespace)
    }

    async fn warn(&self, reason: EventReason, text: String) {
        self.context.publish_last(&self.job.object_ref(&()), JobEvent::warning(reason, "Cleanup", text)).await;
    }

    /// Returns true while it is worth waiting for what may end or recover by itself.
    fn is_patient(&self) -> bool {
        self.since < patience_ms(&self.job.spec)
    }

    /// Deletes what starts, scales and holds pods, and waits until it is gone: a pod that still writes could begin an upload.
    ///
    /// Deleted in the foreground, an object stays until its pods are gone. The CronJob is deleted last, since its UID
    /// identifies its Jobs.
    async fn delete_children(&self) -> Result<(), CleanupError> {
        let name = &self.owner.name;
        let cron_job = self.own::<CronJob>(&names::cron_job(name)).await?;
        if let Some(cron_job) = &cron_job {
            apply::suspend_schedule(&self.api(), cron_job).await?;
        }
        let mut left = Vec::new();
        let autoscalers = autoscalers::read(self.context, &self.namespace, name).await?;
        left.extend(autoscalers.remove_keda(self.context, &self.namespace, &self.owner).await?);
        left.extend(autoscalers.remove_hpa(self.context, &self.namespace, &self.owner).await?);
        for job in self.own_jobs(cron_job.as_ref()).await? {
            self.delete(&job, DeleteParams::foreground()).await?;
            left.push(format!("Job {}", job.name_any()));
        }
        if let Some(workers) = self.own::<Deployment>(&names::worker(name)).await? {
            self.delete(&workers, DeleteParams::foreground()).await?;
            left.push(format!("Deployment {}", workers.name_any()));
        }
        if let Some(cron_job) = cron_job.filter(|_| left.is_empty()) {
            self.delete(&cron_job, DeleteParams::foreground()).await?;
            left.push(format!("CronJob {}", cron_job.name_any()));
        }
        if left.is_empty() {
            return Ok(());
        }
        let text = format!("waiting for these and their pods to end: {}", left.join(", "));
        if self.is_patient() {
            return Err(CleanupError::Pending(text));
        }
        self.warn(EventReason::PodsLeft, format!("removed without {text}")).await;
        Ok(())
    }

    /// Gets the child of a name, also while it is being deleted.
    async fn own<K>(&self, name: &str) -> Result<Option<K>, RequestError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let found = kubernetes::get(&self.api::<K>(), name).await?;
        Ok(found.filter(|found| is_controlled_by(found.meta(), &self.owner.uid)))
    }

    /// Lists the Jobs of the resource, without those of the clean-up.
    async fn own_jobs(&self, cron_job: Option<&CronJob>) -> Result<Vec<Job>, RequestError> {
        let of_job = ListParams::default().labels(&names::of_job(&self.owner.name));
        let cron_job = cron_job.and_then(|cron_job| cron_job.metadata.uid.as_deref());
        let last = [names::remove_notifications(&self.owner.name), names::abort(&self.owner.name)];
        let mut jobs = kubernetes::list(&self.api::<Job>(), &of_job).await?;
        jobs.retain(|job| !last.contains(&job.name_any()) && is_job_of(&job.metadata, &self.owner, cron_job));
        Ok(jobs)
    }

    /// Deletes the child that was read, and nothing that took its place. Sends nothing if it is being deleted already.
    async fn delete<K>(&self, child: &K, how: DeleteParams) -> Result<(), ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        if child.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        apply::delete(&self.api::<K>(), child, how).await
    }

    /// Removes the notification entries of the source buckets, with the rights of a worker.
    async fn remove_notifications(&self, spec: &ServicesSpec) -> Result<(), CleanupError> {
        let found = self.notified_buckets(spec).await.map_err(|error| spec.shown(Service::Ledger, error));
        let buckets = match found {
            Ok(buckets) if buckets.is_empty() => return Ok(()),
            Ok(buckets) => buckets,
            Err(error) if self.is_patient() && is_passing(&error) => {
                return Err(CleanupError::Pending(error.to_string()));
            }
            // What the status says is all that is known.
            Err(_) => self.buckets_of_status(),
        };
        if buckets.is_empty() {
            return Ok(());
        }
        let _turn = self.context.notifying.lock().await;
        if let Some(other) = events::busy(self.job, &buckets, self.context).await?.filter(|_| self.is_patient()) {
            return Err(CleanupError::Pending(format!("waiting for Job {other} to configure a bucket")));
        }
        let job = LastJob {
            name: names::remove_notifications(&self.owner.name),
            waiting: "waiting for notification entries to be removed",
            patience_ms: (build::notify::DEADLINE_SECONDS + 60) * 1_000,
            build: build::notify::removal,
        };
        if let Err(why) = self.run_last_job(spec, None, &job).await? {
            let text = format!(
                "notification entries whose ids begin with s3-migration-{} may be left in {}: {why}; remove them",
                self.owner.uid,
                buckets.join(", ")
            );
            self.warn(EventReason::NotificationsLeft, text).await;
        }
        Ok(())
    }

    /// Returns the source buckets that have, or may have, notification entries of the job.
    async fn notified_buckets(&self, spec: &ServicesSpec) -> Result<Vec<String>, ServiceError> {
        let Some(ledger) = services::existing_ledger(spec, &self.context.clients).await? else {
            return Ok(self.buckets_of_status());
        };
        match view::notifications(&ledger, &self.owner.uid).await {
            Ok(record) => Ok(record.buckets.into_iter().map(|notified| notified.bucket).collect()),
            Err(ReadError::Request(error)) => Err(error),
            // The Job reads the same record, and its error names it.
            Err(ReadError::Record(_)) => {
                Ok(self.job.spec.buckets.iter().map(|pair| pair.source_bucket.clone()).collect())
            }
        }
    }

    fn buckets_of_status(&self) -> Vec<String> {
        let status = self.job.status.as_ref().and_then(|status| status.event_trigger.as_ref());
        status.map(|status| status.buckets.clone()).unwrap_or_default()
    }

    /// Aborts the uploads that the ledger records, with the rights of a worker.
    async fn abort_uploads(&self, spec: &ServicesSpec) -> Result<(), CleanupError> {
        let recorded = self.recorded_uploads(spec).await.map_err(|error| spec.shown(Service::Ledger, error));
        let (left, sides) = match recorded {
            Ok((0, _)) => return Ok(()),
            Ok(found) => found,
            Err(error) if self.is_patient() && is_passing(&error) => {
                return Err(CleanupError::Pending(error.to_string()));
            }
            Err(error) => {
                let text = format!("unfinished uploads at the destination are unknown and may be left: {error}");
                self.warn(EventReason::UploadsLeft, text).await;
                return Ok(());
            }
        };
        let job = LastJob {
            name: names::abort(&self.owner.name),
            waiting: "waiting for uploads to be aborted",
            patience_ms: ABORT_PATIENCE_MS,
            build: build::abort::build,
        };
        if let Err(why) = self.run_last_job(spec, sides, &job).await? {
            let buckets: Vec<_> = self.job.spec.buckets.iter().map(|pair| pair.destination_bucket.as_str()).collect();
            let text = format!(
                "unfinished uploads of this job ({left} recorded) may be left in {}: {why}; abort them, or let a lifecycle \
                 rule do so",
                buckets.join(", ")
            );
            self.warn(EventReason::UploadsLeft, text).await;
        }
        Ok(())
    }

    /// Returns the number of recorded uploads, and the sides of the last run, which began them. Records that cannot be read
    /// count too: the Job that aborts uploads then fails and names one of them.
    async fn recorded_uploads(&self, spec: &ServicesSpec) -> Result<(u64, Option<RunSides>), ServiceError> {
        let Some(ledger) = services::existing_ledger(spec, &self.context.clients).await? else { return Ok((0, None)) };
        let uploads = view::uploads(&ledger, &self.owner.uid).await?;
        let number = u64::try_from(uploads.records.len()).unwrap_or(u64::MAX).saturating_add(uploads.unreadable.count);
        match view::last_run(&ledger, &self.owner.uid).await {
            Ok(run) => Ok((number, run.and_then(|run| run.sides))),
            Err(ReadError::Request(error)) => Err(error),
            Err(ReadError::Record(error)) => {
                Err(ServiceError::new(ErrorClass::Refused, "read last run", "InvalidRecord", error.to_string()))
            }
        }
    }

    /// Creates one of the last Jobs, or checks how far it is. `sides` are used instead of the resource's.
    async fn run_last_job(
        &self,
        spec: &ServicesSpec,
        sides: Option<RunSides>,
        last: &LastJob<'_>,
    ) -> Result<LastJobResult, CleanupError> {
        let known = self.job.status.as_ref().and_then(|status| status.resources.as_ref());
        let queue_and_table = services::queue_and_table_of(spec, known);
        let input = ValidateInput { queue_and_table, sides, ..ValidateInput::default() };
        let validated = match validate::validate(self.job, &input, &self.context.pods) {
            Ok(validated) => validated,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let job = match Child::of(kubernetes::get(&self.api::<Job>(), &last.name).await?, &self.owner) {
            Child::Absent => return self.create_last_job(&validated, last).await,
            Child::Ours(job) => job,
            Child::Conflict(conflict) if conflict.is_going() && self.is_patient() => {
                return Err(CleanupError::Pending(conflict.to_string()));
            }
            Child::Conflict(conflict) => return Ok(Err(conflict.to_string())),
            Child::Adoptable(_) => return Ok(Err(format!("Job {} exists and is not this job's", last.name))),
        };
        let uid = job.uid().unwrap_or_default();
        let of_job = ListParams::default().labels(&names::of_job(&self.owner.name));
        let pods = kubernetes::list(&self.api::<Pod>(), &of_job).await?;
        let pods = cluster::own_pods(pods, &[uid].into());
        match cluster::state(&job, || cluster::termination_message(&pods, &last.name)) {
            JobState::Succeeded => Ok(Ok(())),
            JobState::Failed { message } => Ok(Err(message)),
            JobState::Unfinished => {
                let created = job.creation_timestamp().map_or(0, |time| time.0.as_millisecond());
                if self.context.now() - created < last.patience_ms {
                    return Err(CleanupError::Pending(last.waiting.to_owned()));
                }
                Ok(Err(format!("Job {} did not end", last.name)))
            }
        }
    }

    /// Creates one of the last Jobs, and its `ConfigMap`. Returns why they cannot be created if the namespace is being
    /// deleted or somebody else has their names.
    async fn create_last_job(
        &self,
        validated: &ValidatedJob,
        last: &LastJob<'_>,
    ) -> Result<LastJobResult, CleanupError> {
        if let Some(refused) = self.refused_last_job().await? {
            return Ok(Err(refused.message));
        }
        let (config, job) = (last.build)(validated);
        let maps = self.api::<ConfigMap>();
        let found = Child::of(kubernetes::get(&maps, &config.name_any()).await?, &self.owner);
        let written = apply::one(&maps, &config, &found, &self.owner, &ApplyCache::default()).await;
        if let Err(problem) = or_problem(written)? {
            return Ok(Err(problem.message));
        }
        match or_problem(apply::create_job(&self.api::<Job>(), &job, &self.owner).await)? {
            Ok(JobCreation::Created) => Err(CleanupError::Pending(last.waiting.to_owned())),
            Ok(JobCreation::NameTaken(conflict)) => Ok(Err(conflict.to_string())),
            Err(problem) => Ok(Err(problem.message)),
        }
    }

    async fn remove_services(&self, spec: &ServicesSpec) -> Result<(), CleanupError> {
        if self.job.spec.deletion_policy == DeletionPolicy::Retain {
            return Ok(());
        }
        self.context.fence.check().map_err(|error| CleanupError::Pending(error.to_string()))?;
        let left = services::remove(spec, &self.context.clients).await;
        if let Some((what, error)) = left.iter().find(|(_, error)| is_passing(error)).filter(|_| self.is_patient()) {
            return Err(CleanupError::Pending(format!("{what}: {error}")));
        }
        for (what, error) in left {
            let text = format!("{what} is left and must be removed by hand: {error}");
            self.warn(EventReason::ResourcesLeft, text).await;
        }
        Ok(())
    }

    /// Returns what the operator's policy refuses of queue and ledger.
    async fn refused_services(&self) -> Result<Option<Problem>, RequestError> {
        let of_services = ["spec.queue.credentials", "spec.ledger.credentials"];
        let references = allowed::references(&self.job.spec);
        let references = references.into_iter().filter(|found| of_services.contains(&found.field.as_str()));
        let unlabelled = labels::unlabelled(self.context, &self.namespace, references).await?;
        Ok(allowed::of_services(&self.job.spec, &self.context.policy).into_iter().chain(unlabelled).next())
    }

    /// Returns what the operator's policy refuses of Jobs with the rights of a worker.
    async fn refused_last_job(&self) -> Result<Option<Problem>, RequestError> {
        let references = allowed::references(&self.job.spec);
        let unlabelled = labels::unlabelled(self.context, &self.namespace, references).await?;
        Ok(allowed::refusals(self.job, &self.context.policy).into_iter().chain(unlabelled).next())
    }

    async fn warn_of_lost_keys(&self, refused: Option<Problem>) {
        let resources = self.job.status.as_ref().and_then(|status| status.resources.clone()).unwrap_or_default();
        let own = names::queue_and_table(&self.owner.name, &self.owner.uid);
        let why = refused.map_or_else(
            || "the Secret of queue or ledger cannot be used any more, and its keys are not known".to_owned(),
            |problem| problem.message,
        );
        let text = format!(
            "{why}; left behind are queue {}, its dead letters {}, table {} (if they were created for this job), \
             unfinished uploads at the destination, and notification entries of the source buckets, if any",
            resources.queue_url.unwrap_or_else(|| own.clone()),
            resources.dead_letter_url.unwrap_or_else(|| format!("{own}{}", names::DEAD_LETTERS)),
            resources.table.unwrap_or(own)
        );
        self.warn(EventReason::ResourcesLeft, text).await;
    }

    /// Deletes the Jobs of the clean-up and their `ConfigMap`s.
    async fn delete_last_jobs(&self) -> Result<(), CleanupError> {
        for name in [names::remove_notifications(&self.owner.name), names::abort(&self.owner.name)] {
            if let Some(job) = self.own::<Job>(&name).await? {
                self.delete(&job, DeleteParams::background()).await?;
            }
            if let Some(config) = self.own::<ConfigMap>(&name).await? {
                self.delete(&config, DeleteParams::background()).await?;
            }
        }
        Ok(())
    }
}

/// Returns true if an error may be over the next time. Wrong keys and missing rights are not waited for.
fn is_passing(error: &ServiceError) -> bool {
    match error.class {
        ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Conflict => true,
        ErrorClass::Service(fault) => {
            matches!(fault, ServiceFault::Unreachable | ServiceFault::Throttled | ServiceFault::ClockSkewed)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_may_pass_are_waited_for() {
        let is_passing = |class| is_passing(&ServiceError::new(class, "x", "Y", "z"));
        assert!(is_passing(ErrorClass::Transient) && is_passing(ErrorClass::Service(ServiceFault::Unreachable)));
        assert!(
            !is_passing(ErrorClass::Service(ServiceFault::CredentialsInvalid)) && !is_passing(ErrorClass::AccessDenied)
        );
    }
}
