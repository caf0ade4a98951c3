//! Passes over one object until it is verified at the destination, or until it is clear that it won't be.

use std::sync::atomic::Ordering;

use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::message::Entry;
use migration_core::mutants::{Mutant, is_active};
use migration_core::outcome::{Delivery, EntryOutcome, Fingerprint};
use migration_core::plan::{TransferMethod, is_server_side, method};
use migration_core::ports::{HeadRequest, ObjectHead, WriteCondition};
use migration_core::records::{Ability, Support};
use migration_core::resume;

use super::{SourceSnapshot, Transfer, TransferError, TransferTask};
use crate::Services;
use crate::admission::ObjectPermit;

/// How often an object is looked at anew within one delivery, because it changed at either side under way.
const LOOKS: u32 = 5;

/// An object that was moved.
#[derive(Debug)]
pub(super) struct Moved {
    /// What came of it.
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

impl SourceSnapshot {
    /// What a message asks for.
    fn of(entry: &Entry) -> Self {
        Self { size: entry.size, etag: entry.etag.clone(), version_id: entry.version_id.clone() }
    }
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
                TransferError::DestinationChanged(_) => self.look_at_destination().await?,
                _ => self.look_before_write(&snapshot).await?,
            };
            let Some(now) = self.look_at_source(false).await? else { return Ok(EntryOutcome::Gone) };
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
        let record = if is_whole && !earlier { None } else { self.upload_record().await? };
        let expected = record.as_ref().and_then(|record| record.expected.as_ref());
        let with_checksum = match expected.and_then(|expected| expected.checksum) {
            Some(_) => match self.look_at_destination_for(true).await {
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
            self.has_upload.store(true, Ordering::Relaxed);
        }
        Ok(is_done.then(|| done(snapshot, Some(&found))))
    }

