//! Optimistic concurrency: a write carries UID and resource version of the object that it was decided by.
//!
//! The API server refuses it if the object is another one, or has changed. Changes that decide nothing, such as those
//! of the status, are frequent: then the object is read again and the write repeated, a few times. What another
//! operator decided meanwhile stays.

use std::fmt::Debug;

use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::job_controller::kubernetes::{self, RequestError};

/// Attempts while changes that decide nothing change the resource version.
const ATTEMPTS: u32 = 3;

/// Why a write did not happen.
pub struct NotWritten {
    /// The answer of the API server.
    pub error: RequestError,
    /// There is no object of this name any more.
    pub is_gone: bool,
}

impl NotWritten {
    fn found(error: RequestError) -> Self {
        Self { is_gone: error.is_missing(), error }
    }
}

/// Sends a write, which is given the object as it was read last, until the API server takes it.
///
/// `is_same` tells whether the write would be decided by the second object as by the first. If not, or if the object is
/// gone or another one, the conflict is returned: the next reconciliation decides.
pub async fn write<K, T, S>(
    api: &Api<K>,
    live: &K,
    verb: &'static str,
    is_same: impl Fn(&K, &K) -> bool,
    send: impl Fn(K) -> S,
) -> Result<T, RequestError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: Future<Output = Result<T, kube::Error>>,
{
    write_unless_gone(api, live, verb, is_same, send).await.map_err(|refused| refused.error)
}

/// Does the same, and tells whether the object is gone.
pub async fn write_unless_gone<K, T, S>(
    api: &Api<K>,
    live: &K,
    verb: &'static str,
    is_same: impl Fn(&K, &K) -> bool,
    send: impl Fn(K) -> S,
) -> Result<T, NotWritten>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: Future<Output = Result<T, kube::Error>>,
{
    let (name, mut now, mut attempt) = (live.name_any(), live.clone(), 1);
    loop {
        let error = match send(now).await {
            Ok(written) => return Ok(written),
            Err(error) => RequestError::new::<K>(verb, &name, error),
        };
        if !error.is_conflict() || attempt == ATTEMPTS {
            return Err(NotWritten::found(error));
        }
        match kubernetes::get(api, &name).await.map_err(NotWritten::found)? {
            Some(found) if found.uid() == live.uid() && is_same(live, &found) => (now, attempt) = (found, attempt + 1),
            Some(_) => return Err(NotWritten::found(error)),
            None => return Err(NotWritten { error, is_gone: true }),
        }
    }
}

/// Returns a text that changes when the object is replaced or its specification changes: the UID with the generation,
/// which changes of the status leave alone, or with the resource version if the kind has no generation.
pub fn version<K: Resource>(live: &K) -> String {
    let meta = live.meta();
    let version = meta.generation.map(|n| n.to_string()).or_else(|| meta.resource_version.clone());
    format!("{}/{}", meta.uid.as_deref().unwrap_or_default(), version.unwrap_or_default())
}

/// Returns true if the specification of an object is the same.
pub fn is_same_specification<K: Resource>(one: &K, other: &K) -> bool {
    version(one) == version(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;

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
