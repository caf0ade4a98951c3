//! Verifies that a large object has the attributes it was written with, since some services accept a header and ignore
//! it.

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

/// The attributes with which this worker created an upload, and the last HEAD of its object.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<(Option<Carried>, Option<ObjectHead>)>);

impl Written {
    /// Records the attributes of a created upload.
    pub(super) fn with(&self, carried: &Carried) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(carried.clone());
    }

    /// Records a HEAD of the visible object.
    pub(super) fn shows(&self, found: &ObjectHead) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(found.clone());
    }

    fn take(&self) -> (Option<Carried>, Option<ObjectHead>) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<P: Services> Transfer<'_, P> {
    /// Compares the last HEAD with the attributes the object was written with, adds missing tags, and returns the
    /// attributes that are lost. `known` counts those that were dropped before the write. Objects written by one
    /// request are not checked.
    ///
    /// Sends no request if the service preserves what it accepts: it may show tags only to clients that may read them.
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
            // Another worker created the upload.
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
            warn!(key = self.source.key, what = lost.kinds(), "destination silently dropped attributes of object");
        }
        let why = || "the destination accepted them but does not have them; the object's bytes were copied".to_owned();
        accept_loss(config.transfer.preserve.on_loss, &lost, why)?;
        Ok(lost)
    }

    /// Returns the attributes of the content that was read, or `None` if the source now has another content.
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
