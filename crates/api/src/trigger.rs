//! S3 events as a trigger.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Copying of objects as soon as S3 reports them. The source buckets send their events to the job's queue; workers look
/// at each object named and copy it as in a run. Results are counted in status.events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventTrigger {
    /// Follow the events of the source buckets. The queue is polled every 20 seconds while the job is idle. `false` by
    /// default.
    #[serde(default)]
    pub enabled: bool,

    /// Let the job configure the source buckets: each gets a notification entry for s3:ObjectCreated:*, and with
    /// `mirror.deleteEvents` for s3:ObjectRemoved:*, whose ID carries the job's UID, and a queue created for the job
    /// gets the policy that lets S3 send to it. All other entries and statements stay. Needs s3:GetBucketNotification
    /// and s3:PutBucketNotification for the workers' credentials of the source, and a queue in the source's region.
    /// `false` = somebody else sends the events to the queue, directly or through SNS or EventBridge. `true` by default.
    #[serde(default = "yes")]
    pub configure_bucket_notifications: bool,

    /// Start a run once the events arrive, so that what was written before is copied too. `true` by default.
    #[serde(default = "yes")]
    pub initial_scan: bool,

    /// Account that owns the source buckets, 12 digits, as condition aws:SourceAccount of the queue's policy. Absent =
    /// the policy names only the buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 12, max = 12))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]{12}$')").message(
        "not an account: write the 12 digits of the AWS account that owns the source buckets, in quotes",
    ))]
    pub source_account: Option<String>,
}

const fn yes() -> bool {
    true
}

impl Default for EventTrigger {
    fn default() -> Self {
        Self { enabled: false, configure_bucket_notifications: yes(), initial_scan: yes(), source_account: None }
    }
}

/// State of spec.trigger.events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EventTriggerStatus {
    /// Source buckets that have, or may have, notification entries of this job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<String>,

    /// Identifies the settings that these buckets were configured with last. Absent while they are being changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configured: Option<String>,

    /// The initial scan has been started, or is not wanted.
    pub scan_started: bool,
}
