//! Completion: from the destination's own list of parts, which is the single point of truth, and checked from several
//! sides before and after.

use migration_core::etag::ETag;
use migration_core::integrity;
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::ListedPart;
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, Checksum, CompletedPart, Support, WriteCondition, Written};
use migration_core::records::UploadRecord;
use migration_core::resume::{Evidence, Incomplete, complete_parts, composite};
use tracing::warn;

use super::Transfer;
use super::attempt::Moved;
use super::destination::Landed;
use super::error::TransferError;
use super::upload::Upload;
use crate::Services;
use crate::WriteOutcome;
use crate::hash::crc64;
use crate::uploads;

/// How often the parts of an upload are listed before it is given up because some are always wrong.
const LISTS: u32 = 3;

/// An object that was completed.
#[derive(Clone, Debug)]
pub(super) struct Completed {
    /// Its ETag.
    pub(super) etag: ETag,
    /// The checksum of the bytes of all parts, where it is known.
    sent: Option<Checksum>,
    /// The checksum that the destination says.
    said: Option<Checksum>,
    /// Whether the service is known to keep the condition that was asked for.
    guarded: bool,
    /// Revision of the upload's record.
    revision: u64,
}

impl Completed {
    /// What came of an object that was moved so.
    pub(super) fn moved<P: Services>(self, upload: Upload<'_, P>) -> Moved {
        let source = upload.source;
        let delivery = Delivery {
            bytes: upload.layout.size,
            version_id: source.version_id,
            losses: upload.record.losses,
            source: Fingerprint { etag: Some(source.etag), checksum: self.sent },
            destination: Fingerprint { etag: None, checksum: self.said },
            upload: Some(self.revision),
            ..Delivery::default()
        };
        Moved { delivery, etag: self.etag, guarded: self.guarded }
    }
}

