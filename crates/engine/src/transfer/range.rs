//! Copies one range of parts of a distributed object.

use migration_core::message::PartRange;
use migration_core::outcome::{Cause, EntryOutcome, Failure, FailureClass};
use migration_core::records::{self, PartRangeOutcome, UploadRecord};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

use super::error::TransferError;
use super::progress::LastProgress;
use super::upload::Upload;
use super::verified::Verified;
use super::{Transfer, TransferLimits};
use crate::{Process, Services, traces};

/// Result of a range's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeEnd {
    /// The range is recorded, or its upload is no longer the recorded one. The message can be deleted.
    Over,
    /// The worker is shutting down, or lost the message's lease.
    Interrupted,
    /// Failed, and may be retried.
    Retry(Failure),
}

/// Copies a range of parts and records the outcome. With `last_try`, a failure that may be retried is recorded as well,
/// and the coordinator decides.
pub async fn carry<P: Services>(
    process: &Process<P>,
    limits: &TransferLimits,
    range: &PartRange,
    progress: &LastProgress,
    lost: &CancellationToken,
    last_try: bool,
) -> RangeEnd {
    let transfer = Transfer::new(process, limits, &range.pair, (&range.source.key, &range.destination_key), progress);
    let _named = process.runtime.activity.at_range(records::part_range_name(&range.upload_id, range.first));
    let span = traces::range(&process.config.job, range);
    let ended = tokio::select! {
        biased;
        () = lost.cancelled() => return RangeEnd::Interrupted,
        ended = transfer.carry(range, last_try).instrument(span.clone()) => ended,
    };
    progress.touch();
    traces::failed_if(&span, ended.as_ref().err().map(TransferError::reason).as_deref());
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
            debug!(key = self.source.key, "range of parts belongs to an upload that has ended");
            return Ok(RangeEnd::Over);
        };
        if self.records.has_range(&range.upload_id, range.first).await? {
            return Ok(RangeEnd::Over);
        }
        let parts = (range.first, range.last);
        let outcome = match self.send_range(range, &record).await {
            Ok(upload) => {
                let verified = upload.verified_write();
                self.records.record_range(&upload.id, parts, PartRangeOutcome::Sent, verified).await?;
                return Ok(RangeEnd::Over);
            }
            Err(TransferError::SourceChanged) => PartRangeOutcome::SourceChanged,
            // Either the coordinator has completed or aborted the upload, or another client aborted it and the
            // coordinator still waits for the range.
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
        self.records.record_range(&range.upload_id, parts, outcome, None).await?;
        Ok(RangeEnd::Over)
    }

    /// Returns the record of the range's upload, or `None` if it is no longer the upload of the object.
    async fn upload_of(&self, range: &PartRange) -> Result<Option<UploadRecord>, TransferError> {
        let record = self.records.read().await?;
        Ok(record
            .filter(|record| record.upload_id.as_deref() == Some(&range.upload_id) && record.source == range.source))
    }

    /// Sends the parts of the range that are missing at the destination. Returns the upload, with its verified parts.
    async fn send_range(&self, range: &PartRange, record: &UploadRecord) -> Result<Upload<'_, P>, TransferError> {
        let PartRange { upload_id, layout, first, last, .. } = range;
        let listed = self.destination.list_parts(upload_id, Some((*first, *last))).await?;
        let verified = Verified::of(self, record, *first..=*last);
        // If parts have another layout, all are sent again: they can only be from another client.
        let there = self.records.prove(record, layout, &listed, &verified).await?.unwrap_or_default();
        let upload = Upload {
            transfer: self,
            source: range.source.clone(),
            id: upload_id.clone(),
            layout: *layout,
            record: UploadRecord { checksum: range.checksum, ..record.clone() },
            contested: false,
            is_first: false,
            there,
            verified,
            server_side: false,
        };
        upload.send_parts(upload.missing(*first..=*last), None).await?;
        debug!(key = self.source.key, first, last, there = upload.there.len(), "sent range of parts");
        Ok(upload)
    }
}
