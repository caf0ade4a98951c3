//! Settings of a job's pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::affinity::WrittenAffinity;
use crate::kubernetes::{bounded, texts};
use crate::pod_security::PodSecurity;
use crate::services::SecretRef;
use crate::volumes::{Mount, Volume};

/// Settings of the workers' or the jobsender's pods. What Pod Security `restricted` asks for is fixed: not root, a
/// read-only root file system, no capabilities. They have no token of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))",
).message("volumeMounts names a volume that is not there: add it to volumes"))]
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

    /// Secrets in the job's namespace for pulling the image. Absent = the operator's default, from the chart's
    /// imagePullSecrets. `[]` = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub image_pull_secrets: Option<Vec<SecretRef>>,

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

    /// Spread of the pods over zones or nodes. A constraint without labelSelector counts the pods of the same program of
    /// this job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "bounded::<Vec<TopologySpreadConstraint>>")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message(
        "not the name of a priority class: write one that kubectl get priorityclasses lists",
    ))]
    pub priority_class_name: Option<String>,

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

    /// Additional labels of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<50, 63>")]
    #[x_kube(validation = Rule::new(
        "self.all(k, !k.startsWith('s3migration.dev/') && !k.startsWith('batch.kubernetes.io/') && !(k in \
         ['app.kubernetes.io/name', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'pod-template-hash', \
         'controller-uid', 'job-name']))",
    ).message(
        "labels by which the operator and Kubernetes find pods can't be set: remove those that begin with \
         s3migration.dev/ or batch.kubernetes.io/, app.kubernetes.io/name, component and managed-by, pod-template-hash, \
         controller-uid and job-name",
    ))]
    #[x_kube(validation = Rule::new(
        "self.all(k, self[k].matches('^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$'))",
    ).message("not the value of a label: write letters, digits, '-', '_' and '.', between letters or digits"))]
    pub labels: BTreeMap<String, String>,

    /// Additional annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<50, 65_536>")]
    #[x_kube(validation = Rule::new("self.all(k, !k.startsWith('s3migration.dev/'))").message(
        "annotations can't begin with s3migration.dev/, which is the operator's own: remove them",
    ))]
    pub annotations: BTreeMap<String, String>,

    /// Additional volumes: emptyDir, configMap, secret, projected and csi.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.all(v, self.exists_one(w, w.name == v.name))").message(
        "two volumes have one name: rename one of them",
    ))]
    pub volumes: Vec<Volume>,

    /// Where these volumes are found in the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.all(m, self.exists_one(n, n.mountPath == m.mountPath))").message(
        "two volumes are mounted in one directory: change one of the mountPaths",
    ))]
    pub volume_mounts: Vec<Mount>,

    /// Seconds that a worker has after SIGTERM; the parts in flight may end in all of them but the last 20, then their
    /// messages go to other workers. Absent = 120. Spot instances of AWS end after 120 s whatever is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 30, max = 3_600))]
    pub termination_grace_period_seconds: Option<u32>,

    /// User and groups of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurity>,
}

impl PodSettings {
    /// Returns the names of the Secrets for pulling the image.
    pub fn pull_secrets(&self) -> impl Iterator<Item = &str> {
        self.image_pull_secrets.iter().flatten().map(|secret| secret.name.as_str())
    }
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
