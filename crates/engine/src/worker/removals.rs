//! Follows removals at the source: deletes the destination's object once the source says that it has none.
//!
//! Events come late, twice and out of order, and a copy that was begun before a removal may be written after it. So an
//! event is only a reason to look: whatever a transfer ended with, the source is looked at afterwards. Whoever writes or
//! deletes last looks last, and the destination ends as the source is.
//!
//! A removal that is delivered for the first time looks first, by a GET of one byte, and transfers only what the source
//! has: the removal of a version or of a delete marker makes an older version the newest, and nothing else reports that.
//! Whether an event is of that kind is not taken from its name, which services give differently.
//!
//! | source | destination | what follows | requests to the source | to the destination |
//! |---|---|---|---|---|
//! | has the object | | it is transferred, unless that was just done | GET; those of a transfer; HEAD | those of a transfer |
//! | denies it, or does not answer | | nothing is deleted | GET | |
//! | has none | has none, or one that the filters exclude | nothing | GET | HEAD, and GET if it has none |
//! | has none | has one | it is deleted if unchanged, and the source is looked at again | GET; GET; GET | HEAD, DELETE |
//!
//! Each GET of the source proves whether it has the object. After a transfer, a HEAD comes first, and a GET only if it
//! does not find the object. The GET right before a deletion comes after the HEAD of the destination, so that what is
//! deleted is never newer than the proof, and after whatever may wait.

use std::sync::PoisonError;

use migration_core::error::ErrorClass;
use migration_core::message::{Batch, BatchOrigin, Entry};
use migration_core::outcome::{Delivery, EntryOutcome, Failure, FailureClass, of_error};
use migration_core::ports::{HeadRequest, ObjectHead};
use migration_core::records::{DeletionsRecord, Reservation, day_of, deletions_key};
use migration_core::retry::next_try;
use migration_ledger::{ReadError, get};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Worker;
use crate::admission::{ObjectClass, ObjectPermit};
use crate::deletion::{Absence, Deletion};
use crate::transfer::{LastProgress, TransferTask, transfer};
use crate::{Interruption, Services, WriteOutcome, uploads};

/// Times that the sides are looked at within one delivery.
const LOOKS: u32 = 5;

/// What a look at the sides says.
enum Look {
    /// The source has the object, or nobody knows.
    Kept,
    /// Neither side has the object, or the filters exclude it at the destination.
    Over,
    /// Only the destination has it, as was proven at this moment.
    Extraneous(Box<ObjectHead>, Instant),
    /// Only the destination has it, and no more may be deleted today.
    TooMany,
}

/// What this delivery did before a look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// It transferred the object, or found nothing to transfer.
    Transferred,
    /// It tried to delete the object, which was another one, or was deleted by a request whose answer was lost.
    MayHaveDeleted,
    Deleted,
}

impl<P: Services> Worker<P> {
    /// Returns true if a batch is to be looked at at each delivery, though another one has ended it: this one may have
    /// deleted a copy, and not looked at the source since.
    pub(super) fn must_look(&self, batch: &Batch) -> bool {
        batch.id.origin() == BatchOrigin::Event && self.process.config.max_deletes_of_events().is_some()
    }

    /// Returns true if the source is looked at before anything is transferred: most removals leave nothing to transfer. At
    /// a later delivery, a transfer also clears away what an earlier one has begun.
    pub(super) fn is_first_of_removal(&self, task: TransferTask<'_>) -> bool {
        let is_first = !task.redelivered && task.batch.attempts == 0;
        is_first && task.batch.id.is_of_removal() && self.must_look(task.batch)
    }

    /// Returns the outcome of an object after a removal at the source was followed, if the job follows removals. With a
    /// permit, nothing was transferred yet, and it is kept for that.
    pub(super) async fn follow_removal(
        &self,
        task: TransferTask<'_>,
        progress: &LastProgress,
        outcome: EntryOutcome,
        permit: Option<ObjectPermit>,
    ) -> EntryOutcome {
        let Some(most) = self.process.config.max_deletes_of_events() else { return outcome };
        if !matches!(outcome, EntryOutcome::Done(_) | EntryOutcome::Gone) {
            return outcome;
        }
        let mut moved = outcome;
        let followed = tokio::select! {
            biased;
            () = task.lost.cancelled() => return EntryOutcome::Interrupted,
            followed = self.follow(task, progress, &mut moved, permit, most) => followed,
        };
        match self.outcome(task, followed) {
            outcome @ (EntryOutcome::Gone | EntryOutcome::Failed(_)) => match self.forget_upload(task, &moved).await {
                Ok(()) => outcome,
                Err(error) => self.outcome(task, Err(error)),
            },
            outcome => outcome,
        }
    }

