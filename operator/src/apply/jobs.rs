//! Jobs are made once and never applied, and of pods only an annotation is written.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::ApplyError;
use crate::cluster::SendJob;
use crate::names;
use crate::ownership::{Owner, Taken, is_controlled_by, standing};

/// What became of a Job that was to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there: made now, or before the operator was ended in between.
    Yes,
    /// Another one has its name.
    NameTaken(Taken),
}

/// Makes a Job once, however often it is tried.
pub async fn job(api: &Api<Job>, wanted: &Job, owner: &Owner) -> Result<Made, ApplyError> {
    let name = wanted.name_any();
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let Err(error) = api.create(&params, wanted).await else { return Ok(Made::Yes) };
    let exists = matches!(&error, kube::Error::Api(status) if status.is_already_exists());
    let error = ApplyError::new::<Job>("create", &name, error);
    if !exists {
        return Err(error);
    }
    match api.get_opt(&name).await.map_err(|e| ApplyError::new::<Job>("get", &name, e))? {
        Some(there) if is_same_request(&there, wanted, owner) => Ok(Made::Yes),
        Some(there) => Ok(Made::NameTaken(Taken::new(&there, standing(&there.metadata, owner), owner))),
        // It went in between: the next look makes it.
        None => Err(error),
    }
}

/// Whether a Job was made for this resource and the same request.
fn is_same_request(there: &Job, wanted: &Job, owner: &Owner) -> bool {
    let manual = |job: &Job| job.annotations().get(names::MANUAL_ANNOTATION).cloned();
    is_controlled_by(&there.metadata, &owner.uid) && manual(there) == manual(wanted)
}

/// Holds the pods of live Jobs back, or lets them go on.
pub async fn suspend_jobs(api: &Api<Job>, jobs: &[SendJob], suspend: bool) -> Result<(), ApplyError> {
    for job in jobs.iter().filter(|job| job.is_unfinished() && job.suspended != suspend) {
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let change = Patch::Merge(json!({"metadata": {"uid": job.uid}, "spec": {"suspend": suspend}}));
        let verb = if suspend { "suspend" } else { "resume" };
        api.patch(&job.name, &params, &change).await.map_err(|e| ApplyError::new::<Job>(verb, &job.name, e))?;
    }
    Ok(())
}

/// Makes the kubelet look at the Secrets of running pods at once: it writes new values into mounted Secrets when it
/// next syncs a pod, which is within its sync period (a minute) and cache time, or when the pod itself changes, as it
/// does by this annotation. Pods that have it already are left alone.
pub async fn nudge_pods(api: &Api<Pod>, pods: &[Pod], secrets: &str) -> Result<(), ApplyError> {
    for pod in pods.iter().filter(|pod| wants_nudge(pod, secrets)) {
        let name = pod.name_any();
        let metadata = json!({"uid": pod.uid(), "annotations": {names::SECRETS_ANNOTATION: secrets}});
        let change = Patch::Merge(json!({"metadata": metadata}));
        match api.patch(&name, &PatchParams::default(), &change).await {
            // It ended in between.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            result => drop(result.map_err(|e| ApplyError::new::<Pod>("annotate", &name, e))?),
        }
    }
    Ok(())
}

fn wants_nudge(pod: &Pod, secrets: &str) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running")
        && pod.metadata.deletion_timestamp.is_none()
        && pod.annotations().get(names::SECRETS_ANNOTATION).is_none_or(|version| version != secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::job::build;
    use crate::ownership::tests::owner;
    use crate::validate::tests::validated;

    #[test]
    fn a_job_that_is_there_counts_if_it_answers_the_same_request() {
        let job = |manual| build(&validated(|_| ()), 1, manual);
        let same = |there: &Job, wanted: &Job| is_same_request(there, wanted, &owner());
        assert!(same(&job(None), &job(None)));
        assert!(same(&job(Some("a")), &job(Some("a"))));
        assert!(!same(&job(Some("a")), &job(Some("b"))));
        let other = build(&validated(|job| job.metadata.uid = Some("u-2".into())), 1, None);
        assert!(!same(&other, &job(None)));
    }

    #[test]
    fn running_pods_are_nudged_once_for_each_change() {
        let pod = |phase: &str, version: &str| -> Pod {
            let text = format!(
                "{{metadata: {{name: p, annotations: {{s3migration.dev/secrets: {version}}}}}, status: {{phase: {phase}}}}}"
            );
            serde_yaml::from_str(&text).unwrap()
        };
        assert!(wants_nudge(&pod("Running", "old"), "new"));
        assert!(!wants_nudge(&pod("Running", "new"), "new"));
        assert!(!wants_nudge(&pod("Pending", "old"), "new"));
    }
}