    /// What is wanted at first: what the message says, or the newest where it does not say enough, where versions are to
    /// be read before the copy, or where the version that the message names is read by its name: that succeeds when there
    /// is a newer one too. An event does not say all that filters ask for: there the object is looked at.
    async fn begin_with(&self, task: TransferTask<'_>) -> Result<Begin, TransferError> {
        let (entry, filter) = (task.entry, &self.process.config.filter);
        let filtered = task.batch.id.is_of_event() && !filter.is_default();
        let snapshot = SourceSnapshot::of(entry);
        let pinned = entry.unlisted && entry.version_id.is_some();
        let versioning = self.process.config.versioning;
        let named = versioning.get_object_with_version_id && entry.version_id.is_some();
        let named = named && !is_active(Mutant::SourceLookedAtFirst);
        let update = versioning.update_version_id;
        if !(update || named || pinned || filtered || (entry.unlisted && entry.etag.is_none())) {
            return Ok(Begin::Move(snapshot));
        }
        let Some(head) = self.look_at_source(false).await? else { return Ok(Begin::Over) };
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
            TransferMethod::SinglePut => self.small(snapshot, condition).await?,
            TransferMethod::Multipart => self.large(snapshot, condition).await?,
            TransferMethod::Distributed => self.huge(task, snapshot, condition, permit).await?,
            TransferMethod::CopyObject => self.copy_whole(snapshot, condition).await?,
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
        if let Some(now) = self.look_at_source(false).await? {
            let version_changed = versions && now.version_id != snapshot.version_id;
            if version_changed || (snapshot.etag.is_some() && now.etag != snapshot.etag) || now.size != snapshot.size {
                return Err(TransferError::SourceChanged);
            }
        }
        if !guarded {
            let found = self.look_at_destination().await?;
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

    /// Looks at the source after it was read without a condition, since its ETag is a weak one: what was read is the
    /// content that is wanted where that is still there. Before anything becomes visible at the destination.
    pub(super) async fn look_after_weak_read(&self, etag: Option<&ETag>, size: u64) -> Result<(), TransferError> {
        let Some(etag) = etag.filter(|etag| etag.is_weak()) else { return Ok(()) };
        let now = self.look_at_source(false).await?.ok_or(TransferError::Gone)?;
        let same = now.etag.as_ref() == Some(etag) && now.size == size;
        if same { Ok(()) } else { Err(TransferError::SourceChanged) }
    }

    fn method(&self, snapshot: &SourceSnapshot) -> TransferMethod {
        let config = &self.process.config;
        let server_side = is_server_side(&config.transfer, &config.source, &config.destination);
        method(snapshot.size, &config.transfer, server_side)
    }

    /// What the destination has; none only by its service's own words.
    pub(super) async fn look_at_destination(&self) -> Result<Option<ObjectHead>, TransferError> {
        self.look_at_destination_for(false).await
    }

    /// The same, with the checksum of the whole object where that is asked for and the service keeps one.
    async fn look_at_destination_for(&self, checksum: bool) -> Result<Option<ObjectHead>, TransferError> {
        let (bucket, key) = (&self.pair.destination_bucket, &self.destination_key);
        let request = HeadRequest { checksum, ..HeadRequest::new(bucket, key) };
        Ok(self.process.look_at_destination(request).await?)
    }

    /// The same before a write. That there is nothing need not be proven where the write asks for it itself.
    async fn look_before_write(&self, snapshot: &SourceSnapshot) -> Result<Option<ObjectHead>, TransferError> {
        let ability = match self.method(snapshot) {
            TransferMethod::SinglePut => Some(Ability::PutIfNoneMatch),
            TransferMethod::Multipart | TransferMethod::Distributed | TransferMethod::CopyParts => {
                Some(Ability::CompleteIfNoneMatch)
            }
            TransferMethod::CopyObject => None,
        };
        let bucket = &self.pair.destination_bucket;
        let support = match ability {
            Some(ability) => self.process.support(bucket, ability).await?,
            None => Support::No,
        };
        if support != Support::Yes {
            return self.look_at_destination().await;
        }
        let request = HeadRequest::new(&self.pair.destination_bucket, &self.destination_key);
        Ok(self.process.guess_destination(request).await?)
    }

    /// What the source has; none only by its service's own words.
    pub(super) async fn look_at_source(&self, checksum: bool) -> Result<Option<ObjectHead>, TransferError> {
        let request = HeadRequest { checksum, ..HeadRequest::new(&self.pair.source_bucket, self.key) };
        Ok(self.process.look_at_source(request).await?)
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

/// What the scan saw at the destination.
#[derive(Clone, Debug)]
enum Listed {
    /// Nobody looked.
    Unknown,
    /// Nothing.
    Absent,
    /// An object, perhaps with an ETag.
    There(Option<ETag>),
}

impl Listed {
    fn of(entry: &Entry) -> Self {
        match &entry.destination {
            _ if entry.unlisted => Self::Unknown,
            None => Self::Absent,
            Some(state) => Self::There(state.etag.clone()),
        }
    }

    fn condition(&self) -> WriteCondition {
        match self {
            Self::Absent => WriteCondition::Absent,
            Self::There(Some(etag)) => WriteCondition::Matches(etag.clone()),
            Self::There(None) | Self::Unknown => WriteCondition::Any,
        }
    }

    /// Whether the destination is not what was listed. An ETag of another form shows nothing: who writes it may have
    /// changed, and not the object.
    fn differs_from(&self, found: &ObjectHead) -> bool {
        match (self, &found.etag) {
            (Self::Unknown, _) | (_, None) => false,
            (Self::Absent, Some(_)) => true,
            (Self::There(listed), Some(found)) => {
                listed.as_ref().is_some_and(|listed| listed != found && form_of(listed) == form_of(found))
            }
        }
    }
}

/// Whether an ETag is weak, and whether it has the form of a digest.
fn form_of(etag: &ETag) -> (bool, bool) {
    (etag.is_weak(), etag.md5().is_some() || etag.parts().is_some())
}

/// What to ask of the destination after having looked at it.
fn condition_of(found: Option<&ObjectHead>) -> WriteCondition {
    match found.map(|head| head.etag.clone()) {
        None => WriteCondition::Absent,
        Some(Some(etag)) => WriteCondition::Matches(etag),
        Some(None) => WriteCondition::Any,
    }
}

/// Whether a write asks for a content by a weak ETag, which no service can be asked for.
pub(super) fn asks_weakly(condition: &WriteCondition) -> bool {
    matches!(condition, WriteCondition::Matches(etag) if etag.is_weak())
}

/// Whether the destination is as a write wants it.
pub(super) fn condition_holds(condition: &WriteCondition, found: Option<&ObjectHead>) -> bool {
    match condition {
        WriteCondition::Any => true,
        WriteCondition::Absent => found.is_none(),
        WriteCondition::Matches(etag) => found.is_some_and(|head| head.etag.as_ref() == Some(etag)),
    }
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
    fn a_destination_that_is_not_what_was_listed_has_changed() {
        let head = |etag: &str| ObjectHead { size: 1, etag: Some(ETag::new(etag)), ..ObjectHead::default() };
        let there = |etag: &str| Listed::There(Some(ETag::new(etag)));
        for (listed, found, expected) in [
            (Listed::Unknown, head(A), false),
            (Listed::Absent, head(A), true),
            (there(A), head(A), false),
            (there(A), head(B), true),
            (there(A), head(&format!("{B}-2")), true),
            (there(A), head("0x8D4BCC2E4835CD0"), false),
            (there("0x8D4BCC2E4835CD0"), head("0x8D4BCC2E4835CD1"), true),
            (there("W/\"1\""), head("1"), false),
            (there("W/\"1\""), head("W/\"2\""), true),
            (Listed::There(None), head(B), false),
            (there(A), ObjectHead::default(), false),
        ] {
            assert_eq!(listed.differs_from(&found), expected, "{listed:?} {found:?}");
        }
    }

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
