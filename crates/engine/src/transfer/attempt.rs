//! Passes over one object until it is verified at the destination, or until it is clear that it won't be.

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

/// How often an object is looked at anew within one delivery, because it changed at either side under way.
const LOOKS: u32 = 5;

/// An object that was moved.
#[derive(Debug)]
pub(super) struct Moved {
    /// The outcome.
    pub(super) delivery: Delivery,
    /// Its ETag at the destination.
    pub(super) etag: ETag,
    /// Whether the service is known to keep the condition that it was written under.
    pub(super) guarded: bool,
}

/// What is wanted of the source at first.
enum Begin {
    Move(SourceSnapshot),
    /// It is gone, the filters hide it, or another event will bring a newer version of it.
    Over,
}

impl<P: Services> Transfer<'_, P> {
    /// Passes over the object until it is verified at the destination; each pass that met a change looks again at both
    /// sides, the destination first: what is then read from the source is not older than what is replaced.
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
        // For a large object the look costs nothing beside its parts, and saves them all where a duplicate of the
        // message, or one of a killed sender, was faster.
        let named = SourceSnapshot::of(entry);
        let look = task.redelivered || entry.unlisted || self.method(&named) != TransferMethod::SinglePut;
        let found = if look { Some(self.look_before_write(&named).await?) } else { None };
        // Behind the destination, as in all passes: a version that is read by its name is there long after a newer one
        // was copied, and the condition would let the older one replace it.
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
            // That there was nothing may have been a guess, which the refusal of the write contradicts.
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
            // What was listed says nothing of a content that came after the listing.
            let listed = if now.etag == entry.etag { listed.clone() } else { Listed::Unknown };
            if let Some(done) = self.already_done(task, &now, found.as_ref(), &listed).await? {
                return Ok(done);
            }
            condition = condition_of(found.as_ref());
            snapshot = now;
        }
        Err(last)
    }

    /// The object's end, where what stands at the destination proves that it was moved: see [`resume::is_done`]. What went
    /// in parts is proved by what its completion was to give, which the ledger has; the size proves something of a
    /// redelivered object only that went in one request, with Content-MD5.
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
        let record = if is_whole && !earlier { None } else { self.records.read().await? };
        let expected = record.as_ref().and_then(|record| record.expected.as_ref());
        let with_checksum = match expected.and_then(|expected| expected.checksum) {
            Some(_) => match self.destination.look_with_checksum().await {
                // What is in front of the service does not know HEAD, for now: its ETag has to do.
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
            // The upload may be open all the same, and the record goes with the message.
            self.records.set_open(true);
        }
        Ok(is_done.then(|| done(snapshot, Some(&found))))
    }

    /// What is wanted at first: what the message says, or the newest where it does not say enough, where versions are to
    /// be read before the copy, or where the version that the message names is read by its name: that succeeds when there
    /// is a newer one too. An event does not say all that filters ask for: there the object is looked at.
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
        // An event of an older version: the newer one's own event is on its way, or was here.
        if pinned && head.version_id.is_some() && head.version_id != entry.version_id {
            return Ok(Begin::Over);
        }
        if filtered && !filter.keeps(head.size, head.modified, head.attributes.storage_class.as_deref()) {
            return Ok(Begin::Over);
        }
        Ok(Begin::Move(SourceSnapshot { size: head.size, etag: head.etag, version_id: head.version_id }))
    }

    /// One pass, by the way that fits. A huge object gives its room to those who move its parts.
    async fn pass(
        &self,
        task: TransferTask<'_>,
        snapshot: &SourceSnapshot,
        condition: &WriteCondition,
        permit: &mut Option<ObjectPermit>,
    ) -> Result<Delivery, TransferError> {
        let way = self.method(snapshot);
        if way != TransferMethod::Distributed && permit.is_none() {
            *permit = self.limits.permits.expect().acquire().await;
        }
        let Moved { mut delivery, etag, guarded } = match way {
            TransferMethod::SinglePut => self.single_put(snapshot, condition).await?,
            TransferMethod::Multipart => self.multipart(snapshot, condition).await?,
            TransferMethod::Distributed => self.distributed(task, snapshot, condition, permit).await?,
            TransferMethod::CopyObject => self.copy_object(snapshot, condition).await?,
            TransferMethod::CopyParts => self.copy_parts(snapshot, condition).await?,
        };
        // Services that keep conditions of other writes may ignore those of a copy.
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

    /// Looks at both sides after a write: at the source where versions are checked again, and at both where the
    /// destination's service is not known to keep the condition, or weak ETags can't be asked for, so that a slow worker
    /// finds out that it put an old content over a newer one.
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

    /// Looks at the destination before a write.
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

/// Whether what is at the destination is what the last pass meant to write: its own answer was lost.
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
