//! The queue.

use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::KeyCredentials;
use super::rules::{SAME_SERVICE_AS_BEFORE, endpoint, region};

/// The SQS queue that carries batches of work from the jobsender to the workers. It may be in any account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.url) && has(self.create))").message(
    "queue takes either create (a queue of the job's own) or url (one that exists): remove one of them",
))]
#[x_kube(validation = Rule::new(
    "has(self.url) == has(oldSelf.url) && (!has(self.url) || self.url == oldSelf.url)",
).message("queue.url can't change, since messages would be lost: create a new MigrationJob instead"))]
#[x_kube(validation = Rule::new(SAME_SERVICE_AS_BEFORE).message(
    "queue.region and queue.endpoint can't change, since messages would be lost: create a new MigrationJob instead",
))]
pub struct Queue {
    /// Region of the queue. Immutable.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = region())]
    pub region: String,

    /// URL of the SQS service if it is not AWS. Absent = the AWS endpoint of the region. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    #[x_kube(validation = endpoint())]
    pub endpoint: Option<String>,

    /// Credentials of operator, jobsender and workers for the queue. Absent = the identity of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<KeyCredentials>,

    /// Create a queue and a dead letter queue for this job, with these settings. The default if `url` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<QueueCreate>,

    /// URL of an existing queue, which no other job may use: of two jobs with the same queue, the younger one waits.
    /// Its redrive policy must name a dead letter queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/ ]+/[^ ]+$')").message(
        "not the URL of a queue: write it as SQS shows it, such as https://sqs.eu-central-1.amazonaws.com/123456789012/photos",
    ))]
    pub url: Option<String>,
}

/// Settings of a queue created for the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueCreate {
    /// Visibility timeout of received messages, in seconds. Workers extend it while they work.
    #[schemars(range(min = 30, max = 43200))]
    pub visibility_timeout_seconds: u32,

    /// Retention of messages, in days.
    #[schemars(range(min = 1, max = 14))]
    pub retention_days: u32,

    /// Deliveries after which a message goes to the dead letter queue.
    #[schemars(range(min = 3, max = 1000))]
    pub max_receives: u32,
}

impl Default for QueueCreate {
    fn default() -> Self {
        Self { visibility_timeout_seconds: 900, retention_days: 14, max_receives: 60 }
    }
}
