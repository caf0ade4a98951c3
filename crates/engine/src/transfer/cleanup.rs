//! Uploads that nobody completes any more: their object went away, became small, was found in place, or failed for good.

use migration_core::fidelity::Carried;
use migration_core::message::Entry;
use migration_core::outcome::{Cause, Delivery, EntryOutcome, Failure};
use migration_core::records::UploadRecord;
use tracing::{info, warn};

use super::error::TransferError;
use super::{Transfer, TransferTask};
use crate::Services;
use crate::uploads;

/// Tries to clear away what an object leaves open, beyond those to move it.
const CLEARING_TRIES: u32 = 4;

impl<P: Services> Transfer<'_, P> {
    /// Takes away what an object that is over has left open at the destination, before its message goes. The outcome is
    /// then as it was, or another try where that can't be done now.
    pub(super) async fn clear_away(&self, task: TransferTask<'_>, outcome: EntryOutcome) -> EntryOutcome {
        let is_over = match &outcome {
            EntryOutcome::Retry(_) | EntryOutcome::Interrupted => false,
            // Completed here: the record goes when the end of the batch is recorded.
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
                    warn!(key = self.source.key, ?other, "an upload is left open until the job goes away");
                    outcome
                }
            },
        }
    }

    /// Whether there is another try to clear away: beyond those of the object there are some for that, and any number
    /// while the side is away. What is left after them has its record, by which whoever moves the object next and the
    /// deletion of the job find it.
    fn may_clear_later(&self, task: TransferTask<'_>, failure: &Failure) -> bool {
        let most = self.process.config.transfer.max_attempts.saturating_add(CLEARING_TRIES);
        failure.cause == Cause::Side || task.batch.tries(task.entry) < most
    }

    /// Aborts the recorded upload, unless another message is about its content.
    ///
    /// | the upload carries | it is the source's content now | upload |
    /// |---|---|---|
    /// | what this message is about | any | aborted |
    /// | another content | no | aborted |
    /// | another content | yes | stays |
    ///
    /// Then its record goes too; but one that says what the object shows at the destination, where it is done, stays until
    /// the end of the batch is recorded. Gives the revision of that one.
    async fn abort_leftover(&self, entry: &Entry, outcome: &EntryOutcome) -> Result<Option<u64>, TransferError> {
        let Some(record) = self.records.read().await? else { return Ok(None) };
        if entry.etag.as_ref() != Some(&record.source.etag) && !self.records.has_open() {
            let now = self.source.look(false).await?.and_then(|head| head.etag);
            if now.as_ref() == Some(&record.source.etag) {
                return Ok(None);
            }
        }
        if record.upload_id.is_none() && record.wait_until > self.process.clock.now() {
            // Another worker is at it, whose message is not over.
            return Ok(None);
        }
        info!(key = self.source.key, "aborting an upload that nobody completes any more");
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

    /// Aborts what came of an announcement. Whose uploads are ours is told by one of our own.
    pub(super) async fn abort_announced(&self, record: &UploadRecord) -> Result<(), TransferError> {
        let own = self.destination.create_upload(false, &Carried::default(), &mut 0).await?;
        uploads::abort_unrecorded(self.process, record, &own).await?;
        Ok(self.destination.abort(&own).await?)
    }
}
