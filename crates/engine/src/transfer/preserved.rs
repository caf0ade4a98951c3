//! Whether all that a large object was written with is there: services may take a header and do nothing with it.

use std::sync::{Mutex, PoisonError};

use migration_core::etag::ETag;
use migration_core::fidelity::{Asked, Carried, missing};
use migration_core::outcome::NotPreserved;
use migration_core::ports::{ObjectHead, ObjectStore};
use tracing::warn;

use super::Transfer;
use super::error::TransferError;
use super::loss::accept_loss;
use super::source::SourceSnapshot;
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
    /// Nothing is asked for where the service keeps what it takes: it may show tags only to who may read them.
    pub(super) async fn missing(
        &self,
        snapshot: &SourceSnapshot,
        etag: Option<&ETag>,
        known: &NotPreserved,
    ) -> Result<NotPreserved, TransferError> {
        let config = &self.process.config;
        let (carried, found) = self.written.take();
        let keeps_attributes = self.process.ports.destination.capabilities().keeps_attributes;
        let Some(found) = found.filter(|_| !keeps_attributes) else {
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
        if lost.lost_tags > 0 && self.destination.has_tags(&carried.tags, &found).await? {
            lost.lost_tags = 0;
        }
        if !lost.is_none() {
            warn!(key = self.source.key, what = lost.kinds(), "the destination dropped it without a word");
        }
        let why = || "the destination took it and does not show it; the bytes are there".to_owned();
        accept_loss(config.transfer.preserve.on_loss, &lost, why)?;
        Ok(lost)
    }

    /// What travels with the content that was read; none where the source has another one now.
    async fn carried_by(
        &self,
        snapshot: &SourceSnapshot,
        etag: Option<&ETag>,
    ) -> Result<Option<Carried>, TransferError> {
        let head = self.source.look_at_version(snapshot.version_id.as_deref()).await?;
        match head.filter(|head| etag.is_some() && head.etag.as_ref() == etag) {
            Some(head) => self.source.attributes_of_head(&head).await.map(Some),
            None => Ok(None),
        }
    }
}
