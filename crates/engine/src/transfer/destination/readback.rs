//! Reads a written object back if the service's response suggests that its bytes differ.

use futures::StreamExt;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{GetRequest, ObjectStore, Operation, Span, Written};
use tracing::info;

use super::DestinationObject;
use crate::Services;
use crate::transfer::error::TransferError;
use crate::transfer::source::Fetched;

impl<P: Services> DestinationObject<'_, P> {
    /// Returns true if the destination has the bytes that were sent, although its ETag looks like the MD5 of other
    /// bytes. Some services encrypt or number contents without saying so in any header. Content-MD5 was sent with the
    /// bytes, but this function does not rely on the service to check it. The response is compared with the bytes in
    /// memory as it arrives, and is not held.
    pub(in crate::transfer) async fn stands_as_sent(
        &self,
        fetched: &Fetched,
        written: &Written,
    ) -> Result<bool, TransferError> {
        let (bucket, key) = (self.bucket, self.key);
        let if_match = Some(&written.etag).filter(|etag| !etag.is_weak());
        let version_id = written.version_id.as_deref();
        let request = GetRequest { bucket, key, span: Span::Whole, if_match, version_id };
        let read = || async {
            match self.is_equal(request, &fetched.bytes).await {
                // The object cannot be read, or was replaced: nothing proves the write.
                Err(error) if matches!(error.class, ErrorClass::Refused | ErrorClass::AccessDenied) => Ok(false),
                Err(error) if matches!(error.class, ErrorClass::PreconditionFailed | ErrorClass::NoSuchKey) => {
                    Ok(false)
                }
                other => other,
            }
        };
        let same = self.process.destination(self.access(Operation::GetObject), read).await?;
        info!(
            key,
            same,
            etag = written.etag.as_str(),
            "read object back, because its ETag is not the MD5 of the bytes sent"
        );
        Ok(same)
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
