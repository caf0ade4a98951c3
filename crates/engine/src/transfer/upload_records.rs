//! Reads and writes the ledger's records of an object's uploads: the upload itself, its verified parts, and the
//! outcomes of the ranges of a distributed object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use migration_core::object::{ListedPart, SourceIdentity};
use migration_core::outcome::NotPreserved;
use migration_core::part::PartLayout;
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, UploadRef, Write};
use migration_core::records::{
    self, Damage, PartRangeOutcome, PartRangeRecord, RETENTION_MS, UploadRecord, VerifiedPartsRecord,
};
use migration_core::resume::{Evidence, proven_parts};
use migration_core::verified::{ETagKinds, EncodedParts, VerifiedParts};
use migration_ledger::{Pager, Readable};
use tracing::warn;

use super::error::TransferError;
use super::verified::Verified;
use crate::uploads::{self, abort};
use crate::{Interruption, Process, Services, WriteOutcome};

/// Records of one destination object's uploads.
pub(super) struct UploadRecords<'a, P: Services> {
    process: &'a Process<P>,
    /// Bucket of the destination object; its key follows.
    bucket: &'a str,
    key: &'a str,
    /// True if this transfer opened an upload that is not completed, or recorded that the object may be damaged.
    has_open: AtomicBool,
}

impl<'a, P: Services> UploadRecords<'a, P> {
    pub(super) fn new(process: &'a Process<P>, (bucket, key): (&'a str, &'a str)) -> Self {
        Self { process, bucket, key, has_open: AtomicBool::default() }
    }

    /// Sets whether an upload opened by this transfer may be open, or the object damaged by it.
    pub(super) fn set_open(&self, is_open: bool) {
        self.has_open.store(is_open, Ordering::Relaxed);
    }

    /// Returns true if an upload opened by this transfer may be open, or the object damaged by it.
    pub(super) fn has_open(&self) -> bool {
        self.has_open.load(Ordering::Relaxed)
    }

    /// Returns the record of this object's upload, if there is one. An unreadable record fails the object: continuing
    /// without it would leave its upload open, or a damaged object in place.
    pub(super) async fn read(&self) -> Result<Option<UploadRecord>, TransferError> {
        Ok(migration_ledger::get(self.process, &self.upload_key()).await?)
    }

    /// Replaces the record that has revision `before`; 0 means that there is none.
    pub(super) async fn write(&self, record: &UploadRecord, before: u64) -> Result<WriteOutcome, TransferError> {
        let condition = if before == 0 { Condition::Absent } else { Condition::Revision(before) };
        Ok(self.process.replace(Item::of(self.upload_key(), record), condition, Vec::new()).await?)
    }

    /// Returns the record that announces an upload, to replace the current record `stands`, with its revision.
    pub(super) fn announcement(
        &self,
        source: &SourceIdentity,
        layout: PartLayout,
        stands: Option<&UploadRecord>,
    ) -> UploadRecord {
        let clock = &self.process.runtime.clock;
        let now = clock.now();
        let unfinished = stands.filter(|record| record.is_announcement());
        UploadRecord {
            revision: UploadRecord::revision_after(stands, clock.random()),
            destination_bucket: self.bucket.to_owned(),
            destination_key: self.key.to_owned(),
            source: source.clone(),
            layout,
            // A new name per announcement, because two tasks of one process may write at the same time and each must
            // recognize its own.
            by: self.process.next_name(),
            // The upload of an earlier announcement may still have to be found; this announcement covers it.
            intended: unfinished.map_or(now, |before| before.intended),
            wait_until: now + records::ANNOUNCED_MS,
            checksum: false,
            contested: unfinished.is_some(),
            losses: NotPreserved::default(),
            expected: None,
            // Kept until this upload is completed and verified.
            damaged: stands.and_then(|record| record.damaged).map(|_| Damage::Upload),
            upload_id: None,
        }
    }

