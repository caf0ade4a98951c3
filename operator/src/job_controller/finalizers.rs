//! Adds and removes finalizers.
//!
//! kube's own helper tests the list of finalizers alone. A late request of an earlier leader could then take the
//! finalizer of a resource that was created again under the name.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::job_controller::kubernetes::RequestError;
use crate::job_controller::optimistic;

/// Adds a finalizer to an object that is not being deleted.
pub async fn add<K>(api: &Api<K>, live: &K, finalizer: &str) -> Result<(), RequestError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    write(api, live, "add finalizer to", |mut list| {
        list.push(finalizer.to_owned());
        list
    })
    .await
}

/// Removes a finalizer and leaves those of others.
pub async fn remove<K>(api: &Api<K>, live: &K, finalizer: &str) -> Result<(), RequestError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    write(api, live, "remove finalizer of", |mut list| {
        list.retain(|name| name != finalizer);
        list
    })
    .await
}

async fn write<K>(
    api: &Api<K>,
    live: &K,
    verb: &'static str,
    change: impl Fn(Vec<String>) -> Vec<String>,
) -> Result<(), RequestError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let is_same = |one: &K, other: &K| {
        let of = |object: &K| (object.finalizers().to_vec(), object.meta().deletion_timestamp.is_some());
        of(one) == of(other)
    };
    let send = |now: K| {
        let list = change(now.finalizers().to_vec());
        let metadata = json!({"uid": now.uid(), "resourceVersion": now.resource_version(), "finalizers": list});
        let change = Patch::Merge(json!({"metadata": metadata}));
        async move { api.patch_metadata(&now.name_any(), &PatchParams::default(), &change).await.map(drop) }
    };
    optimistic::write(api, live, verb, is_same, send).await
}
