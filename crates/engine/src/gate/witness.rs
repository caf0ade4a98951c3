//! Who is asked in the place of an object that is denied or throttled.

use migration_core::error::ServiceError;
use migration_core::ports::{HeadRequest, ListRequest, ObjectStore, Operation};

/// Asks a side for something that is not the object at hand. Each is one request.
pub trait Witness: Sync {
    /// Something about the bucket itself; none where there are no buckets.
    fn bucket(&self, bucket: &str) -> impl Future<Output = Option<Result<(), ServiceError>>> + Send;

    /// Something about an object for which the operation worked before; none where that would change something.
    fn object(
        &self,
        operation: Operation,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Option<Result<(), ServiceError>>> + Send;
}

/// A store is asked for one key of the bucket, or whether an object is there.
pub struct Store<'a, S>(pub &'a S);

impl<S: ObjectStore> Witness for Store<'_, S> {
    async fn bucket(&self, bucket: &str) -> Option<Result<(), ServiceError>> {
        let request = ListRequest { bucket, prefix: "", start_after: None, continuation: None, max_keys: Some(1) };
        Some(self.0.list(request).await.map(|_| ()))
    }

    async fn object(&self, operation: Operation, bucket: &str, key: &str) -> Option<Result<(), ServiceError>> {
        // Both need the same right: `GetObject` and `HeadObject` in the S3 API reference.
        if !matches!(operation, Operation::GetObject | Operation::HeadObject) {
            return None;
        }
        Some(self.0.head(HeadRequest::new(bucket, key)).await.map(|_| ()))
    }
}

/// Of a queue or a table there is nothing else to ask.
pub struct Nobody;

impl Witness for Nobody {
    async fn bucket(&self, _: &str) -> Option<Result<(), ServiceError>> {
        None
    }

    async fn object(&self, _: Operation, _: &str, _: &str) -> Option<Result<(), ServiceError>> {
        None
    }
}
