//! Repeats the copy of one object until it is verified at the destination or cannot succeed.

use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::message::BatchOrigin;
use migration_core::mutants::{Mutant, is_active};
use migration_core::outcome::{Delivery, EntryOutcome, Fingerprint};
use migration_core::plan::{TransferMethod, is_server_side, method};
use migration_core::ports::{Ability, ObjectHead, WriteCondition};
use migration_core::resume;

use super::destination::condition_of;
use super::error::TransferError;
use super::listed::Listed;
use super::source::SourceSnapshot;
use super::{Transfer, TransferTask};
use crate::Services;
use crate::admission::ObjectPermit;

/// Maximum number of rounds within one delivery. A further round is needed if the object changed at either side.
const LOOKS: u32 = 5;

/// An object that was copied.
#[derive(Debug)]
pub(super) struct Moved {
    /// Outcome of the attempt.
    pub(super) delivery: Delivery,
    /// ETag of the object at the destination.
    pub(super) etag: ETag,
    /// True if the service is known to honor the condition of the write.
    pub(super) guarded: bool,
}

/// The first decision about an object, from its message and the source.
enum Begin {
    Move(SourceSnapshot),
    /// Nothing to copy: the object is gone, the filters exclude it, or another event brings a newer version.
    Over,
}

impl<P: Services> Transfer<'_, P> {
    /// Repeats until the object is verified at the destination. After a change at either side, the next round reads
    /// both sides again, the destination first, so that the content read from the source is never older than the
    /// content replaced.
    pub(super) async fn run(
        &self,
        task: TransferTask<'_>,
        permit: ObjectPermit,
    ) -> Result<EntryOutcome, TransferError> {
        let entry = task.entry;
        let listed = Listed::of(entry);
        let mut condition = listed.condition();
        let adopts_any = is_active(Mutant::SourceLookedAtFirst);
        let first = if adopts_any { Some(self.begin_with(task).await?) } else { None };
        // For a large object, this HEAD costs little compared with its parts, and saves them all if a duplicate
        // message, or a message of a killed jobsender, was processed first.
        let named = SourceSnapshot::of(entry);
        let look = task.redelivered || entry.unlisted || self.method(&named) != TransferMethod::SinglePut;
        let found = if look { Some(self.look_before_write(&named).await?) } else { None };
        // Read after the destination, as in every round: a version read by its ID remains readable after a newer one
        // was copied, and the condition would then let the older version replace the newer one.
        let begin = match first {
            Some(begin) => begin,
            None => self.begin_with(task).await?,
        };
        let Begin::Move(mut snapshot) = begin else { return Ok(EntryOutcome::Gone) };
        if let Some(found) = found {
            if let Some(done) = self.already_done(task, &snapshot, found.as_ref(), &listed).await? {
                return Ok(done);
            }
            condition = condition_of(found.as_ref());
        }
        let mut permit = Some(permit);
        let mut last = TransferError::SourceChanged;
        for _ in 0..LOOKS {
            last = match self.pass(task, &snapshot, &condition, &mut permit).await {
                Ok(delivery) => return Ok(EntryOutcome::Done(delivery)),
                Err(
                    error @ (TransferError::SourceChanged
                    | TransferError::DestinationChanged(_)
                    | TransferError::UploadGone),
                ) => error,
                Err(error) => return Err(error),
            };
            // The absence of the object may have been assumed without proof, and the rejected write contradicts it.
            let found = match last {
                TransferError::DestinationChanged(_) => self.destination.look().await?,
                _ => self.look_before_write(&snapshot).await?,
            };
            let Some(now) = self.source.look(false).await? else { return Ok(EntryOutcome::Gone) };
            let now = SourceSnapshot {
                size: now.size,
                etag: now.etag,
                version_id: now.version_id.or(snapshot.version_id.clone()),
            };
            let unchanged = now.etag == snapshot.etag && now.size == snapshot.size;
            if unchanged && is_meant(&last, found.as_ref(), snapshot.size) {
                return Ok(done(&snapshot, found.as_ref()));
            }
            // The listing says nothing about a content that is newer than it.
            let listed = if now.etag == entry.etag { listed.clone() } else { Listed::Unknown };
            if let Some(done) = self.already_done(task, &now, found.as_ref(), &listed).await? {
                return Ok(done);
            }
            condition = condition_of(found.as_ref());
            snapshot = now;
        }
        Err(last)
    }

    /// Returns the outcome if the object at the destination proves that it was copied; see [`resume::is_done`]. An
    /// object copied in parts is proven by the ETag and checksum that the ledger recorded before its completion. The
    /// size alone is proof only for a redelivered object that was written by one request, with Content-MD5.
    async fn already_done(
        &self,
        task: TransferTask<'_>,
        snapshot: &SourceSnapshot,
        found: Option<&ObjectHead>,
        listed: &Listed,
    ) -> Result<Option<EntryOutcome>, TransferError> {
        let Some(found) = found.filter(|found| found.size == snapshot.size) else { return Ok(None) };
        if is_active(Mutant::RedeliveryDoneBySize) {
            return Ok(Some(done(snapshot, Some(found))));
        }
        let is_whole = self.method(snapshot) == TransferMethod::SinglePut;
        let earlier = task.redelivered || task.batch.attempts > 0;
        let is_new = is_whole && !earlier && !self.records.has_open();
        let record = if is_new { None } else { self.records.read().await? };
        let expected = record.as_ref().and_then(|record| record.expected.as_ref());
        let with_checksum = match expected.and_then(|expected| expected.checksum) {
            Some(_) => match self.destination.look_with_checksum().await {
                // A proxy currently does not answer HEAD: use the ETag from before.
                Err(TransferError::Service(error)) if error.class == ErrorClass::NoAnswer => Some(found.clone()),
                looked => looked?,
            },
            None => Some(found.clone()),
        };
        let Some(found) = with_checksum else { return Ok(None) };
        let by_size = (is_whole && task.redelivered) || is_active(Mutant::LargeDoneBySize);
        let changed = by_size && listed.differs_from(&found);
        let is_done = resume::is_done((snapshot.etag.as_ref(), snapshot.size), &found, record.as_ref(), changed);
        if is_done && expected.is_some() {
            // The upload may still be open; its record is removed together with the message.
            self.records.set_open(true);
        }
        Ok(is_done.then(|| done(snapshot, Some(&found))))
    }

    /// Returns the content to copy first. This is the content named by the message, or the latest content if the
    /// message does not name it completely, if versions are checked before the copy, or if the version is read by its
    /// ID, which succeeds even when a newer one exists. An event lacks attributes that filters use, so the source is
    /// read in that case too.
    async fn begin_with(&self, task: TransferTask<'_>) -> Result<Begin, TransferError> {
        let (entry, filter) = (task.entry, &self.process.config.filter);
        let filtered = task.batch.id.origin() == BatchOrigin::Event && !filter.is_default();
        let snapshot = SourceSnapshot::of(entry);
        let pinned = entry.unlisted && entry.version_id.is_some();
        let versioning = self.process.config.versioning;
        let named = versioning.get_object_with_version_id && entry.version_id.is_some();
        let named = named && !is_active(Mutant::SourceLookedAtFirst);
        let update = versioning.update_version_id;
        if !(update || named || pinned || filtered || (entry.unlisted && entry.etag.is_none())) {
            return Ok(Begin::Move(snapshot));
        }
        let Some(head) = self.source.look(false).await? else { return Ok(Begin::Over) };
        // The event is about an older version. The event of the newer one is pending or was already processed.
        if pinned && head.version_id.is_some() && head.version_id != entry.version_id {
            return Ok(Begin::Over);
        }
        if filtered && !filter.keeps(head.size, head.modified, head.attributes.storage_class.as_deref()) {
            return Ok(Begin::Over);
        }
        Ok(Begin::Move(SourceSnapshot { size: head.size, etag: head.etag, version_id: head.version_id }))
    }

    /// Copies the object once by the method that fits. A distributed transfer releases its permit to the workers of its
    /// parts.
    async fn pass(
        &self,
        task: TransferTask<'_>,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
        permit: &mut Option<ObjectPermit>,
    ) -> Result<Delivery, TransferError> {
        let way = self.method(snapshot);
        if way != TransferMethod::Distributed && permit.is_none() {
            let class = self.limits.class_of(snapshot.size);
            *permit = self.limits.permits.expect(class).acquire().await;
        }
        let Moved { mut delivery, etag, guarded } = match way {
            TransferMethod::SinglePut => self.single_put(snapshot, condition).await?,
            TransferMethod::Multipart => self.multipart(snapshot, condition).await?,
            TransferMethod::Distributed => self.distributed(task, snapshot, condition, permit).await?,
            TransferMethod::CopyObject => self.copy_object(snapshot, condition).await?,
            TransferMethod::CopyParts => self.copy_parts(snapshot, condition).await?,
        };
        // Services that honor the conditions of other writes may ignore those of a copy.
        self.look_again(snapshot, &etag, guarded && way != TransferMethod::CopyObject).await?;
        let read = delivery.source.etag.as_ref().or(snapshot.etag.as_ref());
        let lost = self.missing(snapshot, read, &delivery.losses).await?;
        delivery.losses.add(&lost);
        delivery.copied = true;
        if delivery.source.etag.is_none() {
            delivery.source.etag.clone_from(&snapshot.etag);
        }
        delivery.destination.etag = Some(etag);
        Ok(delivery)
    }

    /// Reads the sides again after a write: the source if versions are checked again, and both if the destination's
    /// service is not known to honor the condition or if the condition could not be sent because the ETag is weak. A
    /// slow worker thus detects that it replaced a newer content with an older one.
    async fn look_again(&self, snapshot: &SourceSnapshot, written: &ETag, guarded: bool) -> Result<(), TransferError> {
        let versions = self.process.config.versioning.update_version_id && !is_active(Mutant::VersionNotCheckedAgain);
        if guarded && !versions {
            return Ok(());
        }
        if let Some(now) = self.source.look(false).await? {
            let version_changed = versions && now.version_id != snapshot.version_id;
            if version_changed || (snapshot.etag.is_some() && now.etag != snapshot.etag) || now.size != snapshot.size {
                return Err(TransferError::SourceChanged);
            }
        }
        if !guarded {
            let found = self.destination.look().await?;
            let is_written = |head: ObjectHead| match head.etag {
                Some(etag) => etag == *written,
                None => head.size == snapshot.size,
            };
            if !found.is_some_and(is_written) {
                return Err(TransferError::DestinationChanged(None));
            }
        }
        Ok(())
    }

    fn method(&self, snapshot: &SourceSnapshot) -> TransferMethod {
        let config = &self.process.config;
        let server_side = is_server_side(&config.transfer, &config.source, &config.destination);
        method(snapshot.size, &config.transfer, server_side)
    }

    /// Reads the destination before a write.
    async fn look_before_write(&self, snapshot: &SourceSnapshot) -> Result<Option<ObjectHead>, TransferError> {
        let absence = match self.method(snapshot) {
            TransferMethod::SinglePut => Some(Ability::PutIfNoneMatch),
            TransferMethod::Multipart | TransferMethod::Distributed | TransferMethod::CopyParts => {
                Some(Ability::CompleteIfNoneMatch)
            }
            TransferMethod::CopyObject => None,
        };
        self.destination.look_before_write(absence).await
    }
}