    /// Records a created upload in place of its announcement. Returns false if another worker was first; the upload is
    /// then aborted. `before` is an announcement that may have left another upload, by a request whose response was
    /// lost or by a worker that was killed before it could record the upload. That upload is looked for while the
    /// announcement is still recorded, so that it can be found after a crash.
    pub(super) async fn bind(
        &self,
        id: &str,
        record: &UploadRecord,
        before: Option<&UploadRecord>,
    ) -> Result<bool, TransferError> {
        let upload = UploadRef { bucket: self.bucket, key: self.key, upload_id: id };
        let recorded = async {
            if let Some(before) = before {
                uploads::abort_unrecorded(self.process, before, id).await?;
            }
            self.write(record, record.revision - 1).await
        };
        match recorded.await {
            Ok(WriteOutcome::Written) => Ok(true),
            Ok(WriteOutcome::Lost) => {
                abort(self.process, upload).await?;
                Ok(false)
            }
            Err(error) => {
                // The upload may be unrecorded. If the record was written nevertheless, the next reader finds that the
                // upload is gone. If the abort fails too, the announcement remains.
                let _ = abort(self.process, upload).await;
                Err(error)
            }
        }
    }

    /// Replaces the record of an upload that no longer exists by an announcement, since other workers may have created
    /// unrecorded uploads. The upload was completed, or aborted by another client; both sides are read again.
    pub(super) async fn announce_again(&self, record: &UploadRecord) -> Result<(), TransferError> {
        self.set_open(true);
        let announced = UploadRecord {
            upload_id: None,
            revision: record.revision + 1,
            wait_until: 0,
            contested: true,
            expected: None,
            ..record.clone()
        };
        self.write(&announced, record.revision).await.map(|_| ())
    }

    /// Reduces the record of an ended upload to the fact that the destination object is damaged, for the next transfer
    /// of the object.
    pub(super) async fn keep_damage(&self, record: &UploadRecord) -> Result<(), TransferError> {
        let kept = UploadRecord {
            revision: record.revision + 1,
            damaged: Some(Damage::Put),
            upload_id: None,
            expected: None,
            wait_until: 0,
            contested: false,
            ..record.clone()
        };
        self.write(&kept, record.revision).await?;
        self.set_open(false);
        Ok(())
    }

    /// Deletes the record of an ended upload. If this fails, the next reader finds that the upload is gone.
    pub(super) async fn forget(&self, revision: u64) -> Result<(), TransferError> {
        let condition = Condition::Revision(revision);
        self.process.write(&[Write::Delete { key: self.upload_key(), condition }]).await?;
        self.set_open(false);
        Ok(())
    }

    /// Records that the destination object is damaged, before the failure is reported. The next transfer writes the
    /// object again, whatever its ETag and size.
    pub(super) async fn record_damage(&self, source: &SourceIdentity, layout: PartLayout) -> Result<(), TransferError> {
        loop {
            let stands = self.read().await?;
            let before = stands.as_ref().map_or(0, |record| record.revision);
            let record = match stands {
                Some(stands) => {
                    let damaged = Some(stands.damaged.unwrap_or(Damage::Upload));
                    UploadRecord { revision: before + 1, damaged, ..stands }
                }
                None => UploadRecord {
                    wait_until: 0,
                    damaged: Some(Damage::Put),
                    ..self.announcement(source, layout, None)
                },
            };
            if self.write(&record, before).await? == WriteOutcome::Written {
                return Ok(());
            }
        }
    }

    /// Returns the write that records parts of an upload as verified: the number of the first, all of them, and the
    /// kinds of their ETags.
    pub(super) fn verified_write(
        &self,
        upload_id: &str,
        (first, encoded, kinds): (u32, EncodedParts, ETagKinds),
    ) -> Write {
        let EncodedParts { digests, checksums } = encoded;
        let record = VerifiedPartsRecord {
            upload_id: upload_id.to_owned(),
            first,
            digests,
            checksums,
            kinds,
            by: self.process.runtime.name.clone(),
            at: self.process.runtime.clock.now(),
        };
        let key = records::verified_key(&self.process.config.job.uid, self.bucket, self.key, upload_id, first);
        records::verified_write(key, &record)
    }

    /// Returns the parts of an upload that any worker recorded as verified. Sends one query, or more if the object has
    /// thousands of parts. Parts whose record cannot be read are not verified, and are sent again.
    pub(super) async fn verified_parts(&self, upload_id: &str) -> Result<VerifiedParts, TransferError> {
        let items = self.pager(records::verified_prefix(upload_id)).rest(self.process).await?;
        let records = Readable::<VerifiedPartsRecord>::of(&items);
        if !records.unreadable.is_none() {
            warn!(key = self.key, unreadable = %records.unreadable, "failed to read records of verified parts; sending them again");
        }
        let mut found = VerifiedParts::default();
        records.records.into_iter().for_each(|record| found.merge(record.parts(upload_id)));
        Ok(found)
    }

