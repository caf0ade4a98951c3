//! The multipart upload of an object: carried on where the ledger and the destination agree, begun anew otherwise.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use migration_core::etag::ETag;
use migration_core::outcome::{Failure, FailureClass, Losses};
use migration_core::part::PartLayout;
use migration_core::planted::{Defect, is_planted};
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, ObjectStore, Operation, Queue, Write};
use migration_core::records::{self, SourceIdentity, UploadRecord};
use migration_core::resume::{self, ListedPart, UploadDecision};
use tracing::info;

use super::fetch::Opened;
use super::{Halt, Transfer, Wanted, halt_of};
use crate::WriteOutcome;
use crate::gate::Access;
use crate::uploads::abort;

/// How often an upload is looked for that another worker has announced.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(1);

/// An upload that is open and ours.
pub(super) struct Upload {
    pub id: String,
    pub layout: PartLayout,
    pub revision: u64,
    /// Whether it was begun with a checksum named.
    pub checksum: bool,
    /// What could not be taken along.
    pub losses: Losses,
    /// The record, where uploads that nothing names may be open beside this one.
    pub contested: Option<UploadRecord>,
    /// Parts that are already there.
    pub there: BTreeMap<u32, ETag>,
}

/// An upload to work on, and the first part's body where it came with what the upload was created from.
pub(super) type Begun = (Upload, Option<Opened>);

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// The ledger's key of this object's upload.
    pub(super) fn upload_key(&self) -> LedgerKey {
        records::upload_key(&self.process.config.job.uid, &self.pair.destination_bucket, &self.destination_key)
    }

    /// The record of this object's upload, if there is one.
    pub(super) async fn upload_record(&self) -> Result<Option<UploadRecord>, Halt> {
        let key = self.upload_key();
        let item = self.process.ledger(|| self.process.ports.ledger.get(&key)).await?;
        item.map(|item| item.read()).transpose().map_err(unreadable)
    }

    /// Gives an upload to work on.
    pub(super) async fn open(&self, wanted: &Wanted, source: &SourceIdentity) -> Result<Begun, Halt> {
        self.has_upload.store(true, Ordering::Relaxed);
        if is_planted(Defect::ForeignUploadAdopted)
            && let Some(upload) = self.adopt_any(wanted).await?
        {
            return Ok((upload, None));
        }
        loop {
            let record = self.upload_record().await?;
            let decision = record.as_ref().map(|record| (record, resume::decide(record, source, wanted.size)));
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
            let before = record.as_ref().filter(|record| record.upload_id.is_none()).cloned();
            let revision = record.map_or(0, |record| record.revision);
            if let Some(begun) = self.begin(source, wanted, revision, before.as_ref()).await? {
                return Ok(begun);
            }
        }
    }

    /// Carries a recorded upload on. None where its parts are not what the record says.
    async fn adopt(&self, record: &UploadRecord, layout: PartLayout) -> Result<Option<Upload>, Halt> {
        let Some(id) = &record.upload_id else { return Ok(None) };
        match self.list_parts(id, None).await {
            Ok(listed) => Ok(resume::fitting_parts(&layout, &listed).map(|there| {
                info!(key = self.key, parts = there.len(), of = layout.count(), "carrying an upload on");
                Upload {
                    id: id.clone(),
                    layout,
                    revision: record.revision,
                    checksum: record.checksum,
                    losses: record.losses,
                    // Who began it is dead, or has company: either may have left another one.
                    contested: Some(record.clone()),
                    there,
                }
            })),
            Err(Halt::UploadGone) => {
                // Completed, or aborted by someone. The record becomes an announcement, since others may have begun
                // uploads that nothing names; then both sides are looked at again.
                self.has_upload.store(true, Ordering::Relaxed);
                let announced = UploadRecord {
                    upload_id: None,
                    revision: record.revision + 1,
                    wait_until: 0,
                    contested: true,
                    ..record.clone()
                };
                self.record(&announced, record.revision).await?;
                Err(Halt::UploadGone)
            }
            Err(halt) => Err(halt),
        }
    }

    /// The planted defect: whatever upload is open.
    async fn adopt_any(&self, wanted: &Wanted) -> Result<Option<Upload>, Halt> {
        let (bucket, key) = (&self.pair.destination_bucket, &self.destination_key);
        let store = &self.process.ports.destination;
        let access = Access::object(Operation::ListUploads, bucket, key);
        let open = self.process.destination(access, || store.list_uploads(bucket, key)).await?;
        let Some(open) = open.into_iter().next() else { return Ok(None) };
        let Ok(layout) = PartLayout::new(wanted.size, self.process.config.transfer.part_size) else { return Ok(None) };
        let there = self.list_parts(&open.upload_id, None).await?.into_iter().map(|p| (p.number, p.etag)).collect();
        let losses = Losses::default();
        Ok(Some(Upload { id: open.upload_id, layout, revision: 0, checksum: false, losses, contested: None, there }))
    }

    async fn abort_recorded(&self, record: &UploadRecord) -> Result<(), Halt> {
        if let Some(upload_id) = &record.upload_id {
            abort(self.process, self.upload_ref(upload_id)).await?;
        }
        Ok(())
    }

    /// Writes the record in place of the one with revision `before`; 0 = there is none.
    pub(super) async fn record(&self, record: &UploadRecord, before: u64) -> Result<WriteOutcome, Halt> {
        let condition = if before == 0 { Condition::Absent } else { Condition::Revision(before) };
        Ok(self.process.replace(Item::of(self.upload_key(), record), condition, Vec::new()).await?)
    }

    /// The parts of an upload as the destination lists them: all, or up to a number after another.
    pub(super) async fn list_parts(&self, upload_id: &str, span: Option<(u32, u32)>) -> Result<Vec<ListedPart>, Halt> {
        let upload = self.upload_ref(upload_id);
        let mut parts: Vec<ListedPart> = Vec::new();
        let mut after = span.map(|(first, _)| first - 1).filter(|after| *after > 0);
        loop {
            let access = Access::object(Operation::ListParts, upload.bucket, upload.key);
            let store = &self.process.ports.destination;
            let page = self.process.destination(access, || store.list_parts(upload, after)).await;
            let page = page.map_err(|error| halt_of(error, || Halt::UploadGone))?;
            parts.extend(page.parts);
            after = page.next;
            let enough = span.is_some_and(|(_, last)| parts.last().is_some_and(|part| part.number >= last));
            if after.is_none() || enough {
                parts.retain(|part| span.is_none_or(|(first, last)| (first..=last).contains(&part.number)));
                return Ok(parts);
            }
        }
    }

    /// Removes the record of an upload that is completed. Where that fails, whoever reads the record finds that the
    /// upload is gone.
    pub(super) async fn forget(&self, revision: u64) -> Result<(), Halt> {
        let condition = Condition::Revision(revision);
        self.process.write(&[Write::Delete { key: self.upload_key(), condition }]).await?;
        self.has_upload.store(false, Ordering::Relaxed);
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a map_err function")]
fn unreadable(error: records::RecordError) -> Halt {
    Halt::Failed(Failure::new(FailureClass::Refused, error.to_string()))
}