fn done(snapshot: &SourceSnapshot, found: Option<&ObjectHead>) -> EntryOutcome {
    EntryOutcome::Done(Delivery {
        bytes: snapshot.size,
        version_id: snapshot.version_id.clone(),
        source: Fingerprint::of(snapshot.etag.clone()),
        destination: Fingerprint::of(found.and_then(|found| found.etag.clone())),
        ..Delivery::default()
    })
}

/// Returns true if the destination holds what the last write was to produce, so that only its response was lost.
fn is_meant(last: &TransferError, found: Option<&ObjectHead>, size: u64) -> bool {
    let TransferError::DestinationChanged(Some(meant)) = last else { return false };
    found.is_some_and(|head| head.size == size && head.etag.as_ref() == Some(meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    #[test]
    fn only_the_lost_answer_of_ones_own_write_is_recognised() {
        let head = ObjectHead { size: 1, etag: Some(ETag::new(A)), ..ObjectHead::default() };
        let meant = |etag: &str| TransferError::DestinationChanged(Some(ETag::new(etag)));
        assert!(is_meant(&meant(A), Some(&head), 1));
        for (error, found, size) in [
            (meant(B), Some(&head), 1),
            (meant(A), Some(&head), 2),
            (meant(A), None, 1),
            (TransferError::DestinationChanged(None), Some(&head), 1),
            (TransferError::SourceChanged, Some(&head), 1),
        ] {
            assert!(!is_meant(&error, found, size), "{error:?} {found:?}");
        }
    }
}
