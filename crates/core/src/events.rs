//! S3 events as a trigger: the notification entries of source buckets, and the policy of the queue that receives the
//! events.

mod notifications;
mod policy;

pub use notifications::{
    EventTypes, FilterRule, NotificationConfig, NotificationEntry, NotificationTarget, WantedEntries, merge,
    overlapping, safe_prefix,
};
pub use policy::{PolicyError, QueuePolicy, Senders, arn_partition, bucket_arn, partition, region_of_arn};
