//! Certificates to trust.

use kube_derive::KubeSchema;
use migration_core::config::MountedFrom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filters::ConfigMapKey;

/// Source of certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)").message(
    "caBundle takes exactly one of configMapKeyRef and secretKeyRef: remove one of them",
))]
pub struct CaBundle {
    /// Key of a ConfigMap in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKey>,

    /// Key of a Secret in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKey>,
}

/// Key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

impl CaBundle {
    /// Returns the volume source; `None` if neither or both are set, which the schema rejects.
    pub fn from(&self) -> Option<MountedFrom> {
        match (self.config_map_key_ref.clone(), self.secret_key_ref.clone()) {
            (Some(ConfigMapKey { name, key }), None) => Some(MountedFrom::ConfigMap { name, key }),
            (None, Some(SecretKey { name, key })) => Some(MountedFrom::Secret { name, key }),
            _ => None,
        }
    }
}
