//! Makes the cluster hold what was built, and only where it does not already.
//!
//! | under the child's name | what is done |
//! |---|---|
//! | nothing | it is created by POST: a name that was taken meanwhile is a conflict, not an adoption |
//! | the child | server-side apply with the child's own UID: an object that took its place answers with a conflict |
//! | what a person gave to the resource | the same, with its UID; the owner reference comes with it |
//! | anything else | nothing; the condition says so |

mod error;
mod jobs;
pub mod scale;

use std::collections::HashMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::build::Resources;
use crate::cluster::Cluster;
use crate::configs::{self, Unused};
use crate::names;
use crate::ownership::{Child, Owner, is_controlled_by};
use crate::problem::Problem;
use crate::scaling;

pub use error::{ApplyError, is_refusal, said, told};
pub use jobs::{Made, job, nudge_pods, suspend_jobs};

/// What was applied last, and what the API server made of it: where both are as they were, nothing is sent.
pub type Applied = HashMap<String, (String, String)>;

/// Applies all of it. Gives the Deployment as it is now, where it is the job's, and what could not be applied. One child
/// that can't be applied stops no other; but nothing is changed that would run by a configuration that is not ours.
pub async fn resources(
    client: &Client,
    namespace: &str,
    owner: &Owner,
    resources: Resources,
    cluster: &Cluster,
    applied: &mut Applied,
) -> Result<(Option<Deployment>, Vec<Problem>), ApplyError> {
    let Resources { config_maps, cron_job, deployment } = resources;
    let (mut problems, live) = (Vec::new(), cluster.deployment.ours());
    let api = Api::namespaced(client.clone(), namespace);
    for config_map in &config_maps {
        let there = cluster.config_maps.iter().find(|there| there.name_any() == config_map.name_any()).cloned();
        let made = one(&api, config_map, &Child::of(there, owner), owner, applied).await;
        if told(made, &mut problems)?.is_none() {
            return Ok((live.cloned(), problems));
        }
    }
    let api = Api::namespaced(client.clone(), namespace);
    told(one(&api, &cron_job, &cluster.cron_job, owner, applied).await, &mut problems)?;
    let api = Api::namespaced(client.clone(), namespace);
    let made = workers(&api, deployment, &cluster.deployment, owner, applied).await;
    let sent = told(made, &mut problems)?.flatten();
    Ok((sent.or_else(|| live.cloned()), problems))
}

/// Removes the configurations that nothing has used for a while; `wanted` names those of the job's plans.
pub async fn remove_unused(
    api: &Api<ConfigMap>,
    owner: &Owner,
    cluster: &Cluster,
    wanted: &[String],
    unused: &mut Unused,
    now: i64,
) -> Result<(), ApplyError> {
    let own: Vec<_> = cluster.config_maps.iter().filter(|map| is_controlled_by(&map.metadata, &owner.uid)).collect();
    let used = cluster.config_maps_used.iter().chain(wanted).cloned().collect();
    for map in configs::due(&own, &used, unused, now) {
        delete(api, &map.name_any(), map.uid(), DeleteParams::background()).await?;
    }
    Ok(())
}

/// Deletes the object that was looked at, by its UID, and nothing that took its place. Where it is gone, that is as good.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: Option<String>, how: DeleteParams) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let how = how.preconditions(Preconditions { uid, resource_version: None });
    match api.delete(name, &how).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(ApplyError::new::<K>("delete", name, error)),
    }
}

/// Applies the Deployment without its number of workers, which has a field manager of its own. Kubernetes sets a field
/// that loses its last manager to its default, and that is 1: so the number has its manager before the first apply.
async fn workers(
    api: &Api<Deployment>,
    mut wanted: Deployment,
    child: &Child<Deployment>,
    owner: &Owner,
    applied: &mut Applied,
) -> Result<Option<Deployment>, ApplyError> {
    if matches!(child, Child::Absent) {
        let hash = hash(&wanted);
        wanted.spec.replicas = Some(0);
        return create(api, &wanted, hash, owner, applied).await.map(Some);
    }
    if let Child::Ours(live) | Child::Adoptable(live) = child
        && !scaling::has_manager(live)
    {
        scale::scale(api, live, scaling::replicas(live)).await?;
    }
    one(api, &wanted, child, owner, applied).await
}

