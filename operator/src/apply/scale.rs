//! The number of workers, written to its Deployment.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::ApplyError;
use crate::names;

/// Tries to write the number of workers while the Deployment's status changes its version.
const TRIES: u32 = 3;

/// Writes the number of workers, as its manager, to the Deployment that was looked at: with its UID and version, so that
/// one that took its place answers with a conflict. Where only the version is another one, it is looked at again.
pub async fn scale(api: &Api<Deployment>, live: &Deployment, replicas: u32) -> Result<(), ApplyError> {
    let (name, mut version) = (live.name_any(), live.resource_version());
    let mut tries = 1;
    loop {
        let error = match write_once(api, live, version.as_deref(), replicas).await {
            Ok(()) => return Ok(()),
            Err(error) => ApplyError::new::<Deployment>("scale", &name, error),
        };
        if !error.is_conflict() || tries == TRIES {
            return Err(error);
        }
        let now = api.get_opt(&name).await.map_err(|e| ApplyError::new::<Deployment>("get", &name, e))?;
        let Some(now) = now.filter(|now| now.uid() == live.uid()) else { return Err(error) };
        (version, tries) = (now.resource_version(), tries + 1);
    }
}

async fn write_once(
    api: &Api<Deployment>,
    live: &Deployment,
    version: Option<&str>,
    replicas: u32,
) -> Result<(), kube::Error> {
    let metadata = json!({"name": live.name_any(), "uid": live.uid(), "resourceVersion": version});
    let scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas},
    });
    let params = PatchParams::apply(names::SCALING_MANAGER).force();
    api.patch_scale(&live.name_any(), &params, &Patch::Apply(scale)).await.map(|_| ())
}
