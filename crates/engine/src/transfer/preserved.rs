//! Whether all that a large object was written with is there: services may take a header and do nothing with it.

use std::sync::{Mutex, PoisonError};

use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::fidelity::{Asked, Carried, missing};
use migration_core::operation::RequestInfo;
use migration_core::outcome::NotPreserved;
use migration_core::ports::{HeadRequest, Ledger, ObjectHead, ObjectStore, Operation, PutTags, Tags};
use tracing::{info, warn};

use super::{SourceSnapshot, Transfer, TransferError};
use crate::Services;

/// What an upload was begun with here, and what the last look at its object shows.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<(Option<Carried>, Option<ObjectHead>)>);

impl Written {
    /// An upload was begun with this.
    pub(super) fn with(&self, carried: &Carried) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(carried.clone());
    }

    /// The object is visible and looks like this.
    pub(super) fn shows(&self, found: &ObjectHead) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(found.clone());
    }

    fn take(&self) -> (Option<Carried>, Option<ObjectHead>) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P: Services> Transfer<'_, P> {
    /// Holds what the last look shows against what the object was written with, gives it the tags that are missing, and
    /// says what is missing for good. `known` is what was left behind before it was written. Objects that were written in
    /// one request are not looked at.
    ///
    /// AWS itself keeps what it takes, and shows tags only to who may read them: there nothing is asked for.
    pub(super) async fn missing(
        &self,
        snapshot: &SourceSnapshot,
        etag: Option<&ETag>,
        known: &NotPreserved,
    ) -> Result<NotPreserved, TransferError> {
        let config = &self.process.config;
        let (carried, found) = self.written.take();
        let Some(found) = found.filter(|_| config.destination.service.endpoint.is_some()) else {
            return Ok(NotPreserved::default());
        };
        let carried = match carried {
            Some(carried) => Some(carried),
            // Somebody else began the upload.
            None => self.carried_by(snapshot, etag).await?,
        };
        let Some(carried) = carried else { return Ok(NotPreserved::default()) };
        let tags = u32::try_from(carried.tags.len()).unwrap_or(u32::MAX);
        let mut lost = missing(&Asked { attributes: carried.attributes, tags }, &config.write, &found);
        lost.forget(known);
        if lost.lost_tags > 0 && self.has_tags(&carried.tags, &found).await? {
            lost.lost_tags = 0;
        }
        if !lost.is_none() {
            warn!(key = self.key, what = lost.kinds(), "the destination dropped it without a word");
        }
        self.accept_loss(&lost, || "the destination took it and does not show it; the bytes are there".to_owned())?;
        Ok(lost)
    }

    /// What travels with the content that was read; none where the source has another one now.
    async fn carried_by(
        &self,
        snapshot: &SourceSnapshot,
        etag: Option<&ETag>,
    ) -> Result<Option<Carried>, TransferError> {
        let bucket = &self.pair.source_bucket;
        let pinned = self.process.config.versioning.get_object_with_version_id;
        let version_id = snapshot.version_id.as_deref().filter(|_| pinned);
        let request = HeadRequest { version_id, ..HeadRequest::new(bucket, self.key) };
        let head = self.process.look_at_source(request).await?;
        match head.filter(|head| etag.is_some() && head.etag.as_ref() == etag) {
            Some(head) => self.attributes_of_head(&head).await.map(Some),
            None => Ok(None),
        }
    }

    /// Makes sure of tags that the last look does not show. Many services tell HEAD nothing of tags: one that is seen to
    /// have kept them all the same is not asked again. Where tags may not be read there, they are given again.
    async fn has_tags(&self, tags: &Tags, found: &ObjectHead) -> Result<bool, TransferError> {
        let (bucket, key) = (self.pair.destination_bucket.as_str(), self.destination_key.as_str());
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
        let there = self.process.destination(RequestInfo::object(Operation::GetTags, bucket, key), read).await?;
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
        let (bucket, key) = (self.pair.destination_bucket.as_str(), self.destination_key.as_str());
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
        Ok(self.process.destination(RequestInfo::object(Operation::PutTags, bucket, key), put).await?)
    }
}