/// Makes one child what is wanted, where it or what is wanted changed since the last time. Gives it where it was sent.
pub async fn one<K>(
    api: &Api<K>,
    wanted: &K,
    child: &Child<K>,
    owner: &Owner,
    applied: &mut Applied,
) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
{
    let hash = hash(wanted);
    let live = match child {
        Child::Absent => return create(api, wanted, hash, owner, applied).await.map(Some),
        Child::Ours(live) | Child::Adoptable(live) => live,
        Child::Taken(taken) => return Err(ApplyError::Taken(Box::new(taken.clone()))),
    };
    let known = applied.get(&key(wanted)).is_some_and(|(before, seen)| *before == hash && *seen == version(live));
    if known && child.ours().is_some() {
        return Ok(None);
    }
    let now = patch(api, wanted, live).await?;
    applied.insert(key(wanted), (hash, version(&now)));
    Ok(Some(now))
}

/// Creates a child. Where its name was taken since the look, what is there now decides: it may be our own, of a request
/// whose answer was lost.
async fn create<K>(
    api: &Api<K>,
    wanted: &K,
    hash: String,
    owner: &Owner,
    applied: &mut Applied,
) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
{
    let name = wanted.name_any();
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let error = match api.create(&params, wanted).await {
        Ok(made) => {
            let now = claim(api, &made).await?.unwrap_or(made);
            applied.insert(key(wanted), (hash, version(&now)));
            return Ok(now);
        }
        Err(error) => error,
    };
    let exists = matches!(&error, kube::Error::Api(status) if status.is_already_exists());
    let error = ApplyError::new::<K>("create", &name, error);
    if !exists {
        return Err(error);
    }
    let there = api.get_opt(&name).await.map_err(|e| ApplyError::new::<K>("get", &name, e))?;
    match Child::of(there, owner) {
        Child::Taken(taken) => Err(ApplyError::Taken(Box::new(taken))),
        // It is applied, or created, by the next look.
        Child::Ours(_) | Child::Adoptable(_) | Child::Absent => Err(error),
    }
}

async fn patch<K>(api: &Api<K>, wanted: &K, live: &K) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    claim(api, live).await?;
    let name = wanted.name_any();
    let mut sent = wanted.clone();
    sent.meta_mut().uid = live.uid();
    let params = PatchParams::apply(names::MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(sent)).await.map_err(|e| ApplyError::new::<K>("apply", &name, e))
}

/// Turns what a POST made ours into what we applied. Else the fields would belong to the POST for ever, and what a later
/// apply leaves out would stay. Source: `UpgradeManagedFields` of client-go, `util/csaupgrade`.
async fn claim<K>(api: &Api<K>, live: &K) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + Debug,
{
    let Some(fields) = claimed(live.meta().managed_fields.as_deref().unwrap_or_default()) else { return Ok(None) };
    let name = live.name_any();
    let change = Patch::Merge(json!({"metadata": {
        "uid": live.uid(), "resourceVersion": live.resource_version(), "managedFields": fields,
    }}));
    let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&name, &params, &change).await.map(Some).map_err(|e| ApplyError::new::<K>("claim", &name, e))
}

/// The managers of an object's fields, as [`claim`] writes them; none where that is done.
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
    // Objects of Kubernetes are always JSON; were one not, it would be applied each time.
    serde_json::to_vec(wanted).map(|text| hex::encode(Sha256::digest(text))).unwrap_or_default()
}

/// What changes when the object is replaced, or somebody changes what is wanted of it: its UID with its generation, which
/// its status leaves alone; or with its version, where it has no generation.
fn version<K: Resource>(live: &K) -> String {
    let meta = live.meta();
    let version = meta.generation.map(|n| n.to_string()).or_else(|| meta.resource_version.clone());
    format!("{}/{}", meta.uid.as_deref().unwrap_or_default(), version.unwrap_or_default())
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

    #[test]
    fn a_child_that_was_replaced_is_another_version() {
        let version = |yaml: &str| {
            let found: Deployment =
                serde_yaml::from_str(&format!("metadata: {yaml}\nspec: {{selector: {{}}, template: {{}}}}")).unwrap();
            version(&found)
        };
        let first = version("{uid: a, generation: 1, resourceVersion: '7'}");
        assert_eq!(first, version("{uid: a, generation: 1, resourceVersion: '8'}"));
        assert_ne!(first, version("{uid: b, generation: 1, resourceVersion: '9'}"));
        assert_ne!(version("{uid: a, resourceVersion: '7'}"), version("{uid: a, resourceVersion: '8'}"));
    }
}
