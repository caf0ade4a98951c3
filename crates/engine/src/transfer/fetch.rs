//! Reads bytes of the source into memory that was reserved for them, hashing them on the way.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use md5::{Digest, Md5};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::outcome::Failure;
use migration_core::ports::{GetRequest, Ledger, ObjectHead, ObjectStore, Queue, Tags};

use super::{Halt, Transfer, halt_of};
use crate::budget::Reservation;
use crate::gate::Access;

/// Bytes of an object, what is known of it, and the memory that they take.
pub(super) struct Fetched {
    pub head: ObjectHead,
    pub bytes: Bytes,
    pub md5: Md5Digest,
    pub memory: Reservation,
}

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// Reserves `expected` bytes and reads the object, or a range of it (first byte and length), as long as it has this
    /// ETag. A body that is shorter or longer than asked for is an error that may pass.
    pub(super) async fn fetch(
        &self,
        range: Option<(u64, u64)>,
        expected: u64,
        etag: Option<&ETag>,
        version_id: Option<&str>,
    ) -> Result<Fetched, Halt> {
        let memory = self.limits.budget.reserve(expected).await.ok_or(Halt::Stopped)?;
        let bucket = &self.pair.source_bucket;
        let access = Access::object(bucket, self.key);
        let request = GetRequest { bucket, key: self.key, range, if_match: etag, version_id };
        let (head, bytes, md5) = self
            .process
            .source(access, || self.read(request, expected))
            .await
            .map_err(|error| halt_of(error, || Halt::SourceChanged))?;
        Ok(Fetched { head, bytes, md5, memory })
    }

    async fn read(
        &self,
        request: GetRequest<'_>,
        expected: u64,
    ) -> Result<(ObjectHead, Bytes, Md5Digest), ServiceError> {
        let response = self.process.ports.source.get(request).await?;
        let mut body = response.body;
        let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        let mut hasher = Md5::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            if (bytes.len() + chunk.len()) as u64 > expected {
                // Without an ETag to ask for, a whole object may have grown: the caller sees it by the size.
                return Err(unexpected(format!("more than the {expected} bytes asked for arrived")));
            }
            hasher.update(&chunk);
            bytes.extend_from_slice(&chunk);
            self.progress.touch();
        }
        if bytes.len() as u64 != expected {
            return Err(unexpected(format!("{} of {expected} bytes arrived", bytes.len())));
        }
        Ok((response.head, bytes.freeze(), hasher.finalize().into()))
    }

    /// The object's tags, asked for only where it has some.
    pub(super) async fn tags(&self, head: &ObjectHead) -> Result<Tags, Halt> {
        if head.tag_count == 0 {
            return Ok(Tags::new());
        }
        let bucket = &self.pair.source_bucket;
        let store = &self.process.ports.source;
        let version = head.version_id.as_deref();
        let tags =
            self.process.source(Access::object(bucket, self.key), || store.tags(bucket, self.key, version)).await;
        tags.map_err(|error| match Halt::from(error) {
            Halt::Service(error) if error.class == ErrorClass::AccessDenied => Halt::Failed(Failure {
                message: format!("{error}; allow s3:GetObjectTagging and s3:GetObjectVersionTagging at the source"),
                ..Failure::of(&error)
            }),
            other => other,
        })
    }
}

fn unexpected(message: String) -> ServiceError {
    ServiceError::new(ErrorClass::Transient, "read object body", "IncompleteBody", message)
}
