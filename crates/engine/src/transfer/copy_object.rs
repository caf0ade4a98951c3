//! Copies an object within the service by one request; no bytes pass through the worker.

use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::ports::WriteCondition;

use super::Transfer;
use super::attempt::Moved;
use super::destination::Landed;
use super::error::TransferError;
use super::source::SourceSnapshot;
use crate::Services;

impl<P: Services> Transfer<'_, P> {
    /// Has the service copy the object by one request.
    pub(super) async fn copy_object(
        &self,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
    ) -> Result<Moved, TransferError> {
        let Self { process, source, destination, .. } = self;
        let content = source.identity(snapshot).await?;
        let head = source.head_of(&content, snapshot).await?;
        let mut carried = source.attributes_of_head(&head).await?;
        let Landed { written, guarded } = loop {
            match destination.copy(source.copy_source(&content), &carried, condition).await {
                // A copy is rejected for the condition of either side: the next round reads both.
                Err(error) => self.leave_behind(&mut carried, error)?,
                Ok(landed) => break landed,
            }
        };
        let losses = carried.losses;
        process.runtime.moved(destination.name(), snapshot.size);
        let read = Fingerprint { etag: head.etag, checksum: head.checksum };
        let shown = Fingerprint { etag: None, checksum: written.checksum };
        let version_id = head.version_id;
        let delivery = Delivery {
            bytes: snapshot.size,
            version_id,
            losses,
            source: read,
            destination: shown,
            ..Delivery::default()
        };
        Ok(Moved { delivery, etag: written.etag, guarded })
    }
}
