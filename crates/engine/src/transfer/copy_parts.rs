//! Copies a large object within the service part by part; no bytes pass through the worker.

use migration_core::ports::WriteCondition;

use super::Transfer;
use super::attempt::Moved;
use super::error::TransferError;
use super::source::SourceSnapshot;
use super::upload::Upload;
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// Has the service copy the object part by part.
    pub(super) async fn copy_parts(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let content = self.source.identity(snapshot).await?;
        // The first part was opened only for the attributes of the object; its bytes are not needed.
        let (upload, _) = Upload::open(self, snapshot, &content).await?;
        let upload = Upload { server_side: true, ..upload };
        upload.send_parts(upload.missing(1..=upload.layout.count()), None).await?;
        let completed = upload.complete(condition).await?;
        Ok(completed.moved(upload))
    }
}