    /// Returns the listed parts that are verified, or `None` if a part does not fit the part layout. Reads the ledger
    /// only if the list itself does not prove all of them.
    pub(super) async fn prove(
        &self,
        record: &UploadRecord,
        layout: &PartLayout,
        listed: &[ListedPart],
        verified: &Verified,
    ) -> Result<Option<BTreeSet<u32>>, TransferError> {
        let prove = |parts: &VerifiedParts| {
            let source = &record.source.etag;
            let evidence = Evidence { checksums_enforced: verified.enforced(), verified: parts, source };
            proven_parts(layout, listed, evidence)
        };
        let there = prove(&verified.parts());
        let Some(id) = record.upload_id.as_ref().filter(|_| there.as_ref().is_some_and(|t| t.len() < listed.len()))
        else {
            return Ok(there);
        };
        verified.merge(self.verified_parts(id).await?);
        Ok(prove(&verified.parts()))
    }

    /// Returns the recorded outcomes of the ranges of an upload, by first part. Deletes a record that cannot be read,
    /// since workers skip a range that has a record. The worker that copies the range again finds the parts that are
    /// already there.
    pub(super) async fn ranges(&self, upload_id: &str) -> Result<BTreeMap<u32, PartRangeRecord>, TransferError> {
        let mut found = BTreeMap::new();
        for item in self.pager(records::part_range_prefix(upload_id)).rest(self.process).await? {
            match item.read::<PartRangeRecord>() {
                Ok(record) => drop(found.insert(record.first, record)),
                Err(error) => {
                    warn!(key = self.key, %error, "failed to read record of range of parts; copying it again");
                    let removed = Write::Delete { key: item.key, condition: Condition::Always };
                    self.process.write(&[removed]).await?;
                }
            }
        }
        Ok(found)
    }

    /// Returns a pager over the records of the parts of this object's uploads whose sort keys start with a prefix.
    fn pager(&self, prefix: String) -> Pager {
        let partition = records::part_range_partition(&self.process.config.job.uid, self.bucket, self.key);
        Pager::new(partition, prefix, 100)
    }

    /// Returns true if the range of an upload that begins with part `first` has a record.
    pub(super) async fn has_range(&self, upload_id: &str, first: u32) -> Result<bool, Interruption> {
        let key = self.range_key(upload_id, first);
        Ok(self.process.ledger(|| self.process.ports.ledger.get(&key)).await?.is_some())
    }

    /// Records the outcome of a range of an upload, from its first to its last part, together with its verified parts.
    /// An existing record is kept.
    pub(super) async fn record_range(
        &self,
        upload_id: &str,
        (first, last): (u32, u32),
        outcome: PartRangeOutcome,
        verified: Option<Write>,
    ) -> Result<(), Interruption> {
        let now = self.process.runtime.clock.now();
        let (upload_id, by) = (upload_id.to_owned(), self.process.runtime.name.clone());
        let key = self.range_key(&upload_id, first);
        let record = PartRangeRecord { upload_id, first, last, by, at: now, outcome };
        let item = Item::of(key, &record).expiring(now + RETENTION_MS);
        let writes: Vec<Write> =
            [Write::Put { item, condition: Condition::Absent }].into_iter().chain(verified).collect();
        self.process.write(&writes).await.map(|_| ())
    }

    /// Deletes the record of a range, so that the range is copied again.
    pub(super) async fn take_back_range(&self, upload_id: &str, first: u32) -> Result<(), Interruption> {
        let key = self.range_key(upload_id, first);
        self.process.write(&[Write::Delete { key, condition: Condition::Always }]).await.map(|_| ())
    }

    fn upload_key(&self) -> LedgerKey {
        records::upload_key(&self.process.config.job.uid, self.bucket, self.key)
    }

    fn range_key(&self, upload_id: &str, first: u32) -> LedgerKey {
        records::part_range_key(&self.process.config.job.uid, self.bucket, self.key, upload_id, first)
    }
}
