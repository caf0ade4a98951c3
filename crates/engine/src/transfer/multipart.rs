//! An object that is moved in parts, resumed from what the destination has.

use migration_core::etag::ETag;
use migration_core::object::SourceIdentity;
use migration_core::ports::WriteCondition;
use tracing::info;

use super::attempt::Moved;
use super::{SourceSnapshot, Transfer, TransferError};
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// Moves the object.
    pub(super) async fn large(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let source = self.identity(snapshot).await?;
        let (upload, first) = self.open(snapshot, &source).await?;
        self.send_parts(&upload, &source, upload.missing(1..=upload.layout.count()), first).await?;
        let completed = self.complete(&upload, &source, condition).await?;
        let (parts, there) = (upload.layout.count(), upload.there.len());
        info!(key = self.key, bytes = snapshot.size, parts, there, "completed");
        Ok(completed.moved(source, &upload))
    }

    /// The content that is wanted, by name. Without an ETag parts of two contents could be mixed: then the source is
    /// asked for it.
    pub(super) async fn identity(&self, snapshot: &SourceSnapshot) -> Result<SourceIdentity, TransferError> {
        let etag = if let Some(etag) = &snapshot.etag {
            etag.clone()
        } else {
            let head = self.look_at_source(false).await?.ok_or(TransferError::Gone)?;
            head.etag.filter(|_| head.size == snapshot.size).ok_or(TransferError::SourceChanged)?
        };
        Ok(self.content(etag, snapshot.version_id.clone()))
    }

    /// A content of the object, by name.
    pub(super) fn content(&self, etag: ETag, version_id: Option<String>) -> SourceIdentity {
        SourceIdentity { bucket: self.pair.source_bucket.clone(), key: self.key.to_owned(), etag, version_id }
    }
}
