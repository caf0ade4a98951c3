//! What is done before a deleted resource may go: what runs is ended, uploads are aborted, queue and table removed.
//!
//! Nothing here waits for ever. What can't be removed is named in an event, and the resource goes. Migrated data is
//! never touched, nor is what belongs to somebody else: each deletion carries the UID of the child that was looked at.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use migration_api::spec::DeletionPolicy;
use migration_api::{MigrationJob, reasons};
use migration_core::error::{ErrorClass, ServiceError, SideFault};
use migration_core::records::RunSides;
use migration_core::view;
use serde_json::json;
use tracing::info;

use crate::apply::{self, ApplyError, Made};
use crate::build;
use crate::cluster::{self, JobState};
use crate::context::Context;
use crate::names;
use crate::note::Note;
use crate::ownership::{Child, Owner, is_controlled_by, is_job_of};
use crate::problem::Problem;
use crate::secrets;
use crate::services::{self, Wanted};
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
    /// A child could not be written or deleted.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl CleanupError {
    /// What to tell a person; none where it is to be tried again first.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Kubernetes(error) if apply::is_refusal(error) => {
                Some(Problem::new(reasons::APPLY_FAILED, format!("failed to read children: {}", apply::said(error))))
            }
            Self::Apply(error) => error.problem(),
            Self::NotYet(_) | Self::Kubernetes(_) => None,
        }
    }
}

