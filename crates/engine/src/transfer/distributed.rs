//! A huge object: one worker coordinates, many carry a range of its parts each.
//!
//! The coordinator holds the object's message. It opens the upload, sends the ranges as messages, waits for their
//! records in the ledger, and completes; so there is one place where an object becomes visible and its batch ends, and
//! when its worker dies, the message brings the next coordinator, who finds the upload and the records.

use std::collections::BTreeMap;
use std::time::Duration;

use migration_core::message::{self, PartRange};
use migration_core::outcome::Failure;
use migration_core::part_ranges::{Dispatch, is_due};
use migration_core::ports::WriteCondition;
use migration_core::records::{self, PartRangeOutcome, PartRangeRecord};
use migration_ledger::view;
use tracing::info;

use super::attempt::Moved;
use super::error::TransferError;
use super::source::SourceSnapshot;
use super::upload::Upload;
use super::{Transfer, TransferTask};
use crate::Services;
use crate::admission::ObjectPermit;
use crate::send_buffer::SendBuffer;

/// How often the coordinator looks at the records. One small query of the ledger, and one of the heartbeats.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl<P: Services> Transfer<'_, P> {
    /// Has the object moved by many workers.
    pub(super) async fn distributed(
        &self,
        task: TransferTask<'_>,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
        permit: &mut Option<ObjectPermit>,
    ) -> Result<Moved, TransferError> {
        let content = self.source.identity(snapshot).await?;
        let (upload, _) = Upload::open(self, snapshot, &content).await?;
        // From here on others move bytes, perhaps this worker too: for them it needs the room.
        drop(permit.take());
        upload.coordinate(task).await?;
        let completed = upload.complete(condition).await?;
        info!(key = self.source.key, bytes = snapshot.size, parts = upload.layout.count(), "completed from ranges");
        Ok(completed.moved(upload))
    }
}

impl<P: Services> Upload<'_, P> {
    /// Sends the ranges and waits until all are recorded.
    async fn coordinate(&self, task: TransferTask<'_>) -> Result<(), TransferError> {
        let Transfer { process, destination, records, progress, .. } = self.transfer;
        let upload = (&*self.id, self.layout, self.record.checksum);
        let all = PartRange::whole(task.batch, self.source.clone(), destination.key, upload);
        let mut dispatched: BTreeMap<u32, Dispatch> = BTreeMap::new();
        loop {
            // Another coordinator of the same object may have completed it, or begun anew: nobody works for this one then.
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

    /// Ends the coordination where a range could not be carried.
    ///
    /// | a range says | upload | the object |
    /// |---|---|---|
    /// | sent | stays | goes on |
    /// | source changed | aborted: a new generation follows | is looked at again |
    /// | gone | aborted | is gone |
    /// | failed for good | aborted | has failed |
    /// | failed for now | stays, the word is taken back | is tried again |
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

    /// Removes the records of ranges that may succeed at another try.
    async fn take_back(&self, over: &BTreeMap<u32, PartRangeRecord>) -> Result<(), TransferError> {
        for record in over.values().filter(|record| record.outcome != PartRangeOutcome::Sent) {
            self.transfer.records.take_back_range(&self.id, record.first).await?;
        }
        Ok(())
    }

    /// Sends the ranges that are due. One that a worker is at, as its heartbeat says, is not.
    async fn send_due(
        &self,
        all: &PartRange,
        missing: &[(u32, u32)],
        dispatched: &mut BTreeMap<u32, Dispatch>,
    ) -> Result<(), TransferError> {
        let process = self.transfer.process;
        let now = process.clock.now();
        let at_work = self.ranges_at_work(now).await?;
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

    async fn ranges_at_work(&self, now: i64) -> Result<Vec<String>, TransferError> {
        // A heartbeat that can't be read counts as none: at worst its worker's ranges are sent twice.
        let process = self.transfer.process;
        let beats = view::heartbeats(process, &process.config.job.uid, now).await?;
        Ok(beats.records.into_iter().flat_map(|beat| beat.ranges).collect())
    }
}