    fn outcome(&self, task: TransferTask<'_>, followed: Result<EntryOutcome, Interruption>) -> EntryOutcome {
        let outcome = match followed {
            Ok(outcome) => outcome,
            Err(Interruption::Stopped) => EntryOutcome::Interrupted,
            Err(Interruption::Service(error)) => of_error(&error),
        };
        match outcome {
            EntryOutcome::Retry(failure) => self.tried(task, failure),
            outcome => outcome,
        }
    }

    /// Removes the upload record of an object that was copied in parts and does not count as copied.
    async fn forget_upload(&self, task: TransferTask<'_>, moved: &EntryOutcome) -> Result<(), Interruption> {
        let EntryOutcome::Done(Delivery { upload: Some(revision), .. }) = moved else { return Ok(()) };
        let pair = &task.batch.pair;
        let Ok(key) = pair.map_key(&task.entry.key) else { return Ok(()) };
        uploads::forget_done(&self.process, [(pair.destination_bucket.as_str(), key, *revision)]).await
    }

    /// Returns a retry if an attempt remains, else a permanent failure.
    fn tried(&self, task: TransferTask<'_>, failure: Failure) -> EntryOutcome {
        let (most, now) = (self.process.config.transfer.max_attempts, self.process.runtime.clock.now());
        match next_try(failure.cause, task.entry.tried, task.batch.tries(task.entry), most, now) {
            Some(_) => EntryOutcome::Retry(failure),
            None => EntryOutcome::Failed(failure),
        }
    }

    /// Follows a removal. `moved` is what the last transfer ended with.
    async fn follow(
        &self,
        task: TransferTask<'_>,
        progress: &LastProgress,
        moved: &mut EntryOutcome,
        mut permit: Option<ObjectPermit>,
        most: u64,
    ) -> Result<EntryOutcome, Interruption> {
        let (bucket, key) = (&task.batch.pair.destination_bucket, &task.entry.key);
        let Ok(there) = task.batch.pair.map_key(key) else { return Ok(moved.clone()) };
        let mut before = if permit.is_some() { Before::Nothing } else { Before::Transferred };
        for _ in 0..LOOKS {
            let (found, proven) = match self.look(task, &there, moved, before, most).await? {
                Look::Kept if before == Before::Transferred => return Ok(moved.clone()),
                // If it was deleted here, the event of its last write may have found the copy in place.
                Look::Kept => {
                    let task = TransferTask { redelivered: before != Before::Nothing, ..task };
                    *moved = self.transfer_again(task, progress, permit.take()).await;
                    if !matches!(moved, EntryOutcome::Done(_) | EntryOutcome::Gone) {
                        return Ok(moved.clone());
                    }
                    before = Before::Transferred;
                    continue;
                }
                Look::Over => return Ok(EntryOutcome::Gone),
                Look::TooMany => {
                    let text = format!("events have deleted {most} objects today, as many as mirror.maxDeletes allows");
                    return Ok(EntryOutcome::Failed(Failure::new(FailureClass::TooManyDeletes, text)));
                }
                Look::Extraneous(found, proven) => (found, proven),
            };
            let absence = Absence { bucket: &task.batch.pair.source_bucket, key, proven };
            before = match self.process.delete_unchanged(absence, bucket, &there, found.etag.as_ref()).await {
                Ok(Deletion::Deleted) => {
                    debug!(bucket, key = there, "deleted an object that the source has removed");
                    Before::Deleted
                }
                Ok(Deletion::Unproven) => Before::MayHaveDeleted,
                Err(Interruption::Service(error)) if error.class == ErrorClass::PreconditionFailed => {
                    Before::MayHaveDeleted
                }
                Err(error) => return Err(error),
            }
        }
        let text = "it was written and removed again at every look";
        Ok(EntryOutcome::Retry(Failure::new(FailureClass::SourceChanging, text)))
    }

