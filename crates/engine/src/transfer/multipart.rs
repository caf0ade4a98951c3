//! Copies an object in parts, and resumes from the parts at the destination.

use migration_core::ports::WriteCondition;
use tracing::debug;

use super::Transfer;
use super::attempt::Moved;
use super::error::TransferError;
use super::source::SourceSnapshot;
use super::upload::Upload;
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// Copies the object.
    pub(super) async fn multipart(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let content = self.source.identity(snapshot).await?;
        let (upload, first) = Upload::open(self, snapshot, &content).await?;
        upload.send_parts(upload.missing(1..=upload.layout.count()), first).await?;
        let completed = upload.complete(condition).await?;
        let (parts, there) = (upload.layout.count(), upload.there.len());
        debug!(key = self.source.key, bytes = snapshot.size, parts, there, "completed");
        Ok(completed.moved(upload))
    }
}
