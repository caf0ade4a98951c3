//! The multipart upload of an object: carried on where the ledger and the destination agree, begun anew otherwise.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use migration_core::mutants::{Mutant, is_active};
use migration_core::object::{ListedPart, SourceIdentity};
use migration_core::operation::RequestInfo;
use migration_core::outcome::{Failure, FailureClass};
use migration_core::part::PartLayout;
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, ObjectStore, Operation};
use migration_core::records::{self, UploadRecord};
use migration_core::resume::{self, Evidence, UploadDecision};
use migration_core::verified::VerifiedParts;
use tracing::info;

use super::fetch::Opened;
use super::verified::Verified;
use super::{SourceSnapshot, Transfer, TransferError, transfer_error};
use crate::Services;
use crate::WriteOutcome;
use crate::uploads::abort;

/// How often an upload is looked for that another worker has announced.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// An upload that is open and ours.
pub(super) struct Upload {
    pub id: String,
    pub layout: PartLayout,
    /// The record, as it stands in the ledger.
    pub record: UploadRecord,
    /// Uploads that nothing names may be open beside this one.
    pub contested: bool,
    /// Parts that are already there, and proved to be the source's bytes.
    pub there: BTreeSet<u32>,
    /// What this worker knows of the parts that were verified.
    pub verified: Verified,
    /// The service copies the parts by itself.
    pub server_side: bool,
}

impl Upload {
    /// Those of the numbers whose parts are not there yet.
    pub(super) fn missing(&self, numbers: RangeInclusive<u32>) -> impl Iterator<Item = u32> + use<'_> {
        numbers.filter(|number| !self.there.contains(number))
    }
}

/// An upload to work on, and the first part's body where it came with what the upload was created from.
pub(super) type Begun = (Upload, Option<Opened>);

