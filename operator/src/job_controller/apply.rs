//! Applies what was built, and sends only what differs from the cluster.
//!
//! | object under the child's name | action |
//! |---|---|
//! | none | create it by POST: a name that is taken meanwhile is a conflict, not an adoption |
//! | the child | server-side apply with UID and resource version of the child that was read: an object that took its place, or was changed meanwhile, is a conflict |
//! | one that a person released to the resource | the same; the owner reference is part of it |
//! | any other | none; the condition Degraded names it |

mod error;
mod jobs;
pub mod replicas;
mod unused_configs;

use std::collections::HashMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use migration_api::MigrationJob;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::job_controller::build::Resources;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::cluster::Cluster;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::optimistic::{self, is_same_specification, version};
use crate::job_controller::ownership::{Child, Owner, is_controlled_by};
use crate::names;
use crate::problem::Problem;
use unused_configs::Unused;

pub use error::{ApplyError, or_problem};
pub use jobs::{JobCreation, annotate, annotate_pods, create_job, suspend_jobs, suspend_schedule};

/// The output of the step.
pub struct Applied {
    /// The Deployment as it is now; none if it is not the job's.
    pub deployment: Option<Deployment>,
    /// Refusals of the API server, and names that are taken.
    pub problems: Vec<Problem>,
    /// Something was written.
    pub is_changed: bool,
    /// The cache for the next reconciliation.
    pub cache: ApplyCache,
}

/// The applied objects, and unused ones.
#[derive(Clone, Debug, Default)]
pub struct ApplyCache {
    versions: HashMap<String, AppliedVersion>,
    unused_configs: Unused,
}

/// The hash of an object that was sent, and its version at the API server. Nothing is sent while both are unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AppliedVersion {
    hash: String,
    version: String,
}

/// An object that was sent.
pub struct Sent<K> {
    /// The object as the API server returned it.
    pub object: K,
    version: AppliedVersion,
}

/// Applies all children, and removes configurations that have been unused for a while. Without resources nothing is
/// changed.
///
/// A child that cannot be applied does not stop the others, with one exception: if a configuration cannot be applied,
/// nothing is changed that would run with it.
pub async fn apply(
    job: &MigrationJob,
    resources: Option<Resources>,
    cluster: &Cluster,
    cache: ApplyCache,
    context: &Context,
) -> Result<Applied, ApplyError> {
    let live = cluster.deployment.ours().cloned();
    let Some(resources) = resources else {
        return Ok(Applied { deployment: live, problems: Vec::new(), is_changed: false, cache });
    };
    let names: Vec<_> = resources.config_maps.iter().map(ResourceExt::name_any).collect();
    let applied = apply_children(job, resources, cluster, cache, context).await?;
    let configs = context.api(&job.namespace().unwrap_or_default());
    let ApplyCache { versions, unused_configs } = applied.cache;
    let (removed, unused_configs) =
        remove_unused(&configs, &Owner::of(job), cluster, &names, unused_configs, context.now()).await;
    let problems = applied.problems.into_iter().chain(or_problem(removed)?.err()).collect();
    Ok(Applied { problems, cache: ApplyCache { versions, unused_configs }, ..applied })
}

