//! As whom pods run.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// User and groups of pods. What else Pod Security `restricted` asks for is fixed: not root, no privilege escalation, a
/// read-only root file system, no capabilities, the seccomp profile RuntimeDefault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurity {
    /// `true`: user, group and fsGroup are 65532 where they are not set here. `false`: they are left to the cluster, as
    /// the security context constraints of OpenShift ask for. Absent = the operator's setting, `true` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_ids: Option<bool>,

    /// User of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub run_as_user: Option<i64>,

    /// Primary group of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub run_as_group: Option<i64>,

    /// Group of the files in volumes. The Secrets of the job are readable by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub fs_group: Option<i64>,

    /// `Always` (the default): the group of all files is set at each start. `OnRootMismatch`: only where that of the
    /// volume's directory differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_group_change_policy: Option<FsGroupChange>,

    /// Further groups of the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 0, max = 2_147_483_647)))]
    pub supplemental_groups: Vec<i64>,

    /// SELinux labels of the pods. Absent = the container runtime's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se_linux_options: Option<SeLinux>,
}

/// When the group of a volume's files is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FsGroupChange {
    /// At each start.
    Always,
    /// Where that of the volume's directory differs.
    OnRootMismatch,
}

impl FsGroupChange {
    /// Returns the name that Kubernetes uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::OnRootMismatch => "OnRootMismatch",
        }
    }
}

/// SELinux labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SeLinux {
    /// Level, such as `s0:c123,c456`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub level: Option<String>,

    /// Type: one of those that Pod Security `restricted` accepts.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(
        "self in ['container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t']",
    ).message(
        "not a type of a restricted pod: write container_t, container_init_t, container_kvm_t or container_engine_t",
    ))]
    pub kind: Option<String>,
}
