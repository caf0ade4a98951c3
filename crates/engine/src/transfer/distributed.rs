//! Copies a distributed object: one worker coordinates, and many workers each copy a range of its parts.
//!
//! The coordinator holds the object's message. It creates the upload, sends the ranges as messages, waits for their
//! records in the ledger, and completes the upload. Objects thus become visible and batches end in one place only. If
//! the coordinator dies, the message is delivered to another worker, which finds the upload and the records.

use std::collections::BTreeMap;
use std::time::Duration;

use migration_core::message::{self, PartRange};
use migration_core::outcome::Failure;
use migration_core::part_ranges::{Dispatch, is_due};
use migration_core::ports::WriteCondition;
use migration_core::records::{self, PartRangeOutcome, PartRangeRecord};
use tracing::debug;

use super::attempt::Moved;
use super::error::TransferError;
use super::source::SourceSnapshot;
use super::upload::Upload;
use super::{Transfer, TransferTask};
use crate::Services;
use crate::admission::ObjectPermit;
use crate::send_buffer::SendBuffer;

/// Interval between the coordinator's checks, each of which sends one small ledger query for the records. One for the
/// heartbeats serves all coordinators of the process.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl<P: Services> Transfer<'_, P> {
    /// Copies the object with many workers.
    pub(super) async fn distributed(
        &self,
        task: TransferTask<'_>,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
        permit: &mut Option<ObjectPermit>,
    ) -> Result<Moved, TransferError> {
        let content = self.source.identity(snapshot).await?;
        let (upload, _) = Upload::open(self, snapshot, &content).await?;
        // From here on other workers copy the parts. This worker may be one of them and then needs the permit.
        drop(permit.take());
        upload.coordinate(task).await?;
        let completed = upload.complete(condition).await?;
        debug!(key = self.source.key, bytes = snapshot.size, parts = upload.layout.count(), "completed from ranges");
        Ok(completed.moved(upload))
    }
}

impl<P: Services> Upload<'_, P> {
    /// Sends the ranges of parts and waits until all are recorded.
    async fn coordinate(&self, task: TransferTask<'_>) -> Result<(), TransferError> {
        let Transfer { process, destination, records, progress, .. } = self.transfer;
        let upload = (&*self.id, self.layout, self.record.checksum);
        let all = PartRange::whole(task.batch, self.source.clone(), destination.key, upload);
        let mut dispatched: BTreeMap<u32, Dispatch> = BTreeMap::new();
        loop {
            // Another coordinator of the same object may have completed or replaced the upload. No worker copies parts
            // for this one then.
            let recorded = records.read().await?.and_then(|record| record.upload_id);
            if recorded.as_deref() != Some(&self.id) {
                return Err(TransferError::UploadGone);
            }
            let over = records.ranges(&self.id).await?;
            let sent = over.values().filter(|record| record.outcome == PartRangeOutcome::Sent);
            self.transfer.has_in_place(sent.map(|record| (record.last - record.first + 1) as usize).sum());
            self.judge(&over).await?;
            let missing: Vec<(u32, u32)> =
                message::ranges(&self.layout).filter(|(first, _)| !over.contains_key(first)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            self.send_due(&all, &missing, &mut dispatched).await?;
            progress.touch();
            process.pause(LOOK_EVERY).await?;
        }
    }

    /// Ends the coordination if a range was not copied.
    ///
    /// | outcome of a range | upload | object |
    /// |---|---|---|
    /// | sent | kept | continues |
    /// | source changed | aborted, and replaced by one of the new content | is read again |
    /// | gone | aborted | is gone |
    /// | failed permanently | aborted | fails |
    /// | failed, may be retried | kept; the record of the range is deleted | is retried |
    async fn judge(&self, over: &BTreeMap<u32, PartRangeRecord>) -> Result<(), TransferError> {
        let failed = over.values().find(|record| record.outcome != PartRangeOutcome::Sent);
        let Some(failed) = failed else { return Ok(()) };
        let error = match &failed.outcome {
            PartRangeOutcome::Sent => return Ok(()),
            PartRangeOutcome::SourceChanged => TransferError::SourceChanged,
            PartRangeOutcome::Gone => TransferError::Gone,
            PartRangeOutcome::Failed { class, message, retry: false } => {
                TransferError::Failed(Failure::new(*class, message.clone()))
            }
            PartRangeOutcome::Failed { class, message, retry: true } => {
                self.take_back(over).await?;
                return Err(TransferError::Retry(Failure::new(*class, message.clone())));
            }
        };
        self.transfer.destination.abort(&self.id).await?;
        self.transfer.records.forget(self.record.revision).await?;
        Err(error)
    }

    /// Deletes the records of ranges that failed and may be retried.
    async fn take_back(&self, over: &BTreeMap<u32, PartRangeRecord>) -> Result<(), TransferError> {
        for record in over.values().filter(|record| record.outcome != PartRangeOutcome::Sent) {
            self.transfer.records.take_back_range(&self.id, record.first).await?;
        }
        Ok(())
    }

    /// Sends the ranges that are due. A range that a worker is copying, according to its heartbeat, is not due.
    async fn send_due(
        &self,
        all: &PartRange,
        missing: &[(u32, u32)],
        dispatched: &mut BTreeMap<u32, Dispatch>,
    ) -> Result<(), TransferError> {
        let process = self.transfer.process;
        let now = process.runtime.clock.now();
        let at_work = process.ranges_at_work.read(process, LOOK_EVERY).await?;
        let mut send_buffer = SendBuffer::default();
        for &(first, last) in missing {
            let dispatch = dispatched.entry(first).or_default();
            let name = records::part_range_name(&self.id, first);
            let is_at_work = at_work.contains(&name);
            if is_at_work {
                dispatch.at = now;
            } else if is_due(*dispatch, is_at_work, now) {
                *dispatch = Dispatch { sent: dispatch.sent + 1, at: now };
                send_buffer.push(process, all.between(first, last).body()).await?;
            }
        }
        Ok(send_buffer.flush(process).await?)
    }
}