async fn apply_children(
    job: &MigrationJob,
    resources: Resources,
    cluster: &Cluster,
    mut cache: ApplyCache,
    context: &Context,
) -> Result<Applied, ApplyError> {
    let (namespace, owner) = (job.namespace().unwrap_or_default(), Owner::of(job));
    // Without `..`: a new kind of child that is not applied here does not compile.
    let Resources { config_maps, cron_job, deployment } = resources;
    let (mut problems, live) = (Vec::new(), cluster.deployment.ours());
    let before = cache.versions.clone();
    for config_map in &config_maps {
        let found = cluster.config_maps.iter().find(|found| found.name_any() == config_map.name_any()).cloned();
        let sent = one(&context.api(&namespace), config_map, &Child::of(found, &owner), &owner, &cache).await;
        match or_problem(sent)? {
            Ok(sent) => cache.remember(sent.as_ref()),
            Err(problem) => {
                problems.push(problem);
                return Ok(Applied {
                    deployment: live.cloned(),
                    problems,
                    is_changed: cache.versions != before,
                    cache,
                });
            }
        }
    }
    match or_problem(one(&context.api(&namespace), &cron_job, &cluster.cron_job, &owner, &cache).await)? {
        Ok(sent) => cache.remember(sent.as_ref()),
        Err(problem) => problems.push(problem),
    }
    let sent = workers(&context.api(&namespace), deployment, &cluster.deployment, &owner, &cache).await;
    let sent = match or_problem(sent)? {
        Ok(sent) => sent,
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    cache.remember(sent.as_ref());
    let deployment = sent.map(|sent| sent.object).or_else(|| live.cloned());
    Ok(Applied { deployment, problems, is_changed: cache.versions != before, cache })
}

impl ApplyCache {
    fn remember<K: Resource<DynamicType = ()>>(&mut self, sent: Option<&Sent<K>>) {
        if let Some(Sent { object, version }) = sent {
            self.versions.insert(key(object), version.clone());
        }
    }
}

/// Suspends the schedule of a job that the operator's policy refuses. It is resumed when the job is applied again.
pub async fn suspend_refused(job: &MigrationJob, cluster: &Cluster, context: &Context) -> Result<(), ApplyError> {
    match cluster.cron_job.ours() {
        Some(cron_job) => suspend_schedule(&context.api(&job.namespace().unwrap_or_default()), cron_job).await,
        None => Ok(()),
    }
}

/// Removes the configurations that nothing has used for a while. `wanted` names those that were applied now.
async fn remove_unused(
    api: &Api<ConfigMap>,
    owner: &Owner,
    cluster: &Cluster,
    wanted: &[String],
    unused: Unused,
    now: i64,
) -> (Result<(), ApplyError>, Unused) {
    let own: Vec<_> = cluster.config_maps.iter().filter(|map| is_controlled_by(&map.metadata, &owner.uid)).collect();
    let used = cluster.config_maps_used.iter().chain(wanted).cloned().collect();
    let (due, unused) = unused_configs::due(&own, &used, &unused, now);
    for map in due {
        if let Err(error) = delete(api, map, DeleteParams::background()).await {
            return (Err(error), unused);
        }
    }
    (Ok(()), unused)
}

/// Deletes the object that was read, by its UID and resource version, and nothing that took its place. Succeeds if it
/// is gone already.
pub async fn delete<K>(api: &Api<K>, live: &K, how: DeleteParams) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let send = |now: K| {
        let read = Preconditions { uid: now.uid(), resource_version: now.resource_version() };
        let (name, how) = (now.name_any(), how.clone().preconditions(read));
        async move { api.delete(&name, &how).await.map(drop) }
    };
    match optimistic::write_unless_gone(api, live, "delete", |_, _| true, send).await {
        Err(refused) if !refused.is_gone => Err(refused.error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Applies the Deployment without its number of workers, which has a field manager of its own.
///
/// Kubernetes sets a field that loses its last manager to its default, which is 1 here. So the number gets its manager
/// before the first apply, and again when an autoscaler has written it.
async fn workers(
    api: &Api<Deployment>,
    mut wanted: Deployment,
    child: &Child<Deployment>,
    owner: &Owner,
    cache: &ApplyCache,
) -> Result<Option<Sent<Deployment>>, ApplyError> {
    if matches!(child, Child::Absent) {
        let hash = hash(&wanted);
        wanted.spec.replicas = Some(0);
        return create(api, &wanted, hash, owner).await.map(Some);
    }
    if let Child::Ours(live) | Child::Adoptable(live) = child
        && !replicas::has_manager(live)
    {
        replicas::claim(api, live).await?;
        let now = kubernetes::get(api, &wanted.name_any()).await?;
        return one(api, &wanted, &Child::of(now, owner), owner, cache).await;
    }
    one(api, &wanted, child, owner, cache).await
}

/// Creates or applies one child, if it or what is wanted of it changed since the last time. Returns it if it was sent.
pub async fn one<K>(
    api: &Api<K>,
    wanted: &K,
    child: &Child<K>,
    owner: &Owner,
    cache: &ApplyCache,
) -> Result<Option<Sent<K>>, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
{
    let hash = hash(wanted);
    let live = match child {
        Child::Absent => return create(api, wanted, hash, owner).await.map(Some),
        Child::Ours(live) | Child::Adoptable(live) => live,
        Child::Conflict(conflict) => return Err(ApplyError::NameTaken(Box::new(conflict.clone()))),
    };
    let known = cache.versions.get(&key(wanted));
    let is_known = known.is_some_and(|known| known.hash == hash && known.version == version(live));
    if is_known && child.ours().is_some() {
        return Ok(None);
    }
    Ok(Some(Sent::new(patch(api, wanted, live).await?, hash)))
}

impl<K: Resource> Sent<K> {
    fn new(object: K, hash: String) -> Self {
        let version = AppliedVersion { hash, version: version(&object) };
        Self { object, version }
    }
}

/// Creates a child. If its name was taken since the cluster was read, the object decides: it may be our own, created by a
/// request whose answer was lost.
async fn create<K>(api: &Api<K>, wanted: &K, hash: String, owner: &Owner) -> Result<Sent<K>, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
{
    let name = wanted.name_any();
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let error = match api.create(&params, wanted).await {
        Ok(created) => {
            let claimed = claim(api, &created).await?;
            return Ok(Sent::new(claimed.unwrap_or(created), hash));
        }
        Err(error) => error,
    };
    let exists = matches!(&error, kube::Error::Api(status) if status.is_already_exists());
    let error = ApplyError::from(RequestError::new::<K>("create", &name, error));
    if !exists {
        return Err(error);
    }
    match Child::of(kubernetes::get(api, &name).await?, owner) {
        Child::Conflict(conflict) => Err(ApplyError::NameTaken(Box::new(conflict))),
        // The next reconciliation applies or creates it.
        Child::Ours(_) | Child::Adoptable(_) | Child::Absent => Err(error),
    }
}

async fn patch<K>(api: &Api<K>, wanted: &K, live: &K) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    let claimed = claim(api, live).await?;
    let params = PatchParams::apply(names::MANAGER).force();
    let send = |now: K| {
        let (mut sent, params) = (wanted.clone(), params.clone());
        (sent.meta_mut().uid, sent.meta_mut().resource_version) = (now.uid(), now.resource_version());
        async move { api.patch(&sent.name_any(), &params, &Patch::Apply(&sent)).await }
    };
    let live = claimed.as_ref().unwrap_or(live);
    Ok(optimistic::write(api, live, "apply", is_same_specification, send).await?)
}

/// Turns the fields that a POST made ours into fields that we applied. Else they would belong to the POST for ever, and a
/// later apply could not remove them. Returns the object if it was changed.
///
/// Source: `UpgradeManagedFields` of client-go, `util/csaupgrade`.
async fn claim<K>(api: &Api<K>, live: &K) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    if claimed(live.meta().managed_fields.as_deref().unwrap_or_default()).is_none() {
        return Ok(None);
    }
    let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
    let send = |now: K| {
        let fields = claimed(now.meta().managed_fields.as_deref().unwrap_or_default());
        let change = Patch::Merge(json!({"metadata": {
            "uid": now.uid(), "resourceVersion": now.resource_version(), "managedFields": fields,
        }}));
        let (name, params) = (now.name_any(), params.clone());
        async move { api.patch(&name, &params, &change).await }
    };
    // Others write too: KEDA writes its own into a new `ScaledObject` at once.
    let is_same = |_: &K, found: &K| claimed(found.meta().managed_fields.as_deref().unwrap_or_default()).is_some();
    Ok(Some(optimistic::write(api, live, "claim", is_same, send).await?))
}

/// Returns the managers of an object's fields as [`claim`] writes them, or none if nothing is left to claim.
fn claimed(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let is_ours = |entry: &ManagedFieldsEntry, operation: &str| {
        entry.manager.as_deref() == Some(names::MANAGER)
            && entry.operation.as_deref() == Some(operation)
            && entry.subresource.is_none()
    };
    let posted = entries.iter().find(|entry| is_ours(entry, "Update"))?;
    let others: Vec<_> = entries.iter().filter(|entry| !is_ours(entry, "Update")).cloned().collect();
    if others.iter().any(|entry| is_ours(entry, "Apply")) {
        return Some(others);
    }
    let mut entry = posted.clone();
    entry.operation = Some("Apply".to_owned());
    // The number of workers has a manager of its own.
    if let Some(spec) = entry.fields_v1.as_mut().and_then(|fields| fields.0.get_mut("f:spec")?.as_object_mut()) {
        spec.remove("f:replicas");
    }
    Some(others.into_iter().chain([entry]).collect())
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}", K::kind(&()), object.name_any())
}

