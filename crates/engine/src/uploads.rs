//! Aborting multipart uploads of ours, and never anybody else's.

use std::collections::BTreeSet;

use migration_core::error::ErrorClass;
use migration_core::ports::{Condition, Ledger, ObjectStore, Operation, Queue, UploadRef, Write};
use migration_core::records::{self, UploadRecord};
use migration_core::view::{self, ViewError};
use tracing::{info, warn};

use crate::gate::Access;
use crate::{Interruption, Process};

/// How often an upload is aborted before it is left: parts in flight during an abort can keep it alive.
/// Source: `AbortMultipartUpload` in the S3 API reference.
const ABORTS: u32 = 5;
/// How far the destination's clock may be behind ours, in milliseconds.
const CLOCK_SLACK_MS: i64 = 60_000;

/// Aborts an upload until the destination says that it is not there.
pub async fn abort<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    upload: UploadRef<'_>,
) -> Result<(), Interruption> {
    let store = &process.ports.destination;
    let aborting = Access::object(Operation::AbortUpload, upload.bucket, upload.key);
    let looking = Access { operation: Some(Operation::ListParts), ..aborting };
    for _ in 0..ABORTS {
        let gone = |result: Result<(), Interruption>| match result {
            Err(Interruption::Service(error)) if error.class == ErrorClass::NoSuchUpload => Ok(true),
            Err(other) => Err(other),
            Ok(()) => Ok(false),
        };
        if gone(process.destination(aborting, || store.abort_upload(upload)).await)?
            || gone(process.destination(looking, || store.list_parts(upload, None)).await.map(|_| ()))?
        {
            return Ok(());
        }
    }
    warn!(bucket = upload.bucket, key = upload.key, "an upload is still there after {ABORTS} aborts");
    Ok(())
}

/// Aborts uploads that were created after an announcement and never recorded, because their worker died in between:
/// those of the same key, begun after the announcement by the one who began `own`.
pub async fn abort_unrecorded<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    announced: &UploadRecord,
    own: &str,
) -> Result<(), Interruption> {
    let (bucket, key) = (announced.destination_bucket.as_str(), announced.destination_key.as_str());
    let store = &process.ports.destination;
    let access = Access::object(Operation::ListParts, bucket, key);
    let own_upload = UploadRef { bucket, key, upload_id: own };
    let me = process.destination(access, || store.list_parts(own_upload, None)).await?.initiator;
    let Some(me) = me else { return Ok(()) };
    let access = Access::object(Operation::ListUploads, bucket, key);
    for open in process.destination(access, || store.list_uploads(bucket, key)).await? {
        let begun_after = open.initiated + CLOCK_SLACK_MS >= announced.intended;
        if open.upload_id != own && open.initiator.as_ref() == Some(&me) && begun_after {
            info!(bucket, key, "aborting an upload whose worker died before recording it");
            abort(process, UploadRef { bucket, key, upload_id: &open.upload_id }).await?;
        }
    }
    Ok(())
}

/// What became of a job's open uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbortReport {
    /// Uploads that are gone.
    pub aborted: u32,
    /// Bucket and key of those that are not, or may not be.
    pub left: Vec<(String, String)>,
}

/// Why the uploads could not be aborted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbortError {
    /// The ledger could not be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A service.
    #[error(transparent)]
    Interruption(#[from] Interruption),
}

/// Aborts every upload that the ledger has of the job, and forgets it.
pub async fn abort_all<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
) -> Result<AbortReport, AbortError> {
    let job = &process.config.job.uid;
    let mut report = AbortReport::default();
    let mut initiators = BTreeSet::new();
    let (recorded, announced): (Vec<_>, Vec<_>) =
        view::uploads(&process.ports.ledger, job).await?.into_iter().partition(|record| record.upload_id.is_some());
    for record in &recorded {
        let (bucket, key) = (record.destination_bucket.as_str(), record.destination_key.as_str());
        let Some(upload_id) = record.upload_id.as_deref() else { continue };
        let upload = UploadRef { bucket, key, upload_id };
        let store = &process.ports.destination;
        let access = Access::object(Operation::ListParts, bucket, key);
        if let Ok(page) = process.destination(access, || store.list_parts(upload, None)).await {
            initiators.extend(page.initiator);
        }
        abort(process, upload).await?;
        forget(process, record).await?;
        report.aborted += 1;
    }
    for record in &announced {
        if abort_announced(process, record, &initiators).await? {
            forget(process, record).await?;
            report.aborted += 1;
        } else {
            report.left.push((record.destination_bucket.clone(), record.destination_key.clone()));
        }
    }
    Ok(report)
}

/// Aborts what came of an announcement. False where an upload of that key is open and can't be told to be ours.
async fn abort_announced<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    record: &UploadRecord,
    initiators: &BTreeSet<String>,
) -> Result<bool, Interruption> {
    let (bucket, key) = (record.destination_bucket.as_str(), record.destination_key.as_str());
    let store = &process.ports.destination;
    let access = Access::object(Operation::ListUploads, bucket, key);
    let open = process.destination(access, || store.list_uploads(bucket, key)).await?;
    let mut all_ours = true;
    for upload in open.iter().filter(|open| open.initiated + CLOCK_SLACK_MS >= record.intended) {
        if upload.initiator.as_ref().is_some_and(|who| initiators.contains(who)) {
            abort(process, UploadRef { bucket, key, upload_id: &upload.upload_id }).await?;
        } else {
            all_ours = false;
        }
    }
    Ok(all_ours)
}

async fn forget<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    record: &UploadRecord,
) -> Result<(), Interruption> {
    let key = records::upload_key(&process.config.job.uid, &record.destination_bucket, &record.destination_key);
    process.write(&[Write::Delete { key, condition: Condition::Always }]).await?;
    Ok(())
}
