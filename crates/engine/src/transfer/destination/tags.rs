//! Ensures that the object has its tags: services may drop the tags of an upload, or keep them without reporting them.

use migration_core::error::ErrorClass;
use migration_core::ports::{ObjectHead, ObjectStore, Operation, PutTags, Tags};
use tracing::debug;

use super::DestinationObject;
use crate::Services;
use crate::transfer::error::TransferError;

impl<P: Services> DestinationObject<'_, P> {
    /// Ensures that the object has tags that the last HEAD does not show, and returns true if it does. Many services do
    /// not report tags in HEAD; once a bucket is seen to keep them nevertheless, its objects are not checked again. If
    /// the tags may not be read, they are written again.
    pub(in crate::transfer) async fn has_tags(&self, tags: &Tags, found: &ObjectHead) -> Result<bool, TransferError> {
        let (bucket, key) = (self.bucket, self.key);
        let version_id = found.version_id.as_deref();
        if found.tag_count > 0 || tags.is_empty() {
            return self.give_tags(tags, version_id).await;
        }
        if self.limits.quiet_of_tags().contains(bucket) {
            return Ok(true);
        }
        let store = &self.process.ports.destination;
        let read = || async {
            match store.tags(bucket, key, version_id).await {
                Ok(there) => Ok(there.len()),
                Err(error) if matches!(error.class, ErrorClass::AccessDenied | ErrorClass::Refused) => Ok(0),
                Err(error) => Err(error),
            }
        };
        let there = self.process.destination(self.access(Operation::GetTags), read).await?;
        if there < tags.len() {
            return self.give_tags(tags, version_id).await;
        }
        self.limits.quiet_of_tags().insert(bucket.to_owned());
        Ok(true)
    }

    /// Writes the tags by a request of their own. Returns false if the service rejects this too.
    async fn give_tags(&self, tags: &Tags, version_id: Option<&str>) -> Result<bool, TransferError> {
        if tags.is_empty() {
            return Ok(false);
        }
        let (bucket, key) = (self.bucket, self.key);
        let store = &self.process.ports.destination;
        // A rejection is not reported as a failure of the side, which has just accepted the object.
        let put = || async {
            match store.put_tags(PutTags { bucket, key, version_id, tags }).await {
                Ok(()) => Ok(true),
                Err(error) if matches!(error.class, ErrorClass::AccessDenied | ErrorClass::Refused) => {
                    debug!(key, %error, "failed to write tags of object");
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        };
        Ok(self.process.destination(self.access(Operation::PutTags), put).await?)
    }
}
