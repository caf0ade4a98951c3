//! One range of the parts of a huge object.

use std::sync::atomic::{AtomicBool, AtomicU32};

use migration_core::message::PartRange;
use migration_core::outcome::{Cause, EntryOutcome, Failure, FailureClass};
use migration_core::ports::{Condition, Item, Ledger, ObjectStore, Write};
use migration_core::records::{self, PartRangeOutcome, PartRangeRecord, RETENTION_MS, UploadRecord};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::upload::Upload;
use super::{Limits, Progress, Transfer, TransferError};
use crate::{Process, Services};

/// What came of a range's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeEnd {
    /// It is recorded, by this worker or before, or its upload is recorded no more: the message has nothing to say.
    Over,
    /// The worker is ending, or lost the message's lease.
    Interrupted,
    /// Failed for now.
    Retry(Failure),
}

/// Carries a range, and records that it is over. `last_try` makes a failure for now one that is recorded: then the
/// coordinator decides.
pub async fn carry<P: Services>(
    process: &Process<P>,
    limits: &Limits,
    range: &PartRange,
    progress: &Progress,
    lost: &CancellationToken,
    last_try: bool,
) -> RangeEnd {
    let transfer = Transfer {
        process,
        limits,
        pair: &range.pair,
        key: &range.source.key,
        destination_key: range.destination_key.clone(),
        progress: progress.clone(),
        has_upload: AtomicBool::default(),
        written: super::preserved::Written::default(),
        in_place: AtomicU32::default(),
    };
    let _named = process.activity.at_range(records::part_range_name(&range.upload_id, range.first));
    let ended = tokio::select! {
        biased;
        () = lost.cancelled() => return RangeEnd::Interrupted,
        ended = transfer.carry(range, last_try) => ended,
    };
    progress.touch();
    match ended {
        Ok(end) => end,
        Err(error) => match error.outcome() {
            EntryOutcome::Interrupted => RangeEnd::Interrupted,
            EntryOutcome::Retry(failure) | EntryOutcome::Failed(failure) => RangeEnd::Retry(failure),
            EntryOutcome::Done(_) | EntryOutcome::Gone => RangeEnd::Over,
        },
    }
}

impl<P: Services> Transfer<'_, P> {
    async fn carry(&self, range: &PartRange, last_try: bool) -> Result<RangeEnd, TransferError> {
        let Some(record) = self.upload_of(range).await? else {
            debug!(key = self.key, "a range of an upload that is over");
            return Ok(RangeEnd::Over);
        };
        let key = self.range_key(range);
        if self.process.ledger(|| self.process.ports.ledger.get(&key)).await?.is_some() {
            return Ok(RangeEnd::Over);
        }
        let outcome = match self.send_range(range, &record).await {
            Ok(upload) => {
                return self.record_range(range, PartRangeOutcome::Sent, Some(&upload)).await.map(|()| RangeEnd::Over);
            }
            Err(TransferError::SourceChanged) => PartRangeOutcome::SourceChanged,
            // The coordinator completed or aborted it; or somebody else aborted it, and it still counts on it.
            Err(TransferError::UploadGone) if self.upload_of(range).await?.is_none() => return Ok(RangeEnd::Over),
            Err(TransferError::UploadGone) => PartRangeOutcome::Failed {
                class: FailureClass::Exhausted,
                message: "failed to send parts: the multipart upload was aborted by someone else".to_owned(),
                retry: true,
            },
            Err(error) => match error.outcome() {
                EntryOutcome::Gone => PartRangeOutcome::Gone,
                EntryOutcome::Failed(Failure { class, message, .. }) => {
                    PartRangeOutcome::Failed { class, message, retry: false }
                }
                EntryOutcome::Retry(failure) => {
                    let failure = self.with_progress(failure, range.parts);
                    let is_try = matches!(failure.cause, Cause::Own | Cause::Throttled);
                    if !(is_try && last_try) {
                        return Ok(RangeEnd::Retry(failure));
                    }
                    PartRangeOutcome::Failed { class: failure.class, message: failure.message, retry: true }
                }
                EntryOutcome::Done(_) | EntryOutcome::Interrupted => return Ok(RangeEnd::Interrupted),
            },
        };
        self.record_range(range, outcome, None).await?;
        Ok(RangeEnd::Over)
    }

    /// The record of the range's upload, as long as it is the one that the object is carried by.
    async fn upload_of(&self, range: &PartRange) -> Result<Option<UploadRecord>, TransferError> {
        let record = self.upload_record().await?;
        Ok(record
            .filter(|record| record.upload_id.as_deref() == Some(&range.upload_id) && record.source == range.source))
    }

    /// Sends what the destination does not have of the range. Gives the upload, with what was verified of it.
    async fn send_range(&self, range: &PartRange, record: &UploadRecord) -> Result<Upload, TransferError> {
        let listed = self.list_parts(&range.upload_id, Some((range.first, range.last))).await?;
        let verified = self.verified(record, range.first..=range.last);
        // Parts of another cut are sent anew: they can only be somebody else's.
        let there = self.proven(&range.layout, &listed, record, &verified).await?.unwrap_or_default();
        let upload = Upload {
            id: range.upload_id.clone(),
            layout: range.layout,
            record: UploadRecord { checksum: range.checksum, ..record.clone() },
            contested: false,
            there,
            verified,
            server_side: false,
        };
        self.send_parts(&upload, &range.source, upload.missing(range.first..=range.last), None).await?;
        info!(key = self.key, first = range.first, last = range.last, there = upload.there.len(), "a range is over");
        Ok(upload)
    }

    /// Records what came of the range, with what was verified of it; the first word on a range stands.
    async fn record_range(
        &self,
        range: &PartRange,
        outcome: PartRangeOutcome,
        upload: Option<&Upload>,
    ) -> Result<(), TransferError> {
        let now = self.process.clock.now();
        let record = PartRangeRecord {
            upload_id: range.upload_id.clone(),
            first: range.first,
            last: range.last,
            by: self.process.name.clone(),
            at: now,
            outcome,
        };
        let item = Item::of(self.range_key(range), &record).expiring(now + RETENTION_MS);
        let verified = upload.and_then(|upload| self.verified_write(upload));
        let writes: Vec<Write> =
            [Write::Put { item, condition: Condition::Absent }].into_iter().chain(verified).collect();
        self.process.write(&writes).await?;
        Ok(())
    }

    fn range_key(&self, range: &PartRange) -> migration_core::ports::LedgerKey {
        let job = &self.process.config.job.uid;
        records::part_range_key(
            job,
            &self.pair.destination_bucket,
            &self.destination_key,
            &range.upload_id,
            range.first,
        )
    }
}