    /// Looks at the source, and at the destination only if the source does not show the object. After a deletion, what the
    /// source says is all that counts.
    async fn look(
        &self,
        task: TransferTask<'_>,
        there: &str,
        moved: &EntryOutcome,
        before: Before,
        most: u64,
    ) -> Result<Look, Interruption> {
        let (process, pair, key) = (&self.process, &task.batch.pair, task.entry.key.as_str());
        // Of a copied object, a refusal is no absence; otherwise it is the object's failure.
        let stands = before == Before::Transferred && matches!(moved, EntryOutcome::Done(_));
        let has = |answer| match answer {
            Err(Interruption::Service(error)) if stands && !error.is_retryable() => Ok(true),
            answer => answer,
        };
        if before != Before::Deleted {
            let seen = match before {
                Before::Nothing => process.source_has(&pair.source_bucket, key).await,
                _ => process.is_seen_at_source(HeadRequest::new(&pair.source_bucket, key)).await,
            };
            if has(seen)? {
                return Ok(Look::Kept);
            }
            let found = process.look_at_destination(HeadRequest::new(&pair.destination_bucket, there)).await?;
            if let Some(found) = found.filter(|head| self.filters_keep(head)) {
                // Reserved before the proof, since the ledger may keep it waiting.
                let reserved = self.may_delete(most).await?;
                let kept = has(process.source_has(&pair.source_bucket, key).await);
                let proven = Instant::now();
                if let (Some(day), Ok(true) | Err(_)) = (reserved, &kept) {
                    self.give_back_reserved(day);
                }
                return Ok(match (kept?, reserved) {
                    (true, _) => Look::Kept,
                    (false, Some(_)) => Look::Extraneous(Box::new(found), proven),
                    (false, None) => Look::TooMany,
                });
            }
            if before != Before::MayHaveDeleted && *moved == EntryOutcome::Gone {
                // Nothing is deleted, and that there was nothing to transfer was proven.
                return Ok(Look::Over);
            }
        }
        let has = has(process.source_has(&pair.source_bucket, key).await)?;
        Ok(if has { Look::Kept } else { Look::Over })
    }

    fn filters_keep(&self, head: &ObjectHead) -> bool {
        let filter = &self.process.config.filter;
        filter.keeps(head.size, head.modified, head.attributes.storage_class.as_deref())
    }

    /// Transfers the object as the source has it now.
    async fn transfer_again(
        &self,
        task: TransferTask<'_>,
        progress: &LastProgress,
        permit: Option<ObjectPermit>,
    ) -> EntryOutcome {
        let permit = match permit {
            Some(permit) => Some(permit),
            None => self.limits.permits.expect(ObjectClass::Whole).acquire().await,
        };
        let Some(permit) = permit else { return EntryOutcome::Interrupted };
        let entry =
            Entry { size: 0, etag: None, version_id: None, destination: None, unlisted: true, ..task.entry.clone() };
        let task = TransferTask { entry: &entry, ..task };
        transfer(&self.process, &self.limits, task, progress, permit).await
    }

    /// Takes one of the day's deletions and returns the day, or `None` if there is none left.
    async fn may_delete(&self, most: u64) -> Result<Option<i64>, Interruption> {
        loop {
            let now = self.process.runtime.clock.now();
            if let Some(day) = self.take_reserved(day_of(now)) {
                return Ok(Some(day));
            }
            let key = deletions_key(&self.process.config.job.uid);
            let record: DeletionsRecord = match get(self.process.as_ref(), &key).await {
                Ok(record) => record.unwrap_or_default(),
                Err(ReadError::Request(error)) => return Err(error),
                Err(ReadError::Record(error)) => {
                    warn!(%error, "nothing is deleted: the number of today's deletions is unknown");
                    return Ok(None);
                }
            };
            let Some((record, reservation)) = record.reserve(now, most) else { return Ok(None) };
            if self.process.write(&[record.write(&self.process.config.job.uid)]).await? == WriteOutcome::Written {
                let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
                // Another object may have reserved some meanwhile.
                let left = if reserved.day == reservation.day { reserved.left } else { 0 };
                *reserved = Reservation { left: left + reservation.left, ..reservation };
            }
        }
    }

    /// Takes one of the deletions that this worker has reserved, and returns the day for which it is.
    fn take_reserved(&self, today: i64) -> Option<i64> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let Reservation { day, left } = *reserved;
        let has_some = day >= today && left > 0;
        if has_some {
            reserved.left -= 1;
        }
        has_some.then_some(day)
    }

    /// Makes a deletion of a day that was not made available again, unless others were reserved for a later day.
    fn give_back_reserved(&self, day: i64) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.day == day {
            reserved.left += 1;
        }
    }
}
