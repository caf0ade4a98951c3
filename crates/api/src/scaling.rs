//! Number of workers, and who sets it.

use std::collections::BTreeMap;

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Number of workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas").message(
    "scaling.minReplicas is greater than scaling.maxReplicas: lower minReplicas or raise maxReplicas",
))]
#[x_kube(validation = Rule::new("self.driver != 'Fixed' || has(self.replicas)").message(
    "scaling.driver Fixed needs the number of workers: add scaling.replicas",
))]
#[x_kube(validation = Rule::new("self.driver == 'Fixed' || !has(self.replicas)").message(
    "scaling.replicas is for the driver Fixed: write driver: Fixed, or remove replicas and write minReplicas and maxReplicas",
))]
#[x_kube(validation = Rule::new(
    "!has(self.replicas) || (self.replicas >= self.minReplicas && self.replicas <= self.maxReplicas)",
).message(
    "scaling.replicas is not between scaling.minReplicas and scaling.maxReplicas: change one of them",
))]
#[x_kube(validation = Rule::new("self.driver == 'Keda' || !has(self.keda)").message(
    "scaling.keda is for the driver Keda: write driver: Keda or remove keda",
))]
#[x_kube(validation = Rule::new("self.driver != 'Hpa' || has(self.metric)").message(
    "scaling.driver Hpa needs the metric to scale by: add scaling.metric with the name of an external metric",
))]
#[x_kube(validation = Rule::new("self.driver == 'Hpa' || !has(self.metric)").message(
    "scaling.metric is for the driver Hpa: write driver: Hpa or remove metric",
))]
#[x_kube(validation = Rule::new("!(self.driver in ['Keda', 'Hpa']) || self.scaleDownDelaySeconds <= 3600").message(
    "scaling.scaleDownDelaySeconds is over 3600, the longest stabilization of a HorizontalPodAutoscaler: write 3600 or less, \
     or use the driver Operator",
))]
pub struct Scaling {
    /// What sets the number of workers. A change applies to running workers; the old driver's objects are removed first.
    /// - `Operator`: the operator, by the number of batches, waiting and in progress.
    /// - `Keda`: a ScaledObject for KEDA, which must be installed. KEDA reads the same queue.
    /// - `Hpa`: a HorizontalPodAutoscaler on the external metric of `metric`.
    /// - `Fixed`: always `replicas`.
    #[serde(default)]
    pub driver: ScalingDriver,

    /// Number of workers with the driver Fixed, also without work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<u32>,

    /// Least number of workers, also without work. With the driver Hpa, 0 becomes 1 where the cluster does not scale to
    /// zero; the condition ScalingActive says so.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub min_replicas: u32,

    /// Greatest number of workers.
    #[serde(default = "max_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u32,

    /// Batches per worker, waiting and in progress, that scaling aims at. Without effect on the driver Fixed.
    #[serde(default = "target_batches_per_worker")]
    #[schemars(range(min = 1, max = 10000))]
    pub target_batches_per_worker: u32,

    /// Seconds for which fewer workers must suffice before their number is reduced. With the drivers Keda and Hpa at most
    /// 3600. Without effect on the driver Fixed.
    #[serde(default = "scale_down_delay_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub scale_down_delay_seconds: u32,

    /// Settings of the driver Keda. Absent = KEDA reads the queue with the Secret of `queue.credentials`, or with its own
    /// identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keda: Option<Keda>,

    /// The metric of the driver Hpa, which requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<ExternalMetric>,
}

/// What sets the number of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScalingDriver {
    /// The operator.
    #[default]
    Operator,
    /// KEDA.
    Keda,
    /// A `HorizontalPodAutoscaler`.
    Hpa,
    /// Nothing: the number is fixed.
    Fixed,
}

/// Settings of the driver Keda.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.roleArn) && has(self.authenticationRef))").message(
    "scaling.keda takes either roleArn or authenticationRef: remove one of them",
))]
pub struct Keda {
    /// Interval at which KEDA reads the queue, in seconds, while there are no workers and before the last ones go.
    #[serde(default = "polling_interval_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub polling_interval_seconds: u32,

    /// IAM role that KEDA's own identity assumes to read the queue: pod identity `aws` of KEDA. Not with
    /// `queue.credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$')").message(
        "not the ARN of an IAM role: write it as IAM shows it, such as arn:aws:iam::123456789012:role/keda",
    ))]
    pub role_arn: Option<String>,

    /// Authentication of your own. Absent = one is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
}

/// An object of KEDA with credentials for the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')").message(
        "not the name of an object: write that of a TriggerAuthentication, of lower-case letters, digits, dots and hyphens",
    ))]
    pub name: String,

    /// `TriggerAuthentication`, in the job's namespace, or `ClusterTriggerAuthentication`.
    #[serde(default)]
    pub kind: AuthenticationKind,
}

/// Kind of an object of KEDA with credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthenticationKind {
    /// In the job's namespace.
    #[default]
    TriggerAuthentication,
    /// For all namespaces.
    ClusterTriggerAuthentication,
}

impl AuthenticationKind {
    /// Returns the kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TriggerAuthentication => "TriggerAuthentication",
            Self::ClusterTriggerAuthentication => "ClusterTriggerAuthentication",
        }
    }
}

/// A metric of the external metrics API, as an adapter for Prometheus or KEDA serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalMetric {
    /// Name of the metric.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9_.:-]+$')").message(
        "not the name of a metric: write it as the external metrics API lists it, of letters, digits, '_', '.', ':' and '-'",
    ))]
    pub name: String,

    /// Labels by which the metric is selected. Absent = all series of the name, added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<MetricSelector>,

    /// Value of the metric per worker that scaling aims at. Absent = targetBatchesPerWorker, which fits the number of
    /// messages in the queue; 1 fits a metric that is the number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub average_value: Option<u32>,
}

/// Selection of the series of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricSelector {
    /// Labels, all of which a series must have.
    #[schemars(schema_with = "crate::kubernetes::texts::<20, 1_024>")]
    pub match_labels: BTreeMap<String, String>,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            driver: ScalingDriver::default(),
            replicas: None,
            min_replicas: 0,
            max_replicas: max_replicas(),
            target_batches_per_worker: target_batches_per_worker(),
            scale_down_delay_seconds: scale_down_delay_seconds(),
            keda: None,
            metric: None,
        }
    }
}

impl Default for Keda {
    fn default() -> Self {
        Self { polling_interval_seconds: polling_interval_seconds(), role_arn: None, authentication_ref: None }
    }
}

// serde takes defaults of fields from functions, and the derive of the rules supports no default of a whole struct.

const fn max_replicas() -> u32 {
    10
}

const fn target_batches_per_worker() -> u32 {
    4
}

const fn scale_down_delay_seconds() -> u32 {
    30
}

const fn polling_interval_seconds() -> u32 {
    10
}
