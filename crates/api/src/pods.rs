//! Settings of a job's pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements, Toleration};
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::affinity::WrittenAffinity;
use crate::kubernetes::{bounded, texts};

/// Settings of the workers' or the jobsender's pods. Their security context is fixed: not root, a read-only root file
/// system, no capabilities, no service account token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// Image with the programs `worker` and `jobsender`, of the same version as the operator. Absent = the operator's
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("!self.contains(' ') && !self.contains('://')").message(
        "not an image: write registry/repository:tag or registry/repository@digest, without https:// and spaces",
    ))]
    pub image: Option<String>,

    /// Pull policy of the image. Absent = `Always` for the tag latest, otherwise `IfNotPresent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Resource requests and limits, as of a container. Absent = computed: a worker requests memoryLimit + 64Mi and is limited to
    /// memoryLimit + 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounded::<ResourceRequirements>")]
    pub resources: Option<ResourceRequirements>,

    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<50, 63>")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounded::<Vec<Toleration>>")]
    pub tolerations: Vec<Toleration>,

    /// Preferred or required nodes, and pods to run beside or apart from: an Affinity of Kubernetes. What is none is
    /// refused with the condition Ready and the reason SpecInvalid; nothing starts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<WrittenAffinity>,

    /// Service account of the pods, which IRSA and Pod Identity bind to an identity. Absent = `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message(
        "not the name of a service account: write the name of one in this namespace, without the namespace",
    ))]
    pub service_account_name: Option<String>,

    /// Additional environment variables, such as HTTPS_PROXY or RUST_LOG.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounded::<Vec<EnvVar>>")]
    #[x_kube(validation = Rule::new("self.all(e, !(e.name in ['POD_NAME', 'JOB_NAME']))").message(
        "env can't set POD_NAME and JOB_NAME, which the operator sets: remove them",
    ))]
    pub env: Vec<EnvVar>,

    /// Additional annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<50, 65_536>")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('s3migration.dev/'))").message(
        "annotations can't begin with s3migration.dev/, which is the operator's own: remove them",
    ))]
    pub annotations: BTreeMap<String, String>,
}

/// Pull policy of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of Kubernetes and say all")]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// Returns the name that Kubernetes uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}
