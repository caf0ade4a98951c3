//! Checks the label that the operator's policy asks of Secrets and `ConfigMaps`.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::ObjectMeta;

use crate::job_controller::allowed::{self, Reference};
use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::problem::Problem;

/// Returns the objects that lack the label, if one is required. An object that does not exist is reported elsewhere.
pub async fn unlabelled(
    context: &Context,
    namespace: &str,
    references: impl IntoIterator<Item = Reference>,
) -> Result<Vec<Problem>, RequestError> {
    let Some(label) = context.policy.required_label() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for reference in references {
        let name = &reference.name;
        let meta = if reference.is_secret {
            kubernetes::get::<Secret>(&context.api(namespace), name).await?.map(|secret| secret.metadata)
        } else {
            kubernetes::get::<ConfigMap>(&context.api(namespace), name).await?.map(|map| map.metadata)
        };
        if meta.is_some_and(|meta| !has(&meta, label)) {
            found.push(allowed::unlabelled(&reference, label));
        }
    }
    Ok(found)
}

fn has(meta: &ObjectMeta, (name, value): (&str, &str)) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(name)).is_some_and(|found| found == value)
}
