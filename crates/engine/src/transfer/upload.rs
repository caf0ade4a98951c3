//! The multipart upload of an object: carried on where the ledger and the destination agree, begun anew otherwise.
//!
//! Every upload is announced in the ledger before it is created and recorded after it, so that whatever dies in
//! between, an upload of ours can be told from anybody else's, and no upload is bound to the wrong source.

use std::collections::BTreeMap;

use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::outcome::{Failure, FailureClass};
use migration_core::part::PartLayout;
use migration_core::ports::{Condition, CreateUpload, Item, Ledger, LedgerKey, ObjectStore, Queue, UploadRef, Write};
use migration_core::records::{self, SourceIdentity, UploadRecord};
use migration_core::resume::{self, ListedPart, UploadDecision};
use tracing::info;

use super::fetch::Fetched;
use super::{Halt, Transfer, Wanted};
use crate::gate::Access;
use crate::uploads::{self, abort};
use crate::{Interruption, WriteOutcome};

/// An upload that is open and ours.
pub(super) struct Upload {
    pub id: String,
    pub layout: PartLayout,
    pub revision: u64,
    /// Parts that are already there.
    pub there: BTreeMap<u32, ETag>,
    /// The first part's bytes, where they came with what the upload was created from.
    pub first: Option<Fetched>,
}

