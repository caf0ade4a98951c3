//! The checks of the destination: list, and write without making anything visible.
//!
//! An upload is created under a key that only this job uses, and aborted. It is announced in the ledger before it is
//! created and recorded after it, like every upload of the job: whatever crashes in between, the next preflight or the
//! deletion of the job aborts it.

use migration_core::error::{Service, ServiceError};
use migration_core::etag::ETag;
use migration_core::object::{Attributes, SourceIdentity, Tags};
use migration_core::operation::Operation;
use migration_core::outcome::NotPreserved;
use migration_core::pair::MAX_KEY_BYTES;
use migration_core::part::PartLayout;
use migration_core::ports::{Condition, CreateUpload, Item, LedgerKey, ListRequest, ObjectStore, UploadRef, Write};
use migration_core::preflight::{Finding, Purpose, Shortcoming, upload_key};
use migration_core::records::{self, UploadRecord};
use migration_ledger::{ReadError, WriteOutcome, write};
use tracing::warn;

use super::Check;
use crate::repeat::repeated;
use crate::uploads::{abort_unrecorded, try_abort};
use crate::{Interruption, Services};

/// Why an upload was not tried to its end.
enum Ended {
    /// What it showed, if anything.
    Found(Vec<Finding>),
    /// The ledger did not answer.
    Ledger(ServiceError),
}

/// The result of creating an upload.
struct Created {
    /// Its ID.
    result: Result<String, ServiceError>,
    /// It could be created only without tags.
    denied_tags: Option<Finding>,
    /// Another upload may have been created by a request whose answer was lost.
    may_have_lost: bool,
}

impl From<ServiceError> for Ended {
    fn from(error: ServiceError) -> Self {
        Self::Ledger(error)
    }
}

