//! S3 events that start transfers.

use serde::{Deserialize, Serialize};

use super::JobConfig;
use crate::events::EventTypes;

/// How a job follows the events of its source buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventSettings {
    /// ARN of the job's queue, to which the buckets are to send their events. `None` if somebody else configures them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_arn: Option<String>,
    /// The event types.
    #[serde(default)]
    pub types: EventTypes,
    /// The most objects that are deleted at the destination in a day (UTC) because they were at the source. `None` =
    /// removals are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deletes: Option<u64>,
}

impl JobConfig {
    /// Returns true if the job needs buckets that keep versions: it deletes objects that events are, or may be, about.
    pub fn needs_versions(&self) -> bool {
        self.events.is_some() && (self.mirror.is_some() || self.max_deletes_of_events().is_some())
    }

    /// Returns the most objects that events may delete in a day, or `None` if removals are not followed.
    pub fn max_deletes_of_events(&self) -> Option<u64> {
        self.events.as_ref()?.max_deletes
    }

    /// Returns the source prefixes of a bucket.
    pub fn source_prefixes(&self, bucket: &str) -> Vec<&str> {
        let pairs = self.buckets.iter().filter(|pair| pair.source_bucket == bucket);
        pairs.map(|pair| pair.source_prefix.as_str()).collect()
    }
}
