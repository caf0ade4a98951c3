//! Settings of buckets.

use std::future::Future;

use crate::error::ServiceError;
use crate::events::NotificationConfig;

/// Reads and changes settings of a service's buckets.
pub trait BucketAdmin: Send + Sync + 'static {
    /// Returns the notification configuration of a bucket; empty if it has none. Fails if it holds anything that
    /// [`NotificationConfig`] does not, since writing it back would lose that.
    fn notifications(&self, bucket: &str) -> impl Future<Output = Result<NotificationConfig, ServiceError>> + Send;

    /// Replaces the notification configuration of a bucket. The service may check that it may send to the targets.
    fn put_notifications(
        &self,
        bucket: &str,
        config: &NotificationConfig,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Returns true if each write to the bucket makes a version, and each deletion a delete marker.
    fn keeps_versions(&self, bucket: &str) -> impl Future<Output = Result<bool, ServiceError>> + Send;
}
