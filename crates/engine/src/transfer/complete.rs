//! Completes uploads from the destination's own list of parts, which is the single source of truth, and verifies the
//! object before and after.

use migration_core::etag::ETag;
use migration_core::integrity;
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::ListedPart;
use migration_core::outcome::{Delivery, Fingerprint};
use migration_core::part::PartLayout;
use migration_core::ports::{Ability, Checksum, CompletedPart, Support, WriteCondition, Written};
use migration_core::records::UploadRecord;
use migration_core::resume::{Evidence, Incomplete, complete_parts, composite};
use migration_core::verified::VerifiedParts;
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

/// Maximum number of times the parts are listed. If some are wrong each time, the upload is given up.
const LISTS: u32 = 3;

/// The result of a completion.
#[derive(Clone, Debug)]
pub(super) struct Completed {
    /// ETag at the destination.
    pub(super) etag: ETag,
    /// Checksum over the bytes of all parts, if known.
    sent: Option<Checksum>,
    /// Checksum returned by the destination.
    said: Option<Checksum>,
    /// True if the service is known to honor the condition of the write.
    guarded: bool,
    /// Revision of the upload's record in the ledger.
    revision: u64,
}

impl Completed {
    /// Converts the completion into the result of the transfer.
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
    /// Completes an upload. The expected ETag and checksum are recorded before the request, so that after a crash in
    /// between another worker can tell whether the object at the destination is this one.
    pub(super) async fn complete(&self, condition: &WriteCondition) -> Result<Completed, TransferError> {
        let Transfer { process, source, destination, records, .. } = self.transfer;
        let parts = self.proven_list().await?;
        self.require_one_kind_of_etags().await?;
        let expected = self.expected_of(&parts).await?;
        source.look_after_weak_read(Some(&self.source.etag), self.layout.size).await?;
        self.compare_with_source(self.read_checksum(&parts).await?).await?;
        if self.contested {
            uploads::abort_unrecorded(process, &self.record, &self.id).await?;
        }
        let record = self.expect(&expected).await?;
        let Landed { written, guarded } =
            match destination.complete(&self.id, &parts, condition, expected.etag.as_ref()).await {
                Ok(landed) => landed,
                // A response was lost, or another worker was first. The next round reads the destination.
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
        if !self.is_first || stood_before(condition, &written.etag) {
            // The object looks the same if this completion was acknowledged but not performed, or if an earlier one
            // took effect late.
            destination.abort(&self.id).await?;
        }
        let revision = self.prove_right(record, &expected, &written).await?;
        records.set_open(false);
        Ok(Completed { etag: written.etag, sent: expected.checksum, said: written.checksum, guarded, revision })
    }

    /// Returns the parts to complete, all of them verified. Parts that the destination does not list as expected are
    /// sent again. A part that is missing from the next list too is taken from the response to its request: a
    /// completion that names a missing part is rejected. Source: `CompleteMultipartUpload` in the S3 API reference,
    /// `InvalidPart`.
    async fn proven_list(&self) -> Result<Vec<CompletedPart>, TransferError> {
        let Transfer { source, destination, records, .. } = self.transfer;
        let (mut wrong, mut sent) = (0, Vec::new());
        for turn in 1..=LISTS {
            let listed = with_unlisted(destination.list_parts(&self.id, None).await?, &sent, &self.layout);
            let mut list = self.check_list(&listed);
            // Other workers may have sent them; in a distributed transfer, they sent all.
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

    /// Checks the destination's list of parts against the verified ones.
    fn check_list(&self, listed: &[ListedPart]) -> Result<Vec<CompletedPart>, Incomplete> {
        let (verified, source) = (self.verified.parts(), &self.record.source.etag);
        let evidence = Evidence { checksums_enforced: self.verified.enforced(), verified: &verified, source };
        complete_parts(&self.layout, listed, evidence)
    }

    /// Aborts the upload if parts that any worker sent have ETags that only look like MD5s, and others of the upload or
    /// of the bucket have ETags that are MD5s: one of the former may be damaged. Whether the service's ETags are MD5s is
    /// then determined again.
    async fn require_one_kind_of_etags(&self) -> Result<(), TransferError> {
        let (kinds, destination) = (self.verified.kinds(), &self.transfer.destination);
        if !kinds.others {
            return Ok(());
        }
        // Another worker may have seen ETags that are MD5s since this one read the bucket's record.
        let known = self.transfer.process.support_now(destination.bucket, Ability::ContentMd5).await?;
        if !kinds.digests && known == Support::Yes {
            return Ok(());
        }
        destination.learn(Ability::ContentMd5, Support::Unknown).await?;
        destination.abort(&self.id).await?;
        Err(TransferError::Damaged("some parts have ETags that are MD5s, and others do not".to_owned()))
    }

    /// Returns the ETag and checksum that the completed object must have. If ETags only look like MD5s, the parts'
    /// ETags do not determine the object's.
    async fn expected_of(&self, parts: &[CompletedPart]) -> Result<Fingerprint, TransferError> {
        let are_digests = self.transfer.destination.support(Ability::ContentMd5).await? != Support::Yes;
        let etag = if are_digests { composite(parts.iter().map(|part| &part.etag)) } else { None };
        Ok(Fingerprint { etag, checksum: whole_checksum(&self.layout, parts, |part| part.checksum) })
    }

    /// Records the ETag and checksum that the completed object must have.
    async fn expect(&self, expected: &Fingerprint) -> Result<UploadRecord, TransferError> {
        let before = self.record.revision;
        let record = UploadRecord { revision: before + 1, expected: Some(expected.clone()), ..self.record.clone() };
        match self.transfer.records.write(&record, before).await? {
            WriteOutcome::Written => Ok(record),
            // Another worker is completing the upload, or has replaced it.
            WriteOutcome::Lost => Err(TransferError::UploadGone),
        }
    }

    /// Records the ETag of the object if it differs from the expected one or if the object was recorded as damaged.
    /// Returns the revision of the record.
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

    /// Returns the checksum of the bytes that were read for all parts, if it is known. For a part whose sender is not
    /// known to have read it, the destination's own checksum is taken. Aborts the upload if the destination lists a part
    /// with the checksum of other bytes than those that were read.
    async fn read_checksum(&self, parts: &[CompletedPart]) -> Result<Option<Checksum>, TransferError> {
        let verified = self.verified.parts();
        if let Some(part) = parts.iter().find(|part| is_other(part, &verified)) {
            self.transfer.destination.abort(&self.id).await?;
            let wrong = format!("the destination lists part {} with the checksum of other bytes", part.number);
            return Err(TransferError::Damaged(wrong));
        }
        let read = |part: &CompletedPart| verified.checksum_read(part.number, &part.etag).or(part.checksum);
        Ok(whole_checksum(&self.layout, parts, read))
    }

    /// Compares the checksum of what was read with the source's checksum of the whole object, before the object becomes
    /// visible. Each part was read by a request of its own, and a source that is replaced meanwhile, and takes no
    /// conditions, may have answered with bytes of different contents.
    async fn compare_with_source(&self, expected: Option<Checksum>) -> Result<(), TransferError> {
        let Transfer { process, source, destination, .. } = self.transfer;
        let (true, Some(ours)) = (process.config.transfer.compare_checksums, expected) else { return Ok(()) };
        let Some(head) = source.look(true).await? else { return Ok(()) };
        let is_other = head.etag.as_ref() != Some(&self.source.etag);
        // This request detects most effects of these mutants, so it is ignored for them.
        let unlooked = is_active(Mutant::NoIfMatchAtSource) || is_active(Mutant::AnswersETagIgnored);
        match head.checksum {
            // The content that was read can no longer be compared, and is no longer wanted.
            Some(_) if is_other && self.source.version_id.is_none() && !unlooked => Err(TransferError::SourceChanged),
            Some(theirs) if !is_other && theirs != ours => {
                destination.abort(&self.id).await?;
                Err(TransferError::Damaged(
                    "the checksum of the parts that were read is not the one that the source keeps".to_owned(),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Reads the visible object. Returns a description of the error if its size is not the source's, or fails if
    /// another client has written it since.
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

/// Returns true if the object may have had this ETag before the write.
fn stood_before(condition: &WriteCondition, etag: &ETag) -> bool {
    match condition {
        WriteCondition::Absent => false,
        WriteCondition::Matches(before) => before == etag,
        WriteCondition::Any => true,
    }
}

/// Adds to a list of parts those sent since the previous list that it does not contain.
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

/// Returns how the response to a completion contradicts the object's parts, or `None`.
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

/// Returns true if a part is listed with another checksum than that of the bytes that were read for it. Its ETag, which
/// may be no digest, does not show that.
fn is_other(part: &CompletedPart, verified: &VerifiedParts) -> bool {
    verified.checksum_read(part.number, &part.etag).zip(part.checksum).is_some_and(|(read, listed)| read != listed)
}

/// Returns the checksum of the whole object if all parts have one.
fn whole_checksum(
    layout: &PartLayout,
    parts: &[CompletedPart],
    checksum: impl Fn(&CompletedPart) -> Option<Checksum>,
) -> Option<Checksum> {
    let mut whole = crc64::of(b"");
    for part in parts {
        let len = layout.part(part.number)?.len;
        whole = crc64::combine(whole, checksum(part)?.0, len);
    }
    Some(Checksum(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_checksum_of_other_bytes_is_seen_though_the_etag_is_that_of_the_part() {
        let mut verified = VerifiedParts::default();
        verified.insert(1, &ETag::new("opaque"), Some(Checksum(7)));
        verified.insert(2, &ETag::new("opaque"), None);
        for (number, etag, checksum, other) in [
            (1, "opaque", Some(7), false),
            (1, "opaque", Some(8), true),
            // The destination keeps no checksums; the part is another one; nobody knows what was read.
            (1, "opaque", None, false),
            (1, "another", Some(8), false),
            (2, "opaque", Some(8), false),
            (3, "opaque", Some(8), false),
        ] {
            let part = CompletedPart { number, etag: ETag::new(etag), checksum: checksum.map(Checksum) };
            assert_eq!(is_other(&part, &verified), other, "{part:?}");
        }
    }
}
