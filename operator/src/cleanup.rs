//! What is done before a deleted resource may go: what runs is ended, uploads are aborted, queue and table removed.
//!
//! Nothing here waits for ever. What can't be removed is named in an event, and the resource goes. Migrated data is
//! never touched.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Resource, ResourceExt};
use migration_api::MigrationJob;
use migration_api::spec::DeletionPolicy;
use migration_core::error::{ErrorClass, ServiceError, SideFault};
use migration_core::view;
use tracing::info;

use crate::apply::{self, ApplyError};
use crate::build;
use crate::context::Context;
use crate::dereference::cluster::{self, JobState};
use crate::dereference::secrets;
use crate::dereference::services::{self, Wanted};
use crate::events::Note;
use crate::names;
use crate::validate;

/// How long after the deletion pods and services that may still come to an end are waited for, in milliseconds: more
/// than the grace of a worker.
const PATIENCE_MS: i64 = 300_000;
/// How long the Job that aborts uploads is waited for, in milliseconds. Kubernetes ends it before that.
const ABORT_PATIENCE_MS: i64 = (build::abort::DEADLINE_SECONDS + 60) * 1_000;

/// Why a resource can't go yet.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// It is looked again soon.
    #[error("failed to remove MigrationJob yet: {0}")]
    NotYet(String),
    /// Kubernetes.
    #[error("failed to clean up after MigrationJob: {0}")]
    Kubernetes(#[from] kube::Error),
    /// The Job that aborts uploads could not be made, for now.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// One resource that is going.
struct Going<'a> {
    job: &'a MigrationJob,
    context: &'a Context,
    namespace: String,
    name: String,
    uid: String,
    /// Milliseconds since it was deleted.
    since: i64,
}

/// Cleans up. Where it succeeds the finalizer is taken away.
pub async fn cleanup(job: &MigrationJob, context: &Context) -> Result<(), CleanupError> {
    let deleted = job.metadata.deletion_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
    let going = Going {
        job,
        context,
        namespace: job.namespace().unwrap_or_default(),
        name: job.name_any(),
        uid: job.uid().unwrap_or_default(),
        since: context.now() - deleted,
    };
    going.end_all().await?;
    let secrets =
        secrets::read(&Api::<Secret>::namespaced(context.client.clone(), &going.namespace), &job.spec).await?;
    match Wanted::of(job, &secrets) {
        Some(wanted) => {
            going.abort_uploads(&wanted).await?;
            going.remove_services(&wanted).await?;
        }
        None => going.tell_of_lost_keys().await,
    }
    going.remove_abort_job().await?;
    context.forget(&going.uid);
    info!(job = going.name, namespace = going.namespace, "cleaned up");
    Ok(())
}