impl<P: Services> Transfer<'_, P> {
    /// The ledger's key of this object's upload.
    pub(super) fn upload_key(&self) -> LedgerKey {
        records::upload_key(&self.process.config.job.uid, &self.pair.destination_bucket, &self.destination_key)
    }

    /// The record of this object's upload, if there is one.
    pub(super) async fn upload_record(&self) -> Result<Option<UploadRecord>, TransferError> {
        let key = self.upload_key();
        let item = self.process.ledger(|| self.process.ports.ledger.get(&key)).await?;
        item.map(|item| item.read()).transpose().map_err(unreadable)
    }

    /// Gives an upload to work on.
    pub(super) async fn open(
        &self,
        snapshot: &SourceSnapshot,
        source: &SourceIdentity,
    ) -> Result<Begun, TransferError> {
        self.has_upload.store(true, Ordering::Relaxed);
        if is_active(Mutant::ForeignUploadAdopted)
            && let Some(upload) = self.adopt_any(snapshot, source).await?
        {
            return Ok((upload, None));
        }
        loop {
            let record = self.upload_record().await?;
            let longest = self.longest_part(snapshot.size);
            let decision =
                record.as_ref().map(|record| (record, resume::decide(record, source, snapshot.size, longest)));
            if let Some((record, UploadDecision::Adopt(layout))) = &decision
                && let Some(upload) = self.adopt(record, *layout).await?
            {
                return Ok((upload, None));
            }
            if let Some((record, UploadDecision::Replace | UploadDecision::Adopt(_))) = &decision {
                self.abort_recorded(record).await?;
            }
            if let Some((record, UploadDecision::Unfinished)) = &decision
                && record.wait_until > self.process.clock.now()
            {
                // Two workers that create at once leave uploads behind when one of them dies.
                self.process.pause(WAIT_FOR_OTHERS).await?;
                continue;
            }
            if let Some(begun) = self.begin(source, snapshot, record.as_ref()).await? {
                return Ok(begun);
            }
        }
    }

    /// Carries a recorded upload on. None where its parts are not what the record says.
    async fn adopt(&self, record: &UploadRecord, layout: PartLayout) -> Result<Option<Upload>, TransferError> {
        let Some(id) = &record.upload_id else { return Ok(None) };
        let listed = match self.list_parts(id, None).await {
            Ok(listed) => listed,
            Err(TransferError::UploadGone) => {
                self.announce_again(record).await?;
                return Err(TransferError::UploadGone);
            }
            Err(error) => return Err(error),
        };
        let verified = self.verified(record, 1..=layout.count());
        let Some(there) = self.proven(&layout, &listed, record, &verified).await? else { return Ok(None) };
        info!(key = self.key, parts = there.len(), listed = listed.len(), of = layout.count(), "carrying an upload on");
        Ok(Some(Upload {
            id: id.clone(),
            layout,
            record: record.clone(),
            // Who began it is dead, or has company: either may have left another one.
            contested: true,
            there,
            verified,
            server_side: false,
        }))
    }

    /// Makes the record of an upload that is gone an announcement, since others may have begun uploads that nothing names;
    /// it was completed, or aborted by someone: then both sides are looked at again.
    async fn announce_again(&self, record: &UploadRecord) -> Result<(), TransferError> {
        self.has_upload.store(true, Ordering::Relaxed);
        let announced = UploadRecord {
            upload_id: None,
            revision: record.revision + 1,
            wait_until: 0,
            contested: true,
            expected: None,
            ..record.clone()
        };
        self.record(&announced, record.revision).await.map(|_| ())
    }

    /// What is to be known of the parts `numbers` of an upload, none of which is sent yet.
    pub(super) fn verified(&self, record: &UploadRecord, numbers: RangeInclusive<u32>) -> Verified {
        // That another service takes checksums does not show that it refuses what they don't fit.
        Verified::new(numbers, record.checksum && self.process.writes_to_amazon())
    }

    /// Those of the listed parts that are proved to be the source's bytes; none where one does not fit the cut. The
    /// ledger is asked only where the list itself does not prove them all.
    pub(super) async fn proven(
        &self,
        layout: &PartLayout,
        listed: &[ListedPart],
        record: &UploadRecord,
        verified: &Verified,
    ) -> Result<Option<BTreeSet<u32>>, TransferError> {
        let prove = |parts: &VerifiedParts| {
            let source = &record.source.etag;
            let evidence = Evidence { checksums_enforced: verified.enforced(), verified: parts, source };
            resume::proven_parts(layout, listed, evidence)
        };
        let there = prove(&verified.parts());
        let Some(id) = record.upload_id.as_ref().filter(|_| there.as_ref().is_some_and(|t| t.len() < listed.len()))
        else {
            return Ok(there);
        };
        verified.merge(self.recorded_parts(id).await?);
        Ok(prove(&verified.parts()))
    }

    /// The longest part that may be sent, in bytes: where the service may want parts to be held, one that memory has room
    /// for, as long as the object can be cut into such.
    pub(super) fn longest_part(&self, size: u64) -> u64 {
        let settings = &self.process.config.transfer;
        let limit = settings.memory_limit.bytes();
        let fits = PartLayout::new(size, settings.part_size).is_ok_and(|layout| layout.longest() <= limit);
        if self.process.writes_to_amazon() || !fits { u64::MAX } else { limit }
    }

    /// The mutant that adopts whatever upload is open.
    async fn adopt_any(
        &self,
        snapshot: &SourceSnapshot,
        source: &SourceIdentity,
    ) -> Result<Option<Upload>, TransferError> {
        let (bucket, key) = (&self.pair.destination_bucket, &self.destination_key);
        let store = &self.process.ports.destination;
        let access = RequestInfo::object(Operation::ListUploads, bucket, key);
        let open = self.process.destination(access, || store.list_uploads(bucket, key)).await?;
        let Some(open) = open.into_iter().next() else { return Ok(None) };
        let Ok(layout) = PartLayout::new(snapshot.size, self.process.config.transfer.part_size) else {
            return Ok(None);
        };
        let there = self.list_parts(&open.upload_id, None).await?.into_iter().map(|part| part.number).collect();
        let announced = self.announcement(source, layout, None);
        let record = UploadRecord { revision: 0, upload_id: Some(open.upload_id.clone()), ..announced };
        let verified = self.verified(&record, 1..=layout.count());
        Ok(Some(Upload { id: open.upload_id, layout, record, contested: false, there, verified, server_side: false }))
    }

    async fn abort_recorded(&self, record: &UploadRecord) -> Result<(), TransferError> {
        if let Some(upload_id) = &record.upload_id {
            abort(self.process, self.upload_ref(upload_id)).await?;
        }
        Ok(())
    }

    /// Writes the record in place of the one with revision `before`; 0 = there is none.
    pub(super) async fn record(&self, record: &UploadRecord, before: u64) -> Result<WriteOutcome, TransferError> {
        let condition = if before == 0 { Condition::Absent } else { Condition::Revision(before) };
        Ok(self.process.replace(Item::of(self.upload_key(), record), condition, Vec::new()).await?)
    }

    /// The parts of an upload as the destination lists them: all, or up to a number after another.
    pub(super) async fn list_parts(
        &self,
        upload_id: &str,
        span: Option<(u32, u32)>,
    ) -> Result<Vec<ListedPart>, TransferError> {
        let upload = self.upload_ref(upload_id);
        let mut parts: Vec<ListedPart> = Vec::new();
        let mut after = span.map(|(first, _)| first - 1).filter(|after| *after > 0);
        loop {
            let access = RequestInfo::object(Operation::ListParts, upload.bucket, upload.key);
            let store = &self.process.ports.destination;
            let page = self.process.destination(access, || store.list_parts(upload, after)).await;
            let page = page.map_err(|error| transfer_error(error, || TransferError::UploadGone))?;
            parts.extend(page.parts);
            after = page.next;
            let enough = span.is_some_and(|(_, last)| parts.last().is_some_and(|part| part.number >= last));
            if after.is_none() || enough {
                parts.retain(|part| span.is_none_or(|(first, last)| (first..=last).contains(&part.number)));
                return Ok(parts);
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a map_err function")]
fn unreadable(error: records::RecordError) -> TransferError {
    TransferError::Failed(Failure::new(FailureClass::Refused, error.to_string()))
}
