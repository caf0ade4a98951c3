//! Reads a written object back, if nothing else proves that the destination has the bytes sent.

use futures::StreamExt;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{GetRequest, ObjectStore, Operation, Span, Written};
use tracing::debug;

use super::DestinationObject;
use crate::Services;
use crate::transfer::error::TransferError;
use crate::transfer::source::Fetched;

/// Result of reading a written object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transfer) enum ReadBack {
    /// It has the bytes that were sent.
    Same,
    /// It has other bytes.
    Other,
    /// It was replaced, or does not exist.
    Replaced,
    /// It must not be read, or is archived.
    Unreadable,
}

impl<P: Services> DestinationObject<'_, P> {
    /// Reads a written object, and compares it with the bytes that were sent, as they arrive. Content-MD5 was sent with
    /// the bytes, but this function does not rely on the service to check it.
    ///
    /// Some services encrypt or number contents without saying so in any header, so that an ETag can look like the MD5
    /// of other bytes.
    pub(in crate::transfer) async fn read_back(
        &self,
        fetched: &Fetched,
        written: &Written,
    ) -> Result<ReadBack, TransferError> {
        let (bucket, key) = (self.bucket, self.key);
        let if_match = Some(&written.etag).filter(|etag| !etag.is_weak());
        let version_id = written.version_id.as_deref();
        let request = GetRequest { bucket, key, span: Span::Whole, if_match, version_id };
        let read = || async {
            match self.is_equal(request, &fetched.bytes).await {
                Ok(true) => Ok(ReadBack::Same),
                Ok(false) => Ok(ReadBack::Other),
                Err(error) => match error.class {
                    ErrorClass::PreconditionFailed | ErrorClass::NoSuchKey => Ok(ReadBack::Replaced),
                    ErrorClass::Refused | ErrorClass::AccessDenied | ErrorClass::Archived => Ok(ReadBack::Unreadable),
                    _ => Err(error),
                },
            }
        };
        let result = self.process.destination(self.access(Operation::GetObject), read).await?;
        debug!(key, ?result, etag = written.etag.as_str(), "read a written object back");
        Ok(result)
    }

    async fn is_equal(&self, request: GetRequest<'_>, expected: &[u8]) -> Result<bool, ServiceError> {
        let response = self.process.ports.destination.get(request).await?;
        let mut body = response.body;
        let mut rest = expected;
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            match rest.split_at_checked(chunk.len()) {
                Some((same, left)) if same == chunk => rest = left,
                _ => return Ok(false),
            }
            self.progress.touch();
        }
        Ok(rest.is_empty())
    }
}