impl Going<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    async fn warn(&self, reason: &str, text: String) {
        self.context.tell(&self.job.object_ref(&()), Note::warning(reason, "Cleanup", text)).await;
    }

    /// Whether what may mend itself is still waited for.
    fn is_patient(&self) -> bool {
        self.since < PATIENCE_MS
    }

    /// Deletes what starts and holds pods, and waits until they are gone: who still writes could begin an upload.
    async fn end_all(&self) -> Result<(), CleanupError> {
        delete(&self.api::<CronJob>(), &names::cron_job(&self.name)).await?;
        delete(&self.api::<Deployment>(), &names::worker(&self.name)).await?;
        let of_job = ListParams::default().labels(&names::of_job(&self.name));
        let abort = names::abort(&self.name);
        let jobs = self.api::<Job>();
        for job in jobs.list(&of_job).await? {
            if job.name_any() != abort {
                delete(&jobs, &job.name_any()).await?;
            }
        }
        let pods = self.api::<Pod>().list(&of_job).await?;
        let left: Vec<_> = pods.iter().filter(|pod| holds(pod, &abort)).map(ResourceExt::name_any).collect();
        if left.is_empty() {
            return Ok(());
        }
        let text = format!("pods still end: {}", left.join(", "));
        if self.is_patient() {
            return Err(CleanupError::NotYet(text));
        }
        self.warn("PodsLeft", text).await;
        Ok(())
    }

    /// Aborts the uploads that the ledger records, with the rights of workers.
    async fn abort_uploads(&self, wanted: &Wanted) -> Result<(), CleanupError> {
        let left = match self.recorded_uploads(wanted).await {
            Ok(0) => return Ok(()),
            Ok(left) => left,
            Err(error) if self.is_patient() && passes(&error) => return Err(CleanupError::NotYet(error.to_string())),
            Err(error) => {
                let text = format!("unfinished uploads at the destination are not known, and may be left: {error}");
                self.warn("UploadsLeft", text).await;
                return Ok(());
            }
        };
        let external = services::external_of(wanted, self.job.status.as_ref().and_then(|s| s.resources.as_ref()));
        let validated = match validate::validate(self.job, &external, &[], &self.context.worker_image) {
            Ok(validated) => validated,
            Err(error) => {
                self.warn("UploadsLeft", format!("{left} uploads at the destination are left: {error}")).await;
                return Ok(());
            }
        };
        match self.run_abort_job(&validated).await? {
            Ok(()) => Ok(()),
            Err(why) => {
                let buckets: Vec<_> =
                    self.job.spec.buckets.iter().map(|pair| pair.destination_bucket.as_str()).collect();
                let text = format!(
                    "unfinished uploads of this job may be left in {}: {why}; abort them, or let a lifecycle rule do so",
                    buckets.join(", ")
                );
                self.warn("UploadsLeft", text).await;
                Ok(())
            }
        }
    }

    async fn recorded_uploads(&self, wanted: &Wanted) -> Result<usize, ServiceError> {
        let Some(ledger) = services::ledger_if_there(wanted).await? else { return Ok(0) };
        match view::uploads(&ledger, &self.uid).await {
            Ok(uploads) => Ok(uploads.len()),
            Err(view::ViewError::Service(error)) => Err(error),
            Err(view::ViewError::Record(error)) => {
                Err(ServiceError::new(ErrorClass::Refused, "read uploads", "InvalidRecord", error.to_string()))
            }
        }
    }

    /// Makes the Job and waits for it. Gives why it could not do its work, where it could not.
    async fn run_abort_job(&self, validated: &validate::ValidatedJob) -> Result<Result<(), String>, CleanupError> {
        let jobs = self.api::<Job>();
        let name = names::abort(&self.name);
        let Some(job) = jobs.get_opt(&name).await? else {
            let (config, job) = build::abort::build(validated);
            let mut applied = apply::Applied::default();
            let made = match apply::one(&self.api::<ConfigMap>(), &config, None, &mut applied).await {
                Ok(_) => apply::job(&jobs, &job).await.map(|_| ()),
                Err(error) => Err(error),
            };
            return match made {
                // So it is in a namespace that is being deleted.
                Err(error) if error.is_refusal() => Ok(Err(error.to_string())),
                made => Err(made.map_or_else(Into::into, |()| CleanupError::NotYet("uploads are aborted".to_owned()))),
            };
        };
        let pods = self.api::<Pod>().list(&ListParams::default().labels(&names::of_job(&self.name))).await?;
        match cluster::state(&job, || cluster::last_words(&pods.items, &name)) {
            JobState::Succeeded => Ok(Ok(())),
            JobState::Failed { message } => Ok(Err(message)),
            JobState::Unfinished => {
                let made = job.creation_timestamp().map_or(0, |time| time.0.as_millisecond());
                if self.context.now() - made < ABORT_PATIENCE_MS {
                    return Err(CleanupError::NotYet("uploads are aborted".to_owned()));
                }
                Ok(Err(format!("the Job {name} did not end")))
            }
        }
    }

    async fn remove_services(&self, wanted: &Wanted) -> Result<(), CleanupError> {
        if self.job.spec.deletion_policy == DeletionPolicy::Retain {
            return Ok(());
        }
        let left = services::remove(wanted).await;
        if let Some((what, error)) = left.iter().find(|(_, error)| passes(error)).filter(|_| self.is_patient()) {
            return Err(CleanupError::NotYet(format!("{what}: {error}")));
        }
        for (what, error) in left {
            self.warn("ResourcesLeft", format!("{what} is left and must be removed by hand: {error}")).await;
        }
        Ok(())
    }

    async fn tell_of_lost_keys(&self) {
        let resources = self.job.status.as_ref().and_then(|status| status.resources.clone()).unwrap_or_default();
        let own = names::external(&self.name, &self.uid);
        let text = format!(
            "the Secret of queue or ledger can't be used any more; left behind are queue {}, its dead letters {}, table {} \
             (where they were made for this job) and unfinished uploads at the destination",
            resources.queue_url.unwrap_or_else(|| own.clone()),
            resources.dead_letter_url.unwrap_or_else(|| format!("{own}{}", names::DEAD_LETTERS)),
            resources.table.unwrap_or(own)
        );
        self.warn("ResourcesLeft", text).await;
    }

    async fn remove_abort_job(&self) -> Result<(), CleanupError> {
        let name = names::abort(&self.name);
        delete(&self.api::<Job>(), &name).await?;
        delete(&self.api::<ConfigMap>(), &name).await
    }
}

/// Whether a pod may still write: it has not ended, and is not the one that aborts uploads.
fn holds(pod: &Pod, abort: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    !ended && pod.labels().get(names::JOB_NAME_LABEL).is_none_or(|job| job != abort)
}

/// Whether an error may be over the next time. Keys that are wrong, or rights that are gone, are not waited for.
fn passes(error: &ServiceError) -> bool {
    match error.class {
        ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Conflict => true,
        ErrorClass::Side(fault) => matches!(fault, SideFault::Unreachable | SideFault::ClockSkewed),
        _ => false,
    }
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), CleanupError>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.delete(name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dereference::cluster::tests::pod;

    #[test]
    fn pods_that_may_still_write_are_waited_for() {
        let of = |job: &str, phase: &str| {
            pod(&format!(
                "{{metadata: {{name: p, labels: {{{}: {job}}}}}, status: {{phase: {phase}}}}}",
                names::JOB_NAME_LABEL
            ))
        };
        assert!(holds(&of("photos-run-1", "Running"), "photos-abort-uploads"));
        assert!(holds(&pod("metadata: {name: worker}"), "photos-abort-uploads"));
        assert!(!holds(&of("photos-run-1", "Succeeded"), "photos-abort-uploads"));
        assert!(!holds(&of("photos-abort-uploads", "Running"), "photos-abort-uploads"));
    }

    #[test]
    fn only_what_may_mend_itself_is_waited_for() {
        let passes = |class| passes(&ServiceError::new(class, "x", "Y", "z"));
        assert!(passes(ErrorClass::Transient) && passes(ErrorClass::Side(SideFault::Unreachable)));
        assert!(!passes(ErrorClass::Side(SideFault::CredentialsInvalid)) && !passes(ErrorClass::AccessDenied));
    }
}