fn hash<K: Serialize>(wanted: &K) -> String {
    // Kubernetes objects always serialize; one that did not would be applied each time.
    serde_json::to_vec(wanted).map(|text| hex::encode(Sha256::digest(text))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(yaml: &str) -> Vec<ManagedFieldsEntry> {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn what_was_posted_counts_as_applied_but_for_the_number_of_workers() {
        let posted = "{manager: s3-migration-operator, operation: Update, fieldsType: FieldsV1, fieldsV1: {'f:spec': \
                      {'f:replicas': {}, 'f:selector': {}}}}";
        let other = "{manager: kubectl, operation: Update, fieldsV1: {'f:spec': {'f:paused': {}}}}";
        let found = claimed(&entries(&format!("[{posted}, {other}]"))).unwrap();
        let applied = "{manager: s3-migration-operator, operation: Apply, fieldsType: FieldsV1, fieldsV1: {'f:spec': \
                       {'f:selector': {}}}}";
        assert_eq!(found, entries(&format!("[{other}, {applied}]")));
        assert_eq!(claimed(&found), None, "it is done");
        assert_eq!(claimed(&entries(&format!("[{posted}, {applied}]"))), Some(entries(&format!("[{applied}]"))));
        let status = posted.replace("operation:", "subresource: status, operation:");
        assert_eq!(claimed(&entries(&format!("[{status}]"))), None);
    }
}
