//! Tags of the object: services may take those of an upload and drop them, or keep them and not say so.

use migration_core::error::ErrorClass;
use migration_core::ports::{ObjectHead, ObjectStore, Operation, PutTags, Tags};
use tracing::info;

use super::DestinationObject;
use crate::Services;
use crate::transfer::error::TransferError;

impl<P: Services> DestinationObject<'_, P> {
    /// Makes sure of tags that the last look does not show. Many services tell HEAD nothing of tags: one that is seen to
    /// have kept them all the same is not asked again. Where tags may not be read there, they are given again.
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

    /// Gives the object its tags by a request of their own. False where the service does not take them so either.
    async fn give_tags(&self, tags: &Tags, version_id: Option<&str>) -> Result<bool, TransferError> {
        if tags.is_empty() {
            return Ok(false);
        }
        let (bucket, key) = (self.bucket, self.key);
        let store = &self.process.ports.destination;
        // A refusal is an answer here: it says nothing of the side, which has just taken the object.
        let put = || async {
            match store.put_tags(PutTags { bucket, key, version_id, tags }).await {
                Ok(()) => Ok(true),
                Err(error) if matches!(error.class, ErrorClass::AccessDenied | ErrorClass::Refused) => {
                    info!(key, %error, "its tags are left behind");
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        };
        Ok(self.process.destination(self.access(Operation::PutTags), put).await?)
    }
}
