//! Creates Jobs, which are never applied, and changes the few fields of Jobs and pods that change.

use std::fmt::Debug;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ApplyError;
use crate::job_controller::dereference::cluster::ObservedJob;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::optimistic::{self, is_same_specification};
use crate::job_controller::ownership::{NameConflict, Owner, is_controlled_by, ownership};
use crate::names;

/// The result of creating a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobCreation {
    /// The Job exists: created now, or by an earlier attempt whose answer was lost.
    Created,
    /// Another Job has its name.
    NameTaken(NameConflict),
}

/// Creates a Job once, however often this is repeated.
pub async fn create_job(api: &Api<Job>, wanted: &Job, owner: &Owner) -> Result<JobCreation, ApplyError> {
    let name = wanted.name_any();
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let Err(error) = api.create(&params, wanted).await else { return Ok(JobCreation::Created) };
    let exists = matches!(&error, kube::Error::Api(status) if status.is_already_exists());
    let error = ApplyError::from(RequestError::new::<Job>("create", &name, error));
    if !exists {
        return Err(error);
    }
    match kubernetes::get(api, &name).await? {
        Some(found) if is_same_request(&found, wanted, owner) => Ok(JobCreation::Created),
        Some(found) => Ok(JobCreation::NameTaken(NameConflict::new(&found, ownership(&found.metadata, owner), owner))),
        // It was deleted in between: the next reconciliation creates it.
        None => Err(error),
    }
}

/// Returns true if a Job was created for this resource and the same request.
fn is_same_request(found: &Job, wanted: &Job, owner: &Owner) -> bool {
    let manual = |job: &Job| job.annotations().get(names::MANUAL_ANNOTATION).cloned();
    is_controlled_by(&found.metadata, &owner.uid) && manual(found) == manual(wanted)
}

/// Suspends or resumes the Jobs that have not finished.
pub async fn suspend_jobs(api: &Api<Job>, jobs: &[ObservedJob], suspend: bool) -> Result<(), ApplyError> {
    for job in jobs.iter().filter(|job| job.is_unfinished() && job.suspended != suspend) {
        let verb = if suspend { "suspend" } else { "resume" };
        let is_same = |_: &Job, found: &Job| is_suspended(found) == job.suspended;
        let send = |now: Job| merge(api, &now, &json!({"spec": {"suspend": suspend}}));
        optimistic::write(api, &job.object(), verb, is_same, send).await?;
    }
    Ok(())
}

/// Suspends a CronJob, so that it creates no more Jobs.
pub async fn suspend_schedule(api: &Api<CronJob>, cron_job: &CronJob) -> Result<(), ApplyError> {
    if cron_job.spec.suspend == Some(true) || cron_job.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let send = |now: CronJob| merge(api, &now, &json!({"spec": {"suspend": true}}));
    optimistic::write(api, cron_job, "suspend", is_same_specification, send).await?;
    Ok(())
}

/// Annotates running pods with the version of the Secrets that they mount, unless they have the annotation.
///
/// The kubelet writes new values into mounted Secrets when it next syncs a pod: within its sync period (a minute) and the
/// time to live of its cache, or at once when the pod itself changes, as it does by this annotation.
pub async fn annotate_pods(api: &Api<Pod>, pods: &[Pod], secrets: &str) -> Result<(), ApplyError> {
    for pod in pods.iter().filter(|pod| needs_annotation(pod, secrets)) {
        annotate(api, pod, names::SECRETS_ANNOTATION, secrets).await?;
    }
    Ok(())
}

/// Annotates a pod, unless somebody else changed this annotation since it was read, or the pod is gone.
pub async fn annotate(api: &Api<Pod>, pod: &Pod, annotation: &str, value: &str) -> Result<(), ApplyError> {
    let is_same = |one: &Pod, other: &Pod| one.annotations().get(annotation) == other.annotations().get(annotation);
    let send = |now: Pod| merge(api, &now, &json!({"metadata": {"annotations": {annotation: value}}}));
    match optimistic::write(api, pod, "annotate", is_same, send).await {
        // The pod ended in between.
        Err(error) if error.is_missing() => Ok(()),
        written => Ok(written.map(drop)?),
    }
}

/// Sends a merge patch with UID and resource version of the object that was read.
fn merge<K>(api: &Api<K>, read: &K, change: &Value) -> impl Future<Output = Result<K, kube::Error>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let (api, name, mut change) = (api.clone(), read.name_any(), change.clone());
    change["metadata"]["uid"] = json!(read.uid());
    change["metadata"]["resourceVersion"] = json!(read.resource_version());
    let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
    async move { api.patch(&name, &params, &Patch::Merge(change)).await }
}

fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false)
}

fn needs_annotation(pod: &Pod, secrets: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running")
        && pod.metadata.deletion_timestamp.is_none()
        && pod.annotations().get(names::SECRETS_ANNOTATION).is_none_or(|version| version != secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::build::job::build;
    use crate::job_controller::ownership::tests::owner;
    use crate::job_controller::validate::tests::validated;

    #[test]
    fn an_existing_job_counts_if_it_answers_the_same_request() {
        let job = |manual| build(&validated(|_| ()), 1, manual);
        let same = |found: &Job, wanted: &Job| is_same_request(found, wanted, &owner());
        assert!(same(&job(None), &job(None)));
        assert!(same(&job(Some("a")), &job(Some("a"))));
        assert!(!same(&job(Some("a")), &job(Some("b"))));
        let other = build(&validated(|job| job.metadata.uid = Some("u-2".into())), 1, None);
        assert!(!same(&other, &job(None)));
    }

    #[test]
    fn running_pods_are_annotated_once_for_each_change() {
        let pod = |phase: &str, version: &str| -> Pod {
            let text = format!(
                "{{metadata: {{name: p, annotations: {{s3migration.dev/secrets: {version}}}}}, status: {{phase: {phase}}}}}"
            );
            serde_yaml::from_str(&text).unwrap()
        };
        assert!(needs_annotation(&pod("Running", "old"), "new"));
        assert!(!needs_annotation(&pod("Running", "new"), "new"));
        assert!(!needs_annotation(&pod("Pending", "old"), "new"));
    }
}
