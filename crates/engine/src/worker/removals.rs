//! Follows removals at the source: deletes the destination's object once the source says that it has none.
//!
//! Events come late, twice and out of order, and a copy that was begun before a removal may be written after it. So an
//! event is only a reason to look: whatever a transfer ended with, the source is looked at afterwards. Whoever writes last
//! looks last, and the destination ends as the source is.
//!
//! | source | destination | what follows |
//! |---|---|---|
//! | has the object | | nothing; if it was deleted here before, it is transferred again |
//! | denies it, or does not answer | | nothing is deleted |
//! | has none | has none | nothing |
//! | has none | excluded by the filters | nothing |
//! | has none | has one | it is deleted if unchanged, and the source is looked at again |

use std::sync::PoisonError;

use migration_core::error::ErrorClass;
use migration_core::message::Entry;
use migration_core::outcome::{EntryOutcome, Failure, FailureClass, of_error};
use migration_core::ports::{HeadRequest, ObjectHead};
use migration_core::records::{DeletionsRecord, Reservation, day_of, deletions_key};
use migration_core::retry::next_try;
use migration_ledger::{ReadError, get};
use tracing::info;

use super::Worker;
use crate::transfer::{LastProgress, TransferTask, transfer};
use crate::{Interruption, Services, WriteOutcome};

/// Times that both sides are looked at within one delivery.
const LOOKS: u32 = 5;

/// What a look at both sides says.
enum Look {
    /// The source has the object, or nobody knows.
    Kept,
    /// Neither side has the object, or the filters exclude it at the destination.
    Over,
    /// Only the destination has it.
    Extraneous(Box<ObjectHead>),
}

impl<P: Services> Worker<P> {
    /// Returns the outcome of an object after a removal at the source was followed, if the job follows removals.
    pub(super) async fn follow_removal(
        &self,
        task: TransferTask<'_>,
        progress: &LastProgress,
        outcome: EntryOutcome,
    ) -> EntryOutcome {
        let Some(most) = self.process.config.max_deletes_of_events() else { return outcome };
        if !matches!(outcome, EntryOutcome::Done(_) | EntryOutcome::Gone) {
            return outcome;
        }
        let followed = tokio::select! {
            biased;
            () = task.lost.cancelled() => return EntryOutcome::Interrupted,
            followed = self.follow(task, progress, outcome, most) => followed,
        };
        match followed {
            Ok(EntryOutcome::Retry(failure)) => self.tried(task, failure),
            Ok(outcome) => outcome,
            Err(Interruption::Stopped) => EntryOutcome::Interrupted,
            Err(Interruption::Service(error)) => match of_error(&error) {
                EntryOutcome::Retry(failure) => self.tried(task, failure),
                outcome => outcome,
            },
        }
    }

    /// Returns a retry if an attempt remains, else a permanent failure.
    fn tried(&self, task: TransferTask<'_>, failure: Failure) -> EntryOutcome {
        let (most, now) = (self.process.config.transfer.max_attempts, self.process.runtime.clock.now());
        match next_try(failure.cause, task.entry.tried, task.batch.tries(task.entry), most, now) {
            Some(_) => EntryOutcome::Retry(failure),
            None => EntryOutcome::Failed(failure),
        }
    }