impl<P: Services> Upload<'_, P> {
    /// Completes an upload. What the object has to show then is recorded before it is asked for, so that whoever comes
    /// after a death in between can tell whether what stands at the destination is this object.
    pub(super) async fn complete(&self, condition: &WriteCondition) -> Result<Completed, TransferError> {
        let Transfer { process, source, destination, records, .. } = self.transfer;
        let parts = self.proven_list().await?;
        self.require_one_kind_of_etags().await?;
        let expected = self.expected_of(&parts).await?;
        source.look_after_weak_read(Some(&self.source.etag), self.layout.size).await?;
        self.compare_with_source(expected.checksum).await?;
        if self.contested {
            uploads::abort_unrecorded(process, &self.record, &self.id).await?;
        }
        let record = self.expect(&expected).await?;
        let Landed { written, guarded } =
            match destination.complete(&self.id, &parts, condition, expected.etag.as_ref()).await {
                Ok(landed) => landed,
                // An answer may have been lost, or another worker was faster: what is there tells.
                Err(TransferError::UploadGone) => return Err(TransferError::DestinationChanged(expected.etag)),
                Err(error) => return Err(error),
            };
        let wrong = match difference(&written, &expected) {
            Some(wrong) => Some(wrong),
            None => self.check_visible(&written).await?,
        };
        if let Some(wrong) = wrong {
            records.record_damage(&self.source, self.layout).await?;
            return Err(TransferError::Damaged(wrong));
        }
        if !self.record.is_first() || stood_before(condition, &written.etag) {
            // The object looks the same where this completion was answered and not done, or an earlier one late.
            destination.abort(&self.id).await?;
        }
        let revision = self.prove_right(record, &expected, &written).await?;
        records.set_open(false);
        Ok(Completed { etag: written.etag, sent: expected.checksum, said: written.checksum, guarded, revision })
    }

    /// The parts to complete, every one of them proved: those that the destination does not list as they have to be are
    /// sent again. One that is not listed then either is taken as it was answered: a completion that names a part which is
    /// not there is refused. Source: `CompleteMultipartUpload` in the S3 API reference, `InvalidPart`.
    async fn proven_list(&self) -> Result<Vec<CompletedPart>, TransferError> {
        let Transfer { source, destination, records, .. } = self.transfer;
        let (mut wrong, mut sent) = (0, Vec::new());
        for turn in 1..=LISTS {
            let listed = with_unlisted(destination.list_parts(&self.id, None).await?, &sent, &self.layout);
            let mut list = self.check_list(&listed);
            // Others may have sent them: of a huge object all.
            if turn == 1 && matches!(list, Err(Incomplete::Missing(_))) {
                self.verified.merge(records.verified_parts(&self.id).await?);
                list = self.check_list(&listed);
            }
            wrong = match list {
                Ok(parts) => return Ok(parts),
                Err(Incomplete::Foreign(number)) => {
                    wrong = number;
                    break;
                }
                Err(Incomplete::Missing(numbers)) => {
                    warn!(key = source.key, parts = numbers.len(), "parts are not listed as they were sent");
                    let first = numbers.first().copied().unwrap_or_default();
                    if turn < LISTS {
                        sent = self.send_parts(numbers.into_iter(), None).await?;
                    }
                    first
                }
            };
        }
        destination.abort(&self.id).await?;
        Err(TransferError::Damaged(format!("the destination's list of parts is wrong at part {wrong}")))
    }

    /// The destination's list of parts, held against what is known of them.
    fn check_list(&self, listed: &[ListedPart]) -> Result<Vec<CompletedPart>, Incomplete> {
        let (verified, source) = (self.verified.parts(), &self.record.source.etag);
        let evidence = Evidence { checksums_enforced: self.verified.enforced(), verified: &verified, source };
        complete_parts(&self.layout, listed, evidence)
    }

    /// Gives an upload up some of whose parts have ETags that are MD5s, and others ETags that only look so: one of these
    /// may be damaged, and how its service is to be understood is found out anew.
    async fn require_one_kind_of_etags(&self) -> Result<(), TransferError> {
        if !self.verified.is_contradictory() {
            return Ok(());
        }
        let destination = &self.transfer.destination;
        destination.learn(Ability::ContentMd5, Support::Unknown).await?;
        destination.abort(&self.id).await?;
        Err(TransferError::Damaged("some parts have ETags that are their MD5s, and others have not".to_owned()))
    }

    /// What the completed object has to show. Where ETags only look like digests, those of parts say nothing of its own.
    async fn expected_of(&self, parts: &[CompletedPart]) -> Result<Fingerprint, TransferError> {
        let are_digests = self.transfer.destination.support(Ability::ContentMd5).await? != Support::Yes;
        let etag = if are_digests { composite(parts.iter().map(|part| &part.etag)) } else { None };
        Ok(Fingerprint { etag, checksum: expected_checksum(&self.layout, parts) })
    }

    /// Records what the completed object has to show.
    async fn expect(&self, expected: &Fingerprint) -> Result<UploadRecord, TransferError> {
        let before = self.record.revision;
        let record = UploadRecord { revision: before + 1, expected: Some(expected.clone()), ..self.record.clone() };
        match self.transfer.records.write(&record, before).await? {
            WriteOutcome::Written => Ok(record),
            // Another worker completes it, or began anew.
            WriteOutcome::Lost => Err(TransferError::UploadGone),
        }
    }

    /// Records what the object shows, where that is not what was expected of it, or where it stood as damaged. Gives the
    /// record's revision.
    async fn prove_right(
        &self,
        record: UploadRecord,
        expected: &Fingerprint,
        written: &Written,
    ) -> Result<u64, TransferError> {
        let before = record.revision;
        let is_told = expected.checksum.is_some() || expected.etag.as_ref() == Some(&written.etag);
        if is_told && record.damaged.is_none() {
            return Ok(before);
        }
        let shown = Fingerprint { etag: Some(written.etag.clone()), checksum: expected.checksum };
        let record = UploadRecord { revision: before + 1, expected: Some(shown), damaged: None, ..record };
        self.transfer.records.write(&record, before).await?;
        Ok(record.revision)
    }

    /// Compares the checksum of the parts, as the destination has them, with the one that the source's service keeps of
    /// the whole object, before anything becomes visible.
    async fn compare_with_source(&self, expected: Option<Checksum>) -> Result<(), TransferError> {
        let Transfer { process, source, destination, .. } = self.transfer;
        let (true, Some(ours)) = (process.config.transfer.compare_checksums, expected) else { return Ok(()) };
        let Some(head) = source.look(true).await? else { return Ok(()) };
        let is_other = head.etag.as_ref() != Some(&self.source.etag);
        // This look finds most of what these defects let through.
        let unlooked = is_active(Mutant::NoIfMatchAtSource) || is_active(Mutant::AnswersETagIgnored);
        match head.checksum {
            // What was read can't be compared any more, and is not what is wanted.
            Some(_) if is_other && self.source.version_id.is_none() && !unlooked => Err(TransferError::SourceChanged),
            Some(theirs) if !is_other && theirs != ours => {
                destination.abort(&self.id).await?;
                Err(TransferError::Damaged("the checksum of the parts is not the one that the source keeps".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Looks at what became visible and says what is wrong with it: its size is the source's, or somebody else has written
    /// meanwhile.
    async fn check_visible(&self, written: &Written) -> Result<Option<String>, TransferError> {
        let found = self.transfer.destination.look().await?;
        let Some(found) = found.filter(|found| found.etag.as_ref() == Some(&written.etag)) else {
            return Err(TransferError::DestinationChanged(None));
        };
        self.transfer.written.shows(&found);
        let (has, of) = (found.size, self.layout.size);
        Ok((has != of).then(|| format!("the destination has {has} bytes of {of}")))
    }
}

/// Whether the object may have had this ETag before it was written.
fn stood_before(condition: &WriteCondition, etag: &ETag) -> bool {
    match condition {
        WriteCondition::Absent => false,
        WriteCondition::Matches(before) => before == etag,
        WriteCondition::Any => true,
    }
}

/// A list of parts, and those that were sent since the one before and that it leaves out.
fn with_unlisted(mut listed: Vec<ListedPart>, sent: &[CompletedPart], layout: &PartLayout) -> Vec<ListedPart> {
    for CompletedPart { number, etag, checksum } in sent.iter().cloned() {
        if let Some(part) = layout.part(number)
            && listed.iter().all(|listed| listed.number != number)
        {
            listed.push(ListedPart { number, size: part.len, etag, checksum });
        }
    }
    listed
}

/// What of the answer to a completion says that the object is not what its parts give.
fn difference(written: &Written, expected: &Fingerprint) -> Option<String> {
    if let Some(etag) = &expected.etag
        && integrity::contradicts_parts(written, etag)
    {
        return Some(format!(
            "the destination has ETag {} and its parts give {}",
            written.etag.as_str(),
            etag.as_str()
        ));
    }
    match (written.checksum, expected.checksum) {
        (Some(said), Some(ours)) if said != ours => {
            Some("the destination's checksum is not that of its parts".to_owned())
        }
        _ => None,
    }
}

/// The checksum of the whole object, where all parts have theirs.
fn expected_checksum(layout: &PartLayout, parts: &[CompletedPart]) -> Option<Checksum> {
    let mut whole = crc64::of(b"");
    for part in parts {
        let len = layout.part(part.number)?.len;
        whole = crc64::combine(whole, part.checksum?.0, len);
    }
    Some(Checksum(whole))
}
