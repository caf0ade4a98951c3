//! A huge object: one worker coordinates, many carry a range of its parts each.
//!
//! The coordinator holds the object's message. It opens the upload, sends the ranges as messages, waits for their
//! records in the ledger, and completes; so there is one place where an object becomes visible and its batch ends, and
//! when its worker dies, the message brings the next coordinator, who finds the upload and the records.

use std::collections::BTreeMap;
use std::time::Duration;

use migration_core::message::{self, PartRangeTemplate};
use migration_core::object::SourceIdentity;
use migration_core::outcome::Failure;
use migration_core::part_ranges::{Dispatch, is_due};
use migration_core::ports::{Condition, Ledger, Write, WriteCondition};
use migration_core::records::{self, PartRangeOutcome, PartRangeRecord};
use migration_core::view::{self, ViewError};
use tracing::info;

use super::attempt::Moved;
use super::upload::Upload;
use super::{SourceSnapshot, Transfer, TransferError, TransferTask};
use crate::Services;
use crate::admission::ObjectPermit;
use crate::send_buffer::SendBuffer;
use crate::uploads::abort;

/// How often the coordinator looks at the records. One small query of the ledger, and one of the heartbeats.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl<P: Services> Transfer<'_, P> {
    /// Has the object moved by many workers.
    pub(super) async fn huge(
        &self,
        task: TransferTask<'_>,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
        permit: &mut Option<ObjectPermit>,
    ) -> Result<Moved, TransferError> {
        let source = self.identity(snapshot).await?;
        let (upload, _) = self.open(snapshot, &source).await?;
        // From here on others move bytes, perhaps this worker too: for them it needs the room.
        drop(permit.take());
        self.coordinate(task, &upload, &source).await?;
        let completed = self.complete(&upload, &source, condition).await?;
        info!(key = self.key, bytes = snapshot.size, parts = upload.layout.count(), "completed from ranges");
        Ok(completed.moved(source, &upload))
    }

    /// Sends the ranges and waits until all are recorded.
    async fn coordinate(
        &self,
        task: TransferTask<'_>,
        upload: &Upload,
        source: &SourceIdentity,
    ) -> Result<(), TransferError> {
        let template = PartRangeTemplate {
            job: task.batch.job.clone(),
            run: task.batch.run.clone(),
            batch: task.batch.id.clone(),
            pair: self.pair.clone(),
            source: source.clone(),
            destination_key: self.destination_key.clone(),
            upload_id: upload.id.clone(),
            layout: upload.layout,
            checksum: upload.record.checksum,
        };
        let mut dispatched: BTreeMap<u32, Dispatch> = BTreeMap::new();
        loop {
            // Another coordinator of the same object may have completed it, or begun anew: nobody works for this one then.
            let recorded = self.upload_record().await?.and_then(|record| record.upload_id);
            if recorded.as_deref() != Some(&upload.id) {
                return Err(TransferError::UploadGone);
            }
            let records = self.range_records(upload).await?;
            let sent = records.values().filter(|record| record.outcome == PartRangeOutcome::Sent);
            self.has_in_place(sent.map(|record| (record.last - record.first + 1) as usize).sum());
            self.judge(upload, &records).await?;
            let missing: Vec<(u32, u32)> =
                message::ranges(&upload.layout).filter(|(first, _)| !records.contains_key(first)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            self.send_due(&template, &missing, &mut dispatched).await?;
            self.progress.touch();
            tokio::select! {
                biased;
                () = self.process.stop.cancelled() => return Err(TransferError::Stopped),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// What is recorded of the ranges of an upload, by first part.
    async fn range_records(&self, upload: &Upload) -> Result<BTreeMap<u32, PartRangeRecord>, TransferError> {
        let job = &self.process.config.job.uid;
        let partition = records::part_range_partition(job, &self.pair.destination_bucket, &self.destination_key);
        let prefix = records::part_range_prefix(&upload.id);
        let mut found = BTreeMap::new();
        let mut after: Option<String> = None;
        loop {
            let query = || self.process.ports.ledger.query(&partition, &prefix, after.as_deref(), 100);
            let page = self.process.ledger(query).await?;
            let readable = page.items.iter().filter_map(|item| item.read::<PartRangeRecord>().ok());
            found.extend(readable.map(|record| (record.first, record)));
            after = page.next;
            if after.is_none() {
                return Ok(found);
            }
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
    async fn judge(&self, upload: &Upload, records: &BTreeMap<u32, PartRangeRecord>) -> Result<(), TransferError> {
        let failed = records.values().find(|record| record.outcome != PartRangeOutcome::Sent);
        let Some(failed) = failed else { return Ok(()) };
        let error = match &failed.outcome {
            PartRangeOutcome::Sent => return Ok(()),
            PartRangeOutcome::SourceChanged => TransferError::SourceChanged,
            PartRangeOutcome::Gone => TransferError::Gone,
            PartRangeOutcome::Failed { class, message, retry: false } => {
                TransferError::Failed(Failure::new(*class, message.clone()))
            }
            PartRangeOutcome::Failed { class, message, retry: true } => {
                self.take_back(upload, records).await?;
                return Err(TransferError::Retry(Failure::new(*class, message.clone())));
            }
        };
        abort(self.process, self.upload_ref(&upload.id)).await?;
        self.forget(upload.record.revision).await?;
        Err(error)
    }

    /// Removes the records of ranges that may succeed at another try.
    async fn take_back(&self, upload: &Upload, records: &BTreeMap<u32, PartRangeRecord>) -> Result<(), TransferError> {
        for record in records.values().filter(|record| record.outcome != PartRangeOutcome::Sent) {
            let job = &self.process.config.job.uid;
            let (bucket, key) = (&self.pair.destination_bucket, &self.destination_key);
            let key = records::part_range_key(job, bucket, key, &upload.id, record.first);
            self.process.write(&[Write::Delete { key, condition: Condition::Always }]).await?;
        }
        Ok(())
    }

    /// Sends the ranges that are due. One that a worker is at, as its heartbeat says, is not.
    async fn send_due(
        &self,
        template: &PartRangeTemplate,
        missing: &[(u32, u32)],
        dispatched: &mut BTreeMap<u32, Dispatch>,
    ) -> Result<(), TransferError> {
        let now = self.process.clock.now();
        let at_work = self.ranges_at_work(now).await?;
        let mut send_buffer = SendBuffer::default();
        for &(first, last) in missing {
            let dispatch = dispatched.entry(first).or_default();
            let name = records::part_range_name(&template.upload_id, first);
            let is_at_work = at_work.contains(&name);
            if is_at_work {
                dispatch.at = now;
            } else if is_due(*dispatch, is_at_work, now) {
                *dispatch = Dispatch { sent: dispatch.sent + 1, at: now };
                send_buffer.push(self.process, template.range(first, last).body()).await?;
            }
        }
        Ok(send_buffer.flush(self.process).await?)
    }

    async fn ranges_at_work(&self, now: i64) -> Result<Vec<String>, TransferError> {
        let ledger = &self.process.ports.ledger;
        let beats = self.process.ledger(|| async {
            match view::heartbeats(ledger, &self.process.config.job.uid, now).await {
                Ok(beats) => Ok(beats),
                Err(ViewError::Service(error)) => Err(error),
                // A heartbeat that can't be read says nothing.
                Err(ViewError::Record(_)) => Ok(Vec::new()),
            }
        });
        Ok(beats.await?.into_iter().flat_map(|beat| beat.ranges).collect())
    }
}