/// One resource that is going.
struct Going<'a> {
    job: &'a MigrationJob,
    context: &'a Context,
    namespace: String,
    owner: Owner,
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
        owner: Owner::of(job),
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
    context.forget(&going.owner.uid);
    info!(job = going.owner.name, namespace = going.namespace, "cleaned up");
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

    /// Deletes what starts and holds pods, and waits until it is gone: who still writes could begin an upload. In the
    /// foreground an object stays until its pods are gone. The `CronJob` goes last, since by its UID its Jobs are known.
    async fn end_all(&self) -> Result<(), CleanupError> {
        let name = &self.owner.name;
        let schedule = self.own::<CronJob>(&names::cron_job(name)).await?;
        if let Some(schedule) = &schedule {
            self.hold(schedule).await?;
        }
        let mut left = Vec::new();
        for job in self.own_jobs(schedule.as_ref()).await? {
            self.delete(&job, DeleteParams::foreground()).await?;
            left.push(format!("Job {}", job.name_any()));
        }
        if let Some(workers) = self.own::<Deployment>(&names::worker(name)).await? {
            self.delete(&workers, DeleteParams::foreground()).await?;
            left.push(format!("Deployment {}", workers.name_any()));
        }
        if let Some(schedule) = schedule.filter(|_| left.is_empty()) {
            self.delete(&schedule, DeleteParams::foreground()).await?;
            left.push(format!("CronJob {}", schedule.name_any()));
        }
        if left.is_empty() {
            return Ok(());
        }
        let text = format!("these and their pods still end: {}", left.join(", "));
        if self.is_patient() {
            return Err(CleanupError::NotYet(text));
        }
        self.warn("PodsLeft", text).await;
        Ok(())
    }

    /// The child of a name, also where it is on its way out.
    async fn own<K>(&self, name: &str) -> Result<Option<K>, CleanupError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let found = self.api::<K>().get_opt(name).await?;
        Ok(found.filter(|found| is_controlled_by(found.meta(), &self.owner.uid)))
    }

    /// The job's Jobs, but for the one that aborts uploads.
    async fn own_jobs(&self, schedule: Option<&CronJob>) -> Result<Vec<Job>, CleanupError> {
        let of_job = ListParams::default().labels(&names::of_job(&self.owner.name));
        let of_schedule = schedule.and_then(|schedule| schedule.metadata.uid.as_deref());
        let abort = names::abort(&self.owner.name);
        let own = |job: &Job| job.name_any() != abort && is_job_of(&job.metadata, &self.owner, of_schedule);
        Ok(self.api::<Job>().list(&of_job).await?.items.into_iter().filter(own).collect())
    }

    /// Lets the schedule make no more Jobs.
    async fn hold(&self, schedule: &CronJob) -> Result<(), CleanupError> {
        if schedule.spec.suspend == Some(true) || schedule.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let name = schedule.name_any();
        let change = Patch::Merge(json!({"metadata": {"uid": schedule.uid()}, "spec": {"suspend": true}}));
        let held = self.api::<CronJob>().patch(&name, &PatchParams::default(), &change).await;
        held.map(drop).map_err(|error| ApplyError::new::<CronJob>("suspend", &name, error).into())
    }

    /// Deletes a child that was looked at, and nothing that took its place. Where it is gone, or going, nothing is sent.
    async fn delete<K>(&self, child: &K, how: DeleteParams) -> Result<(), CleanupError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        if child.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        Ok(apply::delete(&self.api::<K>(), &child.name_any(), child.uid(), how).await?)
    }

    /// Aborts the uploads that the ledger records, with the rights of workers.
    async fn abort_uploads(&self, wanted: &Wanted) -> Result<(), CleanupError> {
        let (left, sides) = match self.recorded_uploads(wanted).await {
            Ok((0, _)) => return Ok(()),
            Ok(found) => found,
            Err(error) if self.is_patient() && passes(&error) => return Err(CleanupError::NotYet(error.to_string())),
            Err(error) => {
                let text = format!("unfinished uploads at the destination are not known, and may be left: {error}");
                self.warn("UploadsLeft", text).await;
                return Ok(());
            }
        };
        let external = services::external_of(wanted, self.job.status.as_ref().and_then(|s| s.resources.as_ref()));
        let around = validate::Around { sides, ..validate::Around::default() };
        let validated = match validate::validate(self.job, &external, &around, &self.context.worker_image) {
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

    /// How many there are, and the sides of the last run, which began them.
    async fn recorded_uploads(&self, wanted: &Wanted) -> Result<(usize, Option<RunSides>), ServiceError> {
        let Some(ledger) = services::ledger_if_there(wanted).await? else { return Ok((0, None)) };
        let found = match view::uploads(&ledger, &self.owner.uid).await {
            Ok(uploads) => view::last_run(&ledger, &self.owner.uid).await.map(|run| (uploads.len(), run)),
            Err(error) => Err(error),
        };
        match found {
            Ok((uploads, run)) => Ok((uploads, run.and_then(|run| run.sides))),
            Err(view::ViewError::Service(error)) => Err(error),
            Err(view::ViewError::Record(error)) => {
                Err(ServiceError::new(ErrorClass::Refused, "read uploads", "InvalidRecord", error.to_string()))
            }
        }
    }

    /// Makes the Job and waits for it. Gives why it could not do its work, where it could not.
    async fn run_abort_job(&self, validated: &validate::ValidatedJob) -> Result<Result<(), String>, CleanupError> {
        let name = names::abort(&self.owner.name);
        let job = match Child::of(self.api::<Job>().get_opt(&name).await?, &self.owner) {
            Child::Absent => return self.make_abort_job(validated).await,
            Child::Ours(job) => job,
            Child::Taken(taken) if taken.is_going() && self.is_patient() => {
                return Err(CleanupError::NotYet(taken.to_string()));
            }
            Child::Taken(taken) => return Ok(Err(taken.to_string())),
            Child::Adoptable(_) => return Ok(Err(format!("a Job {name} that is not this job's is there"))),
        };
        let uid = job.uid().unwrap_or_default();
        let of_job = ListParams::default().labels(&names::of_job(&self.owner.name));
        let pods = self.api::<Pod>().list(&of_job).await?;
        let pods = cluster::own_pods(pods.items, &[uid].into());
        match cluster::state(&job, || cluster::last_words(&pods, &name)) {
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

    /// Makes the Job and the `ConfigMap` that it reads. Gives why they can't be made, as in a namespace that is being
    /// deleted, or where somebody else has their names.
    async fn make_abort_job(&self, validated: &validate::ValidatedJob) -> Result<Result<(), String>, CleanupError> {
        let (config, job) = build::abort::build(validated);
        let maps = self.api::<ConfigMap>();
        let there = Child::of(maps.get_opt(&config.name_any()).await?, &self.owner);
        let mut problems = Vec::new();
        let written = apply::one(&maps, &config, &there, &self.owner, &mut apply::Applied::default()).await;
        if apply::told(written, &mut problems)?.is_some() {
            let made = apply::job(&self.api::<Job>(), &job, &self.owner).await;
            match apply::told(made, &mut problems)? {
                Some(Made::Yes) => return Err(CleanupError::NotYet("uploads are aborted".to_owned())),
                Some(Made::NameTaken(taken)) => problems.push(taken.problem()),
                None => {}
            }
        }
        let texts: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
        Ok(Err(texts.join("; ")))
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
        let own = names::external(&self.owner.name, &self.owner.uid);
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
        let name = names::abort(&self.owner.name);
        if let Some(job) = self.own::<Job>(&name).await? {
            self.delete(&job, DeleteParams::background()).await?;
        }
        if let Some(config) = self.own::<ConfigMap>(&name).await? {
            self.delete(&config, DeleteParams::background()).await?;
        }
        Ok(())
    }
}

/// Whether an error may be over the next time. Keys that are wrong, or rights that are gone, are not waited for.
fn passes(error: &ServiceError) -> bool {
    match error.class {
        ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Conflict => true,
        ErrorClass::Side(fault) => {
            matches!(fault, SideFault::Unreachable | SideFault::Throttled | SideFault::ClockSkewed)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_mend_itself_is_waited_for() {
        let passes = |class| passes(&ServiceError::new(class, "x", "Y", "z"));
        assert!(passes(ErrorClass::Transient) && passes(ErrorClass::Side(SideFault::Unreachable)));
        assert!(!passes(ErrorClass::Side(SideFault::CredentialsInvalid)) && !passes(ErrorClass::AccessDenied));
    }
}
