//! Cleans up before the finalizer of a deleted resource is removed: ends what runs, removes
//! notification entries, aborts uploads, removes queue and table.
//!
//! Nothing here waits for ever: what cannot be removed is named in an event, and the finalizer is removed. Migrated data and
//! objects of somebody else are never touched: each deletion carries UID and resource version of the child that was
//! read.

mod buckets;
mod last_jobs;

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};
use migration_api::spec::DeletionPolicy;
use migration_api::{EventReason, MigrationJob, MigrationJobSpec};
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use serde::de::DeserializeOwned;
use tracing::info;

use crate::event::JobEvent;
use crate::job_controller::apply::{self, ApplyError};
use crate::job_controller::autoscalers;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::secrets;
use crate::job_controller::dereference::services::{self, ServicesSpec};
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::ownership::{Owner, is_controlled_by, is_job_of};
use crate::job_controller::readable_ledger::refused_services;
use crate::names;
use crate::problem::Problem;

/// How long after the deletion to wait for pods and services that may still end or answer, in milliseconds: longer than
/// the grace period of a worker.
fn patience_ms(spec: &MigrationJobSpec) -> i64 {
    let grace = spec.worker.termination_grace_period_seconds.unwrap_or_default();
    (i64::from(grace) + 180).max(300) * 1_000
}

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
    let refused = refused_services(job, context).await?;
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
    info!("cleaned up");
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
