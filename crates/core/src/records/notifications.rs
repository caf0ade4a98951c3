//! Buckets that have, or may have, notification entries of a job.

use serde::{Deserialize, Serialize};

use super::job_partition;
use crate::config::ServiceAccess;
use crate::ports::{Condition, Item, LedgerKey, Write};

/// The buckets in which a job has put notification entries. Written before the first entry, so that all are found again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationsRecord {
    /// The buckets, in order.
    pub buckets: Vec<NotifiedBucket>,
}

/// A bucket in which a job has, or may have, notification entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifiedBucket {
    /// Endpoint of its service; `None` = Amazon S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of its service.
    pub region: String,
    /// Its name.
    pub bucket: String,
}

impl NotifiedBucket {
    /// Describes a bucket of a service.
    pub fn new(service: &ServiceAccess, bucket: &str) -> Self {
        Self { endpoint: service.endpoint.clone(), region: service.region.clone(), bucket: bucket.to_owned() }
    }

    /// Returns true if the bucket is one of a service, whoever asks for it.
    pub fn is_of(&self, service: &ServiceAccess) -> bool {
        (&self.endpoint, &self.region) == (&service.endpoint, &service.region)
    }
}

/// Key of a job's [`NotificationsRecord`].
pub fn notifications_key(job: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), "notifications")
}

/// Returns the write of the record. It never expires: entries stay until somebody removes them.
pub fn notifications_write(job: &str, record: &NotificationsRecord) -> Write {
    let key = notifications_key(job);
    if record.buckets.is_empty() {
        return Write::Delete { key, condition: Condition::Always };
    }
    Write::Put { item: Item::of(key, record), condition: Condition::Always }
}
