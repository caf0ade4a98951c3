//! Aborts multipart uploads that will not be completed, because their object was deleted, became small, was found in
//! place, or failed permanently.

use migration_core::fidelity::Carried;
use migration_core::message::Entry;
use migration_core::outcome::{Cause, Delivery, EntryOutcome, Failure};
use migration_core::records::UploadRecord;
use tracing::{debug, warn};

use super::error::TransferError;
use super::{Transfer, TransferTask};
use crate::Services;
use crate::uploads;

/// Additional attempts to abort an object's upload, after those to copy it.
const CLEARING_TRIES: u32 = 4;

impl<P: Services> Transfer<'_, P> {
    /// Aborts the upload that a finished object has left open at the destination, before its message is deleted.
    /// Returns the outcome unchanged, or a retry if the upload cannot be aborted now.
    pub(super) async fn clear_away(&self, task: TransferTask<'_>, outcome: EntryOutcome) -> EntryOutcome {
        let is_over = match &outcome {
            EntryOutcome::Retry(_) | EntryOutcome::Interrupted => false,
            // Completed by this attempt: the record is deleted when the end of the batch is recorded.
            EntryOutcome::Done(delivery) => delivery.upload.is_none(),
            EntryOutcome::Gone | EntryOutcome::Failed(_) => true,
        };
        let earlier = task.redelivered || task.batch.attempts > 0;
        if !is_over || !(earlier || self.records.has_open()) {
            return outcome;
        }
        match self.abort_leftover(task.entry, &outcome).await {
            Ok(upload) => match outcome {
                EntryOutcome::Done(delivery) => EntryOutcome::Done(Delivery { upload, ..delivery }),
                outcome => outcome,
            },
            Err(TransferError::Stopped) => EntryOutcome::Interrupted,
            Err(error) => match error.outcome() {
                EntryOutcome::Retry(failure) if self.may_clear_later(task, &failure) => EntryOutcome::Retry(failure),
                other => {
                    warn!(
                        key = self.source.key,
                        ?other,
                        "failed to abort multipart upload; it stays open until the job is deleted"
                    );
                    outcome
                }
            },
        }
    }

    /// Returns true if another attempt to abort the upload remains: [`CLEARING_TRIES`] after those of the object, and
    /// any number while the side is unavailable. An upload left open after that keeps its record, by which the next
    /// transfer of the object or the deletion of the job finds it.
    fn may_clear_later(&self, task: TransferTask<'_>, failure: &Failure) -> bool {
        let most = self.process.config.transfer.max_attempts.saturating_add(CLEARING_TRIES);
        failure.cause == Cause::WholeService || task.batch.tries(task.entry) < most
    }

    /// Aborts the recorded upload, unless another message is about its content.
    ///
    /// | content of the upload | current content of the source | upload |
    /// |---|---|---|
    /// | named by this message | any | aborted |
    /// | another | another than the upload's | aborted |
    /// | another | the upload's | kept |
    ///
    /// Also deletes its record, except that a record which describes a copied object at the destination is kept until
    /// the end of the batch is recorded. Returns the revision of a record that is kept for this.
    async fn abort_leftover(&self, entry: &Entry, outcome: &EntryOutcome) -> Result<Option<u64>, TransferError> {
        let Some(record) = self.records.read().await? else { return Ok(None) };
        if entry.etag.as_ref() != Some(&record.source.etag) && !self.records.has_open() {
            let now = self.source.look(false).await?.and_then(|head| head.etag);
            if now.as_ref() == Some(&record.source.etag) {
                return Ok(None);
            }
        }
        if record.upload_id.is_none() && record.wait_until > self.process.runtime.clock.now() {
            // Another worker is creating the upload, and its message is still being processed.
            return Ok(None);
        }
        debug!(key = self.source.key, "aborting multipart upload that will not be completed");
        match &record.upload_id {
            Some(id) => self.destination.abort(id).await?,
            None if record.is_announcement() => self.abort_announced(&record).await?,
            None => {}
        }
        let shown = match outcome {
            EntryOutcome::Done(delivery) => {
                record.expected.is_some() && delivery.source.etag.as_ref() == Some(&record.source.etag)
            }
            _ => false,
        };
        let done = matches!(outcome, EntryOutcome::Done(_));
        match record.damaged {
            None if shown => return Ok(Some(record.revision)),
            Some(_) if !done => self.records.keep_damage(&record).await?,
            _ => self.records.forget(record.revision).await?,
        }
        Ok(None)
    }

    /// Aborts the uploads created under an announcement. Creates an upload to learn which initiator our uploads have.
    pub(super) async fn abort_announced(&self, record: &UploadRecord) -> Result<(), TransferError> {
        let own = self.destination.create_upload(false, &Carried::default(), &mut 0).await?;
        uploads::abort_unrecorded(self.process, record, &own).await?;
        Ok(self.destination.abort(&own).await?)
    }
}
