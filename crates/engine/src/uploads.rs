//! Aborts multipart uploads of the job, and never those of others.

use std::collections::BTreeSet;

use migration_core::error::ErrorClass;
use migration_core::initiator::{Owner, owner};
use migration_core::message::Batch;
use migration_core::operation::RequestInfo;
use migration_core::ports::{Condition, ObjectStore, Operation, UploadRef, Write};
use migration_core::preflight::is_upload_key;
use migration_core::records::{self, UploadRecord};
use migration_ledger::{Unreadable, view};
use tracing::{info, warn};

use crate::{Interruption, Process, Services};

/// Tries to abort an upload before it is left: parts in flight during an abort can keep it open. Source:
/// `AbortMultipartUpload` in the S3 API reference.
const ABORTS: u32 = 5;
/// Tolerance for a destination clock behind ours, in milliseconds.
const CLOCK_SLACK_MS: i64 = 60_000;

/// Aborts an upload until the destination says that it does not exist.
pub async fn abort<P: Services>(process: &Process<P>, upload: UploadRef<'_>) -> Result<(), Interruption> {
    if !try_abort(process, upload).await? {
        warn!(bucket = upload.bucket, key = upload.key, "an upload still exists after {ABORTS} aborts");
    }
    Ok(())
}

/// Aborts an upload. Returns false if the destination still says after some tries that it exists.
pub(crate) async fn try_abort<P: Services>(process: &Process<P>, upload: UploadRef<'_>) -> Result<bool, Interruption> {
    let store = &process.ports.destination;
    let aborting = RequestInfo::object(Operation::AbortUpload, upload.bucket, upload.key);
    let looking = RequestInfo { operation: Some(Operation::ListParts), ..aborting };
    for _ in 0..ABORTS {
        let gone = |result: Result<(), Interruption>| match result {
            Err(Interruption::Service(error)) if error.class == ErrorClass::NoSuchUpload => Ok(true),
            Err(other) => Err(other),
            Ok(()) => Ok(false),
        };
        if gone(process.destination(aborting, || store.abort_upload(upload)).await)?
            || gone(process.destination(looking, || store.list_parts(upload, None)).await.map(|_| ()))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Aborts uploads that were created after an announcement but never recorded because their worker died: those of the
/// same key, initiated after the announcement by the initiator of `own`. One whose owner is unclear is left open and
/// reported.
pub async fn abort_unrecorded<P: Services>(
    process: &Process<P>,
    announced: &UploadRecord,
    own: &str,
) -> Result<(), Interruption> {
    let (bucket, key) = (announced.destination_bucket.as_str(), announced.destination_key.as_str());
    let store = &process.ports.destination;
    let access = RequestInfo::object(Operation::ListParts, bucket, key);
    let own_upload = UploadRef { bucket, key, upload_id: own };
    let me = process.destination(access, || store.list_parts(own_upload, None)).await?.initiator;
    let access = RequestInfo::object(Operation::ListUploads, bucket, key);
    for open in process.destination(access, || store.list_uploads(bucket, key)).await? {
        let begun_after = open.initiated + CLOCK_SLACK_MS >= announced.intended;
        if open.upload_id == own || !begun_after {
            continue;
        }
        match owner(me.as_deref(), open.initiator.as_deref()) {
            Owner::Ours => {
                info!(bucket, key, "aborting an upload whose worker died before recording it");
                abort(process, UploadRef { bucket, key, upload_id: &open.upload_id }).await?;
            }
            Owner::Unclear => {
                let command = store.abort_command(UploadRef { bucket, key, upload_id: &open.upload_id });
                warn!(
                    bucket,
                    key, command, "an open upload without a record may belong to this job: abort it with the command"
                );
            }
            Owner::Foreign => {}
        }
    }
    Ok(())
}

/// Result of aborting a job's open uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbortReport {
    /// Uploads that were aborted.
    pub aborted: u32,
    /// Uploads that are open, or may be.
    pub left: Vec<LeftUpload>,
    /// Records that cannot be read. Their uploads are unknown and may be left open too.
    pub unreadable: Unreadable,
}

/// An open upload whose owner is unclear, under a key where the job may have one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftUpload {
    /// Destination bucket.
    pub bucket: String,
    /// Destination key.
    pub key: String,
    /// Command to abort it by hand.
    pub command: String,
}

