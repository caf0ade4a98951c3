//! What a gate knows of a request.

use migration_core::ports::Operation;

/// A request, as far as its gate has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// What is asked of a bucket. None of a queue or a table, whose errors say themselves whether they are the side's.
    pub operation: Option<Operation>,
    /// Bucket, queue or table: what a fault of the side is reported with.
    pub resource: &'a str,
    /// The object's key; none of a request about the whole resource.
    pub key: Option<&'a str>,
    /// Bytes of an object that go with the request or its answer, where they are known before.
    pub bytes: u64,
}

impl<'a> Access<'a> {
    /// A request about an object.
    pub fn object(operation: Operation, bucket: &'a str, key: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: Some(key), bytes: 0 }
    }

    /// A request about a bucket itself.
    pub fn whole(operation: Operation, bucket: &'a str) -> Self {
        Self { operation: Some(operation), resource: bucket, key: None, bytes: 0 }
    }

    /// A request to a queue or a table.
    pub fn service(resource: &'a str) -> Self {
        Self { operation: None, resource, key: None, bytes: 0 }
    }

    /// The same about the whole resource.
    #[must_use]
    pub fn without_key(self) -> Self {
        Self { key: None, bytes: 0, ..self }
    }

    /// The same with so many bytes of an object.
    #[must_use]
    pub fn carrying(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }
}