impl<S: ObjectStore, Q: Queue, L: Ledger> Transfer<'_, S, Q, L> {
    /// The ledger's key of this object's upload.
    pub(super) fn upload_key(&self) -> LedgerKey {
        records::upload_key(&self.process.config.job.uid, &self.pair.destination_bucket, &self.destination_key)
    }

    /// Gives an upload to work on.
    pub(super) async fn open(&self, wanted: &Wanted, etag: &ETag) -> Result<Upload, Halt> {
        let source = SourceIdentity {
            bucket: self.pair.source_bucket.clone(),
            key: self.key.to_owned(),
            etag: etag.clone(),
            version_id: wanted.version_id.clone(),
        };
        // Bytes that were read for an upload whose announcement another worker beat; they stay good.
        let mut first = None;
        loop {
            let key = self.upload_key();
            let item = self.process.ledger(|| self.process.ports.ledger.get(&key)).await?;
            let record: Option<UploadRecord> = item.map(|item| item.read()).transpose().map_err(unreadable)?;
            let decision = record.as_ref().map(|record| (record, resume::decide(record, &source, wanted.size)));
            if let Some((record, UploadDecision::Adopt(layout))) = &decision
                && let Some(upload) = self.adopt(record, *layout).await?
            {
                return Ok(upload);
            }
            if let Some((record, UploadDecision::Replace | UploadDecision::Adopt(_))) = &decision {
                self.abort_recorded(record).await?;
            }
            let before = record.as_ref().filter(|record| record.upload_id.is_none()).cloned();
            let revision = record.map_or(0, |record| record.revision);
            if let Some(upload) = self.begin(&source, wanted, revision, before.as_ref(), &mut first).await? {
                return Ok(upload);
            }
        }
    }

    /// Carries a recorded upload on. None where its parts are not what the record says.
    async fn adopt(&self, record: &UploadRecord, layout: PartLayout) -> Result<Option<Upload>, Halt> {
        let Some(id) = &record.upload_id else { return Ok(None) };
        match self.list_parts(id).await {
            Ok(listed) => Ok(resume::fitting_parts(&layout, &listed).map(|there| {
                info!(key = self.key, parts = there.len(), of = layout.count(), "carrying an upload on");
                Upload { id: id.clone(), layout, revision: record.revision, there, first: None }
            })),
            Err(Halt::UploadGone) => {
                // Completed, or aborted by someone. The record goes, then both sides are looked at again.
                let condition = Condition::Revision(record.revision);
                self.process.write(&[Write::Delete { key: self.upload_key(), condition }]).await?;
                Err(Halt::UploadGone)
            }
            Err(halt) => Err(halt),
        }
    }

    async fn abort_recorded(&self, record: &UploadRecord) -> Result<(), Halt> {
        if let Some(upload_id) = &record.upload_id {
            let (bucket, key) = (&record.destination_bucket, &record.destination_key);
            abort(self.process, UploadRef { bucket, key, upload_id }).await?;
        }
        Ok(())
    }

    /// Announces, creates and records an upload. None where another worker was first with one of these.
    async fn begin(
        &self,
        source: &SourceIdentity,
        wanted: &Wanted,
        revision: u64,
        unfinished: Option<&UploadRecord>,
        first: &mut Option<Fetched>,
    ) -> Result<Option<Upload>, Halt> {
        let layout = PartLayout::new(wanted.size, self.process.config.transfer.part_size)
            .map_err(|e| Halt::Failed(Failure::new(FailureClass::Refused, e.to_string())))?;
        let fetched = match first.take() {
            Some(fetched) => fetched,
            None => self.fetch_part(&layout, 1, source).await?,
        };
        let tags = self.tags(&fetched.head).await?;
        let mut record = UploadRecord {
            revision: revision + 1,
            destination_bucket: self.pair.destination_bucket.clone(),
            destination_key: self.destination_key.clone(),
            source: source.clone(),
            layout,
            by: self.process.name.clone(),
            intended: self.process.clock.now(),
            upload_id: None,
        };
        if self.record(&record, revision).await? == WriteOutcome::Lost {
            *first = Some(fetched);
            return Ok(None);
        }
        let (bucket, key) = (&self.pair.destination_bucket, &self.destination_key);
        let request = CreateUpload { bucket, key, attributes: &fetched.head.attributes, tags: &tags };
        let store = &self.process.ports.destination;
        let mut tries = 0;
        let create = || {
            tries += 1;
            store.create_upload(request)
        };
        let id = self.process.destination(Access::object(bucket, key), create).await?;
        record.upload_id = Some(id.clone());
        record.revision += 1;
        if self.record(&record, revision + 1).await? == WriteOutcome::Lost {
            abort(self.process, UploadRef { bucket, key, upload_id: &id }).await?;
            *first = Some(fetched);
            return Ok(None);
        }
        // A try whose answer was lost, or a worker that died before it could record, may have left another upload.
        let announced = unfinished.or((tries > 1).then_some(&record));
        if let Some(announced) = announced {
            uploads::abort_unrecorded(self.process, announced, &id).await?;
        }
        Ok(Some(Upload { id, layout, revision: record.revision, there: BTreeMap::new(), first: Some(fetched) }))
    }

    /// Writes the record in place of the one with revision `before`; 0 = there is none.
    async fn record(&self, record: &UploadRecord, before: u64) -> Result<WriteOutcome, Halt> {
        let condition = if before == 0 { Condition::Absent } else { Condition::Revision(before) };
        let item = Item::of(self.upload_key(), record);
        let outcome = self.process.write(&[Write::Put { item: item.clone(), condition }]).await?;
        if outcome == WriteOutcome::Lost {
            // An answer may have been lost, and the writer that was first may be this one.
            let key = self.upload_key();
            let now = self.process.ledger(|| self.process.ports.ledger.get(&key)).await?;
            if now.is_some_and(|now| now.attributes == item.attributes) {
                return Ok(WriteOutcome::Written);
            }
        }
        Ok(outcome)
    }

    /// All parts of an upload, as the destination lists them.
    pub(super) async fn list_parts(&self, upload_id: &str) -> Result<Vec<ListedPart>, Halt> {
        let upload = UploadRef { bucket: &self.pair.destination_bucket, key: &self.destination_key, upload_id };
        let mut parts = Vec::new();
        let mut after = None;
        loop {
            let access = Access::object(upload.bucket, upload.key);
            let store = &self.process.ports.destination;
            let page = self.process.destination(access, || store.list_parts(upload, after)).await;
            let page = page.map_err(|error| match error {
                Interruption::Service(error) if error.class == ErrorClass::NoSuchUpload => Halt::UploadGone,
                other => other.into(),
            })?;
            parts.extend(page.parts);
            after = page.next;
            if after.is_none() {
                return Ok(parts);
            }
        }
    }

    /// Removes the record of an upload that is completed. Where that fails, whoever reads the record finds that the
    /// upload is gone.
    pub(super) async fn forget(&self, revision: u64) -> Result<(), Halt> {
        let condition = Condition::Revision(revision);
        self.process.write(&[Write::Delete { key: self.upload_key(), condition }]).await?;
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a map_err function")]
fn unreadable(error: records::RecordError) -> Halt {
    Halt::Failed(Failure::new(FailureClass::Refused, error.to_string()))
}
