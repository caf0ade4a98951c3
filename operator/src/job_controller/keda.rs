//! The part of KEDA's API that is used: its objects, and whether it is installed.
//!
//! Source: `apis/keda/v1alpha1` of KEDA 2.21.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::{Client, CustomResource};
use serde::{Deserialize, Serialize};

use crate::job_controller::kubernetes::RequestError;

/// Group and version of KEDA's objects.
const GROUP_VERSION: &str = "keda.sh/v1alpha1";
/// The finalizer that KEDA puts on its objects.
pub const FINALIZER: &str = "finalizer.keda.sh";
/// The annotation of a `ScaledObject` by which KEDA scales to its value and stays there.
pub const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// How long the answer whether KEDA is installed is used, in milliseconds.
const KNOWN_FOR_MS: i64 = 30_000;

/// Scales a target by triggers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    plural = "scaledobjects",
    namespaced,
    schema = "disabled",
    status = "ScaledObjectStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledObjectSpec {
    /// What is scaled.
    pub scale_target_ref: ScaleTarget,
    /// Interval between reads of the triggers, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<u32>,
    /// How long the triggers must be inactive before the target is scaled to zero, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<u32>,
    /// Least number of replicas.
    pub min_replica_count: u32,
    /// Greatest number of replicas.
    pub max_replica_count: u32,
    /// Settings of KEDA's own `HorizontalPodAutoscaler`.
    pub advanced: Advanced,
    /// What is scaled by.
    pub triggers: Vec<Trigger>,
}

/// What is scaled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleTarget {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Settings of KEDA's own `HorizontalPodAutoscaler`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Advanced {
    /// Whether the target gets back its number of replicas when the object is deleted.
    pub restore_to_original_replica_count: bool,
    /// The `HorizontalPodAutoscaler`.
    pub horizontal_pod_autoscaler_config: HpaConfig,
}

/// Name and behaviour of KEDA's own `HorizontalPodAutoscaler`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaConfig {
    /// Its name.
    pub name: String,
    /// Its behaviour.
    pub behavior: HorizontalPodAutoscalerBehavior,
}

/// A trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Trigger {
    /// Its scaler.
    #[serde(rename = "type")]
    pub scaler: String,
    /// Settings of the scaler.
    pub metadata: BTreeMap<String, String>,
    /// Its credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
}

/// An object with credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthenticationRef {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
}

/// The state of a `ScaledObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaledObjectStatus {
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// A condition of a `ScaledObject`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// KEDA's words.
    pub message: String,
}

/// Credentials for triggers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "TriggerAuthentication",
    plural = "triggerauthentications",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerAuthenticationSpec {
    /// An identity of KEDA's pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_identity: Option<PodIdentity>,
    /// Keys of Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secret_target_ref: Vec<SecretTargetRef>,
}

/// An identity of KEDA's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodIdentity {
    /// Its provider.
    pub provider: String,
    /// The role to assume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
}

/// A parameter from a key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretTargetRef {
    /// The parameter.
    pub parameter: String,
    /// Name of the Secret.
    pub name: String,
    /// Key in its data.
    pub key: String,
}

/// Whether KEDA is installed. Asked anew after a while, so that KEDA may be installed and removed at any time.
#[derive(Debug, Default)]
pub struct Discovery(Mutex<Option<(i64, bool)>>);

impl Discovery {
    /// Returns whether the API server has KEDA's objects.
    pub async fn is_installed(&self, client: &Client, now: i64) -> Result<bool, RequestError> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, is_installed)) = known
            && now - at < KNOWN_FOR_MS
        {
            return Ok(is_installed);
        }
        let is_installed = match client.list_api_group_resources(GROUP_VERSION).await {
            Ok(found) => found.resources.iter().any(|resource| resource.name == "scaledobjects"),
            // Of a group that it does not have, the API server says so in plain text, without a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => return Err(RequestError::new::<ScaledObject>("discover", "of KEDA", error)),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, is_installed));
        Ok(is_installed)
    }
}
