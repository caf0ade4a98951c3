//! Makes the cluster hold what was built, by server-side apply, and only where it does not already.

use std::collections::HashMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::build::Resources;
use crate::dereference::cluster::{Cluster, SendJob};
use crate::names;
use crate::scaling;

/// What was applied last, and what the API server made of it: where both are as they were, nothing is sent.
pub type Applied = HashMap<String, (String, String)>;

/// Why something could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("failed to {verb} {kind} {name}: {}", said(.source))]
pub struct ApplyError {
    verb: &'static str,
    kind: String,
    name: String,
    /// What the API server said.
    pub source: kube::Error,
}

/// What the API server said, in its own words.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

impl ApplyError {
    fn new<K: Resource<DynamicType = ()>>(verb: &'static str, name: &str, source: kube::Error) -> Self {
        Self { verb, kind: K::kind(&()).into_owned(), name: name.to_owned(), source }
    }

    /// Whether a person must change something: the API server understood and refused.
    pub fn is_refusal(&self) -> bool {
        matches!(&self.source, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 404 | 422))
    }
}

/// Applies all of it. Gives the Deployment as it is now.
pub async fn resources(
    client: &Client,
    namespace: &str,
    resources: Resources,
    cluster: &Cluster,
    applied: &mut Applied,
) -> Result<Deployment, ApplyError> {
    let Resources { config_map, cron_job, deployment } = resources;
    one(&Api::namespaced(client.clone(), namespace), &config_map, cluster.config_map.as_ref(), applied).await?;
    one(&Api::namespaced(client.clone(), namespace), &cron_job, cluster.cron_job.as_ref(), applied).await?;
    let api = Api::namespaced(client.clone(), namespace);
    workers(&api, deployment, cluster.deployment.as_ref(), applied).await
}

/// Applies the Deployment without its number of workers, which has a field manager of its own. Kubernetes sets a field
/// that loses its last manager to its default, and that is 1: so the number has its manager before anything else.
async fn workers(
    api: &Api<Deployment>,
    mut wanted: Deployment,
    live: Option<&Deployment>,
    applied: &mut Applied,
) -> Result<Deployment, ApplyError> {
    let name = wanted.name_any();
    let Some(live) = live else {
        let without_number = wanted.clone();
        wanted.spec.replicas = Some(0);
        patch(api, &wanted).await?;
        scaling::write(api, &name, 0).await.map_err(|e| ApplyError::new::<Deployment>("scale", &name, e))?;
        let live = patch(api, &without_number).await?;
        applied.insert(key(&live), (hash(&without_number), version(&live)));
        return Ok(live);
    };
    if !scaling::has_manager(live) {
        let replicas = scaling::replicas(live);
        scaling::write(api, &name, replicas).await.map_err(|e| ApplyError::new::<Deployment>("scale", &name, e))?;
    }
    one(api, &wanted, Some(live), applied).await.map(|changed| changed.unwrap_or_else(|| live.clone()))
}

/// Applies one object where it or what is wanted changed since the last time. Gives it where it was sent.
pub async fn one<K>(api: &Api<K>, wanted: &K, live: Option<&K>, applied: &mut Applied) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
{
    let hash = hash(wanted);
    if let Some(live) = live
        && applied.get(&key(wanted)).is_some_and(|(before, seen)| *before == hash && *seen == version(live))
    {
        return Ok(None);
    }
    let now = patch(api, wanted).await?;
    applied.insert(key(wanted), (hash, version(&now)));
    Ok(Some(now))
}

async fn patch<K>(api: &Api<K>, wanted: &K) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    let name = wanted.name_any();
    let params = PatchParams::apply(names::MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(wanted)).await.map_err(|e| ApplyError::new::<K>("apply", &name, e))
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}", K::kind(&()), object.name_any())
}

fn hash<K: Serialize>(wanted: &K) -> String {
    // Objects of Kubernetes are always JSON; were one not, it would be applied each time.
    serde_json::to_vec(wanted).map(|text| hex::encode(Sha256::digest(text))).unwrap_or_default()
}

/// What changes when somebody changes what is wanted of an object: its generation, which its status leaves alone; or
/// its version, where it has no generation.
fn version<K: Resource>(live: &K) -> String {
    let meta = live.meta();
    meta.generation.map(|n| n.to_string()).or_else(|| meta.resource_version.clone()).unwrap_or_default()
}

/// What became of a Job that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there: made now, or before the operator was ended in between.
    Yes,
    /// Another one has its name.
    NameTaken,
}

/// Makes a Job once, however often it is tried.
pub async fn job(api: &Api<Job>, wanted: &Job) -> Result<Made, ApplyError> {
    let name = wanted.name_any();
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, wanted).await {
        Ok(_) => Ok(Made::Yes),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let there = api.get_opt(&name).await.map_err(|e| ApplyError::new::<Job>("get", &name, e))?;
            Ok(if there.is_some_and(|there| same_request(&there, wanted)) { Made::Yes } else { Made::NameTaken })
        }
        Err(error) => Err(ApplyError::new::<Job>("create", &name, error)),
    }
}

/// Whether a Job was made for the same resource and the same request.
fn same_request(there: &Job, wanted: &Job) -> bool {
    let owner = |job: &Job| job.owner_references().first().map(|owner| owner.uid.clone());
    let manual = |job: &Job| job.annotations().get(names::MANUAL_ANNOTATION).cloned();
    owner(there) == owner(wanted) && manual(there) == manual(wanted)
}

/// Holds the pods of live Jobs back, or lets them go on.
pub async fn suspend_jobs(api: &Api<Job>, jobs: &[SendJob], suspend: bool) -> Result<(), ApplyError> {
    for job in jobs.iter().filter(|job| job.is_unfinished() && job.suspended != suspend) {
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let change = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        api.patch(&job.name, &params, &change).await.map_err(|e| ApplyError::new::<Job>("suspend", &job.name, e))?;
    }
    Ok(())
}

/// Makes the kubelet look at the Secrets of running pods at once: it writes new values into mounted Secrets when it
/// next syncs a pod, which is within its sync period (a minute) and cache time, or when the pod itself changes, as it
/// does by this annotation. Pods that have it already are left alone.
pub async fn nudge_pods(api: &Api<Pod>, pods: &[Pod], secrets: &str) -> Result<(), ApplyError> {
    for pod in pods.iter().filter(|pod| wants_nudge(pod, secrets)) {
        let name = pod.name_any();
        let change = Patch::Merge(json!({"metadata": {"annotations": {names::SECRETS_ANNOTATION: secrets}}}));
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
    use crate::validate::tests::validated;

    #[test]
    fn a_job_that_is_there_counts_if_it_answers_the_same_request() {
        let job = |manual| build(&validated(|_| ()), 1, manual);
        assert!(same_request(&job(None), &job(None)));
        assert!(same_request(&job(Some("a")), &job(Some("a"))));
        assert!(!same_request(&job(Some("a")), &job(Some("b"))));
        let other = build(&validated(|job| job.metadata.uid = Some("u-2".into())), 1, None);
        assert!(!same_request(&other, &job(None)));
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

    #[test]
    fn only_what_a_person_must_mend_is_a_refusal() {
        let refused = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            ApplyError::new::<Job>("apply", "j", kube::Error::Api(status.boxed())).is_refusal()
        };
        assert!(refused(422) && refused(403) && !refused(500) && !refused(409));
    }
}