/// Aborts all uploads of the job that the ledger records, and deletes their records. Records that cannot be read do not
/// prevent the others from being handled.
pub async fn abort_all<P: Services>(process: &Process<P>) -> Result<AbortReport, Interruption> {
    let job = &process.config.job.uid;
    let uploads = view::uploads(&process.ports.ledger, job).await?;
    let mut report = AbortReport { unreadable: uploads.unreadable, ..AbortReport::default() };
    let mut initiators = BTreeSet::new();
    let (recorded, announced): (Vec<_>, Vec<_>) =
        uploads.records.into_iter().partition(|record| record.upload_id.is_some());
    for record in &recorded {
        let (bucket, key) = (record.destination_bucket.as_str(), record.destination_key.as_str());
        let Some(upload_id) = record.upload_id.as_deref() else { continue };
        let upload = UploadRef { bucket, key, upload_id };
        let store = &process.ports.destination;
        let access = RequestInfo::object(Operation::ListParts, bucket, key);
        if let Ok(page) = process.destination(access, || store.list_parts(upload, None)).await {
            initiators.extend(page.initiator);
        }
        abort(process, upload).await?;
        forget(process, record).await?;
        report.aborted += 1;
    }
    for record in &announced {
        if !record.is_announcement() {
            forget(process, record).await?;
            continue;
        }
        let left = abort_announced(process, record, &initiators).await?;
        if left.is_empty() {
            forget(process, record).await?;
            report.aborted += 1;
        }
        report.left.extend(left);
    }
    Ok(report)
}

/// Aborts the uploads that followed an announcement. Returns the open uploads of that key whose owner is unclear.
async fn abort_announced<P: Services>(
    process: &Process<P>,
    record: &UploadRecord,
    initiators: &BTreeSet<String>,
) -> Result<Vec<LeftUpload>, Interruption> {
    let (bucket, key) = (record.destination_bucket.as_str(), record.destination_key.as_str());
    let store = &process.ports.destination;
    let access = RequestInfo::object(Operation::ListUploads, bucket, key);
    let open = process.destination(access, || store.list_uploads(bucket, key)).await?;
    let mut left = Vec::new();
    for upload in open.iter().filter(|open| open.initiated + CLOCK_SLACK_MS >= record.intended) {
        let open = UploadRef { bucket, key, upload_id: &upload.upload_id };
        let is_ours = upload.initiator.as_ref().is_some_and(|who| initiators.contains(who));
        if is_ours || is_upload_key(key, &process.config.job.uid) {
            abort(process, open).await?;
        } else {
            let command = store.abort_command(open);
            left.push(LeftUpload { bucket: bucket.to_owned(), key: key.to_owned(), command });
        }
    }
    Ok(left)
}

/// Removes the upload records of finished objects, once the end of their batch is recorded. Takes bucket, key and
/// revision of each. A record that another worker has written since stays: that worker removes it.
pub(crate) async fn forget_done<P: Services>(
    process: &Process<P>,
    records: impl IntoIterator<Item = (&str, String, u64)>,
) -> Result<(), Interruption> {
    for (bucket, key, revision) in records {
        let key = records::upload_key(&process.config.job.uid, bucket, &key);
        process.write(&[Write::Delete { key, condition: Condition::Revision(revision) }]).await?;
    }
    Ok(())
}

/// The recorded uploads of a batch to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    /// For an ended batch: completed uploads whose worker died before it could remove their records. The others may
    /// belong to a later run.
    Completed,
    /// For an abandoned batch: all uploads, since nobody continues them.
    All,
}

/// Aborts recorded uploads of a batch that is over, if they are of the batch's contents, and removes their records.
/// Reads the ledger once for each object larger than `larger_than` bytes.
pub(crate) async fn clear_batch<P: Services>(
    process: &Process<P>,
    batch: &Batch,
    larger_than: u64,
    clear: Clear,
) -> Result<(), Interruption> {
    let bucket = batch.pair.destination_bucket.as_str();
    for entry in batch.objects.iter().filter(|entry| entry.size > larger_than && entry.etag.is_some()) {
        let Ok(key) = batch.pair.map_key(&entry.key) else { continue };
        let record_key = records::upload_key(&process.config.job.uid, bucket, &key);
        let record = process.get_or_warn::<UploadRecord>(&record_key, "its upload stays open until the job goes away");
        let Some(record) = record.await? else { continue };
        let is_asked_for = clear == Clear::All || record.expected.is_some();
        if entry.etag.as_ref() != Some(&record.source.etag) || !is_asked_for {
            continue;
        }
        let Some(upload_id) = record.upload_id.as_deref() else { continue };
        abort(process, UploadRef { bucket, key: &key, upload_id }).await?;
        forget_done(process, [(bucket, key, record.revision)]).await?;
    }
    Ok(())
}

async fn forget<P: Services>(process: &Process<P>, record: &UploadRecord) -> Result<(), Interruption> {
    let key = records::upload_key(&process.config.job.uid, &record.destination_bucket, &record.destination_key);
    process.write(&[Write::Delete { key, condition: Condition::Always }]).await?;
    Ok(())
}
