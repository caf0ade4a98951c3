//! Reads and writes the number of workers of a Deployment.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::ApplyError;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::names;

/// Attempts to write while changes of the Deployment's status change its resource version.
const ATTEMPTS: u32 = 3;

/// Writes the number of workers through `/scale`, as the field manager of that field alone.
///
/// Sends UID and resource version of the Deployment that was read, so that one that took its place answers with a
/// conflict. If only the resource version changed, the Deployment is read again and the write repeated.
pub async fn write(api: &Api<Deployment>, live: &Deployment, replicas: u32) -> Result<(), ApplyError> {
    let (name, mut version) = (live.name_any(), live.resource_version());
    let mut attempt = 1;
    loop {
        let error = match write_once(api, live, version.as_deref(), replicas).await {
            Ok(()) => return Ok(()),
            Err(error) => RequestError::new::<Deployment>("scale", &name, error),
        };
        if !error.is_conflict() || attempt == ATTEMPTS {
            return Err(error.into());
        }
        let now = kubernetes::get(api, &name).await?;
        let Some(now) = now.filter(|now| now.uid() == live.uid()) else { return Err(error.into()) };
        (version, attempt) = (now.resource_version(), attempt + 1);
    }
}

/// Makes our field manager one of those of the number of workers, and leaves the number as it is.
///
/// Each attempt sends the number that was read with the version it was read at, so that what an autoscaler writes meanwhile
/// stays.
pub async fn claim(api: &Api<Deployment>, live: &Deployment) -> Result<(), ApplyError> {
    let (name, mut now, mut attempt) = (live.name_any(), live.clone(), 1);
    loop {
        let error = match write_once(api, &now, now.resource_version().as_deref(), wanted(&now)).await {
            Ok(()) => return Ok(()),
            Err(error) => RequestError::new::<Deployment>("scale", &name, error),
        };
        if !error.is_conflict() || attempt == ATTEMPTS {
            return Err(error.into());
        }
        match kubernetes::get(api, &name).await?.filter(|found: &Deployment| found.uid() == live.uid()) {
            Some(found) => (now, attempt) = (found, attempt + 1),
            None => return Err(error.into()),
        }
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

/// Returns the number of workers that a Deployment wants.
pub fn wanted(deployment: &Deployment) -> u32 {
    deployment.spec.replicas.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// Returns the number of workers that are ready.
pub fn ready(deployment: &Deployment) -> u32 {
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas);
    ready.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// Returns true if the number of workers has its own field manager already.
pub fn has_manager(deployment: &Deployment) -> bool {
    let entries = deployment.metadata.managed_fields.as_deref().unwrap_or_default();
    entries.iter().any(|entry| entry.manager.as_deref() == Some(names::SCALING_MANAGER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_read_from_the_managed_fields() {
        let of = |manager: &str| -> Deployment {
            serde_yaml::from_str(&format!("metadata: {{managedFields: [{{manager: {manager}}}]}}\nspec: {{replicas: 3, selector: {{}}, template: {{}}}}")).unwrap()
        };
        assert!(has_manager(&of(names::SCALING_MANAGER)) && !has_manager(&of("kubectl")));
        assert_eq!((wanted(&of("x")), ready(&of("x"))), (3, 0));
    }
}