    async fn follow(
        &self,
        task: TransferTask<'_>,
        progress: &LastProgress,
        mut outcome: EntryOutcome,
        most: u64,
    ) -> Result<EntryOutcome, Interruption> {
        let (bucket, key) = (&task.batch.pair.destination_bucket, &task.entry.key);
        let Ok(there) = task.batch.pair.map_key(key) else { return Ok(outcome) };
        let mut deleted = false;
        for _ in 0..LOOKS {
            let found = match self.look_at_both(task, &there).await? {
                // It was written again: its event may have found the copy that was deleted since.
                Look::Kept if deleted => {
                    outcome = self.transfer_again(task, progress).await;
                    if !matches!(outcome, EntryOutcome::Done(_) | EntryOutcome::Gone) {
                        return Ok(outcome);
                    }
                    deleted = false;
                    continue;
                }
                Look::Kept => return Ok(outcome),
                Look::Over => return Ok(EntryOutcome::Gone),
                Look::Extraneous(found) => found,
            };
            if !self.may_delete(most).await? {
                let text = format!("events have deleted {most} objects today, as many as mirror.maxDeletes allows");
                return Ok(EntryOutcome::Failed(Failure::new(FailureClass::TooManyDeletes, text)));
            }
            match self.process.delete_unchanged(bucket, &there, found.etag.as_ref()).await {
                Ok(()) => {
                    info!(bucket, key = there, "deleted an object that the source has removed");
                    deleted = true;
                }
                // It changed, or an earlier attempt without an answer has deleted it.
                Err(Interruption::Service(error)) if error.class == ErrorClass::PreconditionFailed => deleted = true,
                Err(error) => return Err(error),
            }
        }
        let text = "it was written and removed again at every look";
        Ok(EntryOutcome::Retry(Failure::new(FailureClass::SourceChanging, text)))
    }

    /// Looks at the destination first, so that what is deleted is never newer than the look at the source.
    async fn look_at_both(&self, task: TransferTask<'_>, there: &str) -> Result<Look, Interruption> {
        let pair = &task.batch.pair;
        let process = &self.process;
        let found = process.look_at_destination(HeadRequest::new(&pair.destination_bucket, there)).await?;
        match process.look_at_source(HeadRequest::new(&pair.source_bucket, &task.entry.key)).await {
            Ok(Some(_)) => return Ok(Look::Kept),
            Ok(None) => {}
            // A refusal is no absence.
            Err(Interruption::Service(error)) if !error.is_retryable() => return Ok(Look::Kept),
            Err(error) => return Err(error),
        }
        let filter = &process.config.filter;
        let keeps =
            |head: &ObjectHead| filter.keeps(head.size, head.modified, head.attributes.storage_class.as_deref());
        Ok(found.filter(keeps).map_or(Look::Over, |head| Look::Extraneous(Box::new(head))))
    }

    /// Transfers the object as the source has it now.
    async fn transfer_again(&self, task: TransferTask<'_>, progress: &LastProgress) -> EntryOutcome {
        let Some(permit) = self.limits.permits.expect().acquire().await else { return EntryOutcome::Interrupted };
        let entry =
            Entry { size: 0, etag: None, version_id: None, destination: None, unlisted: true, ..task.entry.clone() };
        let task = TransferTask { entry: &entry, redelivered: true, ..task };
        transfer(&self.process, &self.limits, task, progress, permit).await
    }

    /// Takes one of the day's deletions. Returns false if there is none left.
    async fn may_delete(&self, most: u64) -> Result<bool, Interruption> {
        loop {
            let now = self.process.runtime.clock.now();
            if self.take_reserved(day_of(now)) {
                return Ok(true);
            }
            let key = deletions_key(&self.process.config.job.uid);
            let record: DeletionsRecord = match get(self.process.as_ref(), &key).await {
                Ok(record) => record.unwrap_or_default(),
                Err(ReadError::Request(error)) => return Err(error),
                Err(ReadError::Record(error)) => {
                    info!(%error, "nothing is deleted: the number of today's deletions is unknown");
                    return Ok(false);
                }
            };
            let Some((record, reservation)) = record.reserve(now, most) else { return Ok(false) };
            if self.process.write(&[record.write(&self.process.config.job.uid)]).await? == WriteOutcome::Written {
                let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
                // Another object may have reserved some meanwhile.
                let left = if reserved.day == reservation.day { reserved.left } else { 0 };
                *reserved = Reservation { left: left + reservation.left, ..reservation };
            }
        }
    }

    /// Takes one of the deletions that this worker has reserved.
    fn take_reserved(&self, today: i64) -> bool {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let Reservation { day, left } = *reserved;
        let has_some = day >= today && left > 0;
        if has_some {
            reserved.left -= 1;
        }
        has_some
    }
}
