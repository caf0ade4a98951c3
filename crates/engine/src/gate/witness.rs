//! Check requests sent after an object was denied or throttled.

use migration_core::error::ServiceError;
use migration_core::ports::{HeadRequest, ListRequest, ObjectStore, Operation};

/// Sends a request that does not concern the object at hand.
pub trait Witness: Sync {
    /// Checks the bucket itself. Returns `None` if there are no buckets.
    fn bucket(&self, bucket: &str) -> impl Future<Output = Option<Result<(), ServiceError>>> + Send;

    /// Checks an object for which the operation worked before. Returns `None` if the request would change something.
    fn object(
        &self,
        operation: Operation,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Option<Result<(), ServiceError>>> + Send;
}

/// Checks a store, by listing one key of the bucket or by a HEAD of an object.
pub struct Store<'a, S>(pub &'a S);

impl<S: ObjectStore> Witness for Store<'_, S> {
    async fn bucket(&self, bucket: &str) -> Option<Result<(), ServiceError>> {
        let request = ListRequest { bucket, prefix: "", start_after: None, continuation: None, max_keys: Some(1) };
        Some(self.0.list(request).await.map(|_| ()))
    }

    async fn object(&self, operation: Operation, bucket: &str, key: &str) -> Option<Result<(), ServiceError>> {
        // Both need the same permission: `GetObject` and `HeadObject` in the S3 API reference.
        if !matches!(operation, Operation::GetObject | Operation::HeadObject) {
            return None;
        }
        Some(self.0.head(HeadRequest::new(bucket, key)).await.map(|_| ()))
    }
}

/// No check is possible, as for a queue or a table.
pub struct Nobody;

impl Witness for Nobody {
    async fn bucket(&self, _: &str) -> Option<Result<(), ServiceError>> {
        None
    }

    async fn object(&self, _: Operation, _: &str, _: &str) -> Option<Result<(), ServiceError>> {
        None
    }
}
