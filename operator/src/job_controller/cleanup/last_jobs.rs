//! The Jobs of the clean-up, which act on buckets with the rights of workers.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use migration_core::records::RunSides;

use super::{Cleanup, CleanupError};
use crate::job_controller::allowed;
use crate::job_controller::apply::{self, ApplyCache, JobCreation, or_problem};
use crate::job_controller::dereference::cluster::{self, JobState};
use crate::job_controller::dereference::labels;
use crate::job_controller::dereference::services::{self, ServicesSpec};
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::ownership::Child;
use crate::job_controller::validate::{self, ValidateInput, ValidatedJob};
use crate::names;
use crate::problem::Problem;

/// The result of one of the last Jobs: an error says why something may be left.
pub(super) type LastJobResult = Result<(), String>;

/// A Job of the clean-up, which acts on buckets with the rights of workers.
pub(super) struct LastJob<'a> {
    /// The name of the Job and of its `ConfigMap`.
    pub(super) name: String,
    /// What the clean-up waits for meanwhile.
    pub(super) waiting: &'a str,
    /// How long to wait for the Job, in milliseconds. Kubernetes ends it before that.
    pub(super) patience_ms: i64,
    pub(super) build: fn(&ValidatedJob) -> (ConfigMap, Job),
}

impl Cleanup<'_> {
    /// Creates one of the last Jobs, or checks how far it is. `sides` are used instead of the resource's.
    pub(super) async fn run_last_job(
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

    /// Returns what the operator's policy refuses of Jobs with the rights of a worker.
    async fn refused_last_job(&self) -> Result<Option<Problem>, RequestError> {
        let references = allowed::references(&self.job.spec);
        let unlabelled = labels::unlabelled(self.context, &self.namespace, references).await?;
        Ok(allowed::refusals(self.job, &self.context.policy).into_iter().chain(unlabelled).next())
    }

    /// Deletes the Jobs of the clean-up and their `ConfigMap`s.
    pub(super) async fn delete_last_jobs(&self) -> Result<(), CleanupError> {
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
