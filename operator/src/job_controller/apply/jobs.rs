//! Creates Jobs, which are never applied, and changes the few fields of Jobs and pods that change.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::ApplyError;
use crate::job_controller::dereference::cluster::ObservedJob;
use crate::job_controller::kubernetes::{self, RequestError};
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
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let change = Patch::Merge(json!({"metadata": {"uid": job.uid}, "spec": {"suspend": suspend}}));
        let verb = if suspend { "suspend" } else { "resume" };
        api.patch(&job.name, &params, &change).await.map_err(|e| RequestError::new::<Job>(verb, &job.name, e))?;
    }
    Ok(())
}

/// Suspends a CronJob, so that it creates no more Jobs.
pub async fn suspend_schedule(api: &Api<CronJob>, cron_job: &CronJob) -> Result<(), ApplyError> {
    if cron_job.spec.suspend == Some(true) || cron_job.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let name = cron_job.name_any();
    let change = Patch::Merge(json!({"metadata": {"uid": cron_job.uid()}, "spec": {"suspend": true}}));
    let suspended = api.patch(&name, &PatchParams::default(), &change).await;
    suspended.map_err(|error| RequestError::new::<CronJob>("suspend", &name, error))?;
    Ok(())
}

/// Annotates running pods with the version of the Secrets that they mount, unless they have the annotation.
///
/// The kubelet writes new values into mounted Secrets when it next syncs a pod: within its sync period (a minute) and the
/// time to live of its cache, or at once when the pod itself changes, as it does by this annotation.
pub async fn annotate_pods(api: &Api<Pod>, pods: &[Pod], secrets: &str) -> Result<(), ApplyError> {
    for pod in pods.iter().filter(|pod| needs_annotation(pod, secrets)) {
        let name = pod.name_any();
        let metadata = json!({"uid": pod.uid(), "annotations": {names::SECRETS_ANNOTATION: secrets}});
        let change = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&name, &PatchParams::default(), &change).await {
            // The pod ended in between.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            result => drop(result.map_err(|e| RequestError::new::<Pod>("annotate", &name, e))?),
        }
    }
    Ok(())
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
