//! Reads and writes the number of workers of a Deployment.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::ApplyError;
use crate::job_controller::optimistic;
use crate::names;

/// Writes the number of workers through `/scale`, as the field manager of that field alone, unless somebody else
/// changed it since it was read.
pub async fn write(api: &Api<Deployment>, live: &Deployment, replicas: u32) -> Result<(), ApplyError> {
    let is_same = |one: &Deployment, other: &Deployment| wanted(one) == wanted(other);
    let send = |now: Deployment| async move { write_once(api, &now, replicas).await };
    Ok(optimistic::write(api, live, "scale", is_same, send).await?)
}

/// Makes our field manager one of those of the number of workers, and leaves the number as it is.
///
/// Each attempt sends the number that was read with the version it was read at, so that what an autoscaler writes meanwhile
/// stays.
pub async fn claim(api: &Api<Deployment>, live: &Deployment) -> Result<(), ApplyError> {
    let send = |now: Deployment| async move { write_once(api, &now, wanted(&now)).await };
    Ok(optimistic::write(api, live, "scale", |_, _| true, send).await?)
}

async fn write_once(api: &Api<Deployment>, live: &Deployment, replicas: u32) -> Result<(), kube::Error> {
    let metadata = json!({"name": live.name_any(), "uid": live.uid(), "resourceVersion": live.resource_version()});
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