impl<P: Services> Check<'_, P> {
    pub(super) async fn destination(&self) -> Vec<Finding> {
        let (store, range) = (&self.process.ports.destination, self.range);
        let request = ListRequest {
            bucket: &range.bucket,
            prefix: &range.prefix,
            start_after: None,
            continuation: None,
            max_keys: Some(1),
        };
        let listed = repeated(|| store.list(request)).await;
        let of_listing =
            listed.err().and_then(|error| self.found(self.purpose_of_listing(), Operation::ListObjects, None, &error));
        // Where the whole side is unusable, writing shows nothing more; where only listing is denied, it may.
        if let Some(finding) = of_listing.clone().filter(|found| found.actions.is_empty()) {
            return vec![finding];
        }
        let key = upload_key(&range.prefix, &self.process.config.job.uid);
        let mut found: Vec<Finding> = of_listing.into_iter().collect();
        if key.len() <= MAX_KEY_BYTES {
            found.extend(match Box::pin(self.write(&key)).await {
                Ok(()) => Vec::new(),
                Err(Ended::Found(found)) => found,
                Err(Ended::Ledger(error)) => self.of_ledger(&error).into_iter().collect(),
            });
        }
        found
    }

    /// Creates an upload and aborts it.
    async fn write(&self, key: &str) -> Result<(), Ended> {
        let ledger_key = records::upload_key(&self.process.config.job.uid, &self.range.bucket, key);
        let before = self.recorded(&ledger_key).await?;
        if let Some(id) = before.as_ref().and_then(|record| record.upload_id.as_deref()) {
            // A second one beside one that can't be aborted would be left open too.
            self.abort(key, id).await?;
        }
        let announced = self.announcement(key, before.as_ref());
        self.record(&ledger_key, &announced, before.as_ref().map_or(0, |record| record.revision)).await?;
        let unsettled = before.filter(UploadRecord::is_announcement);
        let Created { result, denied_tags, may_have_lost } = self.create(key).await;
        let id = match result {
            Ok(id) => id,
            Err(error) => {
                // A definite answer: nothing was created.
                if !error.is_retryable() && unsettled.is_none() && !may_have_lost {
                    self.forget(&ledger_key, announced.revision).await;
                }
                let found = self.found(Purpose::Write, Operation::CreateUpload, Some(key), &error);
                return Err(Ended::Found(found.into_iter().collect()));
            }
        };
        let revision = announced.revision + 1;
        let bound = UploadRecord { upload_id: Some(id.clone()), revision, ..announced.clone() };
        let recorded = async {
            if let Some(before) = unsettled.as_ref().or(may_have_lost.then_some(&announced)) {
                self.ended(key, Operation::ListUploads, abort_unrecorded(self.process, before, &id).await)?;
            }
            self.record(&ledger_key, &bound, announced.revision).await
        };
        let recorded = recorded.await;
        self.abort(key, &id).await?;
        recorded?;
        self.forget(&ledger_key, revision).await;
        denied_tags.map_or(Ok(()), |finding| Err(Ended::Found(vec![finding])))
    }

    /// Creates an upload with a tag, if tags are preserved; or without, if only that is denied or refused.
    async fn create(&self, key: &str) -> Created {
        let tags: Tags = if self.process.config.transfer.preserve.tags {
            vec![("s3-migration".to_owned(), "preflight".to_owned())]
        } else {
            Vec::new()
        };
        let mut requests = 0;
        let tagged = self.create_with(key, &tags, &mut requests).await;
        let error = match tagged {
            Err(error) if !tags.is_empty() && !error.is_retryable() => error,
            result => return Created { result, denied_tags: None, may_have_lost: requests > 1 },
        };
        let mut again = 0;
        let result = self.create_with(key, &Vec::new(), &mut again).await;
        let denied = || self.found(Purpose::Tags, Operation::CreateUpload, Some(key), &error);
        let may_have_lost = requests > 1 || again > 1;
        Created { denied_tags: result.is_ok().then(denied).flatten(), may_have_lost, result }
    }

    /// Sends the request again while that may help. A request without an answer may have created an upload all the same.
    async fn create_with(&self, key: &str, tags: &Tags, requests: &mut u32) -> Result<String, ServiceError> {
        let (store, attributes) = (&self.process.ports.destination, Attributes::default());
        repeated(|| {
            *requests += 1;
            let bucket = self.range.bucket.as_str();
            store.create_upload(CreateUpload { bucket, key, attributes: &attributes, tags, checksum: false })
        })
        .await
    }

    async fn abort(&self, key: &str, id: &str) -> Result<(), Ended> {
        let upload = UploadRef { bucket: &self.range.bucket, key, upload_id: id };
        if self.ended(key, Operation::AbortUpload, try_abort(self.process, upload).await)? {
            return Ok(());
        }
        let message = "an upload still exists after it was aborted several times";
        let (problem, operation) = (Shortcoming::UploadLeft, Operation::AbortUpload);
        let finding = Finding::new(Service::Destination, problem, operation, self.arn(Some(key)), message);
        Err(Ended::Found(vec![finding]))
    }

    /// Turns the refusal of a request that ends an upload into a finding.
    fn ended<T>(&self, key: &str, operation: Operation, result: Result<T, Interruption>) -> Result<T, Ended> {
        result.map_err(|error| match error {
            Interruption::Service(error) => {
                let operation =
                    if error.operation == Operation::ListParts.as_str() { Operation::ListParts } else { operation };
                Ended::Found(self.found(Purpose::Clear, operation, Some(key), &error).into_iter().collect())
            }
            Interruption::Stopped => Ended::Found(Vec::new()),
        })
    }

    fn announcement(&self, key: &str, before: Option<&UploadRecord>) -> UploadRecord {
        let clock = &self.process.runtime.clock;
        let now = clock.now();
        let unsettled = before.filter(|record| record.is_announcement());
        // It copies nothing.
        let source = SourceIdentity {
            bucket: self.range.bucket.clone(),
            key: key.to_owned(),
            etag: ETag::new("preflight"),
            version_id: None,
        };
        UploadRecord {
            revision: UploadRecord::revision_after(before, clock.random()),
            destination_bucket: self.range.bucket.clone(),
            destination_key: key.to_owned(),
            source,
            layout: PartLayout { size: 1, part_size: 1 },
            by: self.process.next_name(),
            intended: unsettled.map_or(now, |record| record.intended),
            wait_until: 0,
            checksum: false,
            contested: false,
            losses: NotPreserved::default(),
            expected: None,
            damaged: None,
            upload_id: None,
        }
    }

    async fn recorded(&self, key: &LedgerKey) -> Result<Option<UploadRecord>, Ended> {
        match migration_ledger::get(&self.process.ports.ledger, key).await {
            Ok(record) => Ok(record),
            Err(ReadError::Request(error)) => Err(error.into()),
            Err(ReadError::Record(error)) => {
                let message = format!("{error}; the write is not tried");
                let operation = Operation::GetItem;
                let table = self.process.config.ledger.table.clone();
                Err(Ended::Found(vec![Finding::new(
                    Service::Ledger,
                    Shortcoming::RequestRefused,
                    operation,
                    table,
                    message,
                )]))
            }
        }
    }

    /// Writes a record in place of the one with revision `before`; 0 means that there is none. If another preflight of the
    /// job was faster, this one ends without a finding.
    async fn record(&self, key: &LedgerKey, record: &UploadRecord, before: u64) -> Result<(), Ended> {
        let condition = if before == 0 { Condition::Absent } else { Condition::Revision(before) };
        let item = Item::of(key.clone(), record);
        let write = Write::Put { item: item.clone(), condition };
        let ledger = &self.process.ports.ledger;
        if repeated(|| write::all(ledger, std::slice::from_ref(&write))).await? == WriteOutcome::Written {
            return Ok(());
        }
        // An earlier try may have succeeded and its answer been lost.
        let stands = repeated(|| migration_core::ports::Ledger::get(ledger, key)).await?;
        let is_own = stands.is_some_and(|stands| stands.attributes == item.attributes);
        if is_own { Ok(()) } else { Err(Ended::Found(Vec::new())) }
    }

    /// Deletes the record of an ended upload. If this fails, the next preflight finds that the upload is gone.
    async fn forget(&self, key: &LedgerKey, revision: u64) {
        let delete = Write::Delete { key: key.clone(), condition: Condition::Revision(revision) };
        if let Err(error) = repeated(|| write::all(&self.process.ports.ledger, std::slice::from_ref(&delete))).await {
            warn!(%error, "failed to delete the record of an upload that is gone");
        }
    }

    fn of_ledger(&self, error: &ServiceError) -> Option<Finding> {
        let table = self.process.config.ledger.table.clone();
        Finding::of(Service::Ledger, Purpose::Record, Operation::WriteItems, table, error, &[])
    }
}
