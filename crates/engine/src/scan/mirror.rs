//! Deletes objects of the destination that the source does not have, after both sides were listed completely. Before
//! each deletion both sides are checked again, and the object must still be the listed one. In buckets with versioning
//! a deletion is a delete marker: the versions stay.

use futures::{StreamExt, TryStreamExt, stream};
use migration_core::mirror::{Fate, may_delete};
use migration_core::mutants::{Mutant, is_active};
use migration_core::pair::BucketPair;
use migration_core::ports::{HeadRequest, ObjectHead};
use migration_core::records::{ExtraneousRecord, MirrorCounts, RunRecord, extraneous_partition};
use migration_ledger::{Pager, Readable};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::ScanError;
use super::run::Run;
use crate::deletion::{Absence, Deletion};
use crate::{Interruption, Process, Services};

/// Objects checked at once.
const AT_ONCE: usize = 16;
/// Objects whose result is recorded in one write.
const PAGE: u32 = 48;

/// Deletes extraneous objects, unless there are more than the job may delete. An object whose record cannot be read is
/// kept and counted as kept.
pub(super) async fn delete_extras<P: Services>(process: &Process<P>, run: &Run) -> Result<(), ScanError> {
    let Some(settings) = process.config.mirror else { return Ok(()) };
    let before = run.record().await.mirror.unwrap_or_default();
    let found = before.deletions(run.counts().await.extra);
    if found > settings.max_deletes && !is_active(Mutant::MirrorUnbounded) {
        warn!(
            found,
            max = settings.max_deletes,
            "nothing is deleted: more extraneous objects than the maximum of deletions"
        );
        return run.settle(process, Vec::new(), MirrorCounts { refused: true, ..MirrorCounts::default() }).await;
    }
    let record = run.record().await;
    for (pair, number) in record.pairs.iter().zip(0_u32..) {
        let partition = extraneous_partition(&process.config.job.uid, &record.run, number);
        // Records of handled objects are deleted, so that a jobsender that takes over starts with the remaining ones.
        let mut pager = Pager::new(partition, "", PAGE);
        while let Some(items) = pager.next_page(process).await? {
            let extras = Readable::<ExtraneousRecord>::of(&items);
            let mut counts = MirrorCounts { kept: extras.unreadable.count, ..MirrorCounts::default() };
            if let Some(error) = extras.unreadable.first {
                warn!(%error, objects = counts.kept, "extra objects stay whose records can't be read");
            }
            // By value: a spawned future cannot borrow from the closure's argument.
            let fates = stream::iter(extras.records).map(|extra| settle_one(process, &record, pair, extra));
            let fates: Vec<Fate> = fates.buffer_unordered(AT_ONCE).try_collect().await?;
            for fate in fates {
                counts.add(fate);
            }
            if !items.is_empty() {
                run.settle(process, items.into_iter().map(|item| item.key).collect(), counts).await?;
            }
        }
    }
    Ok(())
}

async fn settle_one<P: Services>(
    process: &Process<P>,
    run: &RunRecord,
    pair: &BucketPair,
    extra: ExtraneousRecord,
) -> Result<Fate, ScanError> {
    let Some(source_key) = pair.source_key(&extra.key) else { return Ok(Fate::Kept) };
    // The jobsender that found it may have had a shorter ignore list.
    if process.config.ignore_list().ignores(&pair.source_bucket, &source_key) {
        return Ok(Fate::Kept);
    }
    let is_gone = is_gone_at_source(process, pair, &source_key).await?;
    let absence = Absence { bucket: &pair.source_bucket, key: &source_key, proven: Instant::now() };
    let there = at_destination(process, pair, &extra).await?;
    if is_gone && there.is_none() {
        // Deleted by another writer, or by a jobsender that was killed before it could record that.
        return Ok(Fate::Deleted);
    }
    if !may_delete(&extra, is_gone, there.as_ref(), run.started) {
        debug!(bucket = pair.destination_bucket, key = extra.key, "an extraneous object is kept");
        return Ok(Fate::Kept);
    }
    delete(process, absence, pair, &extra).await
}

/// Returns true if the source says that it has no such object. A refusal is no absence, and neither is a proxy's 404.
async fn is_gone_at_source<P: Services>(
    process: &Process<P>,
    pair: &BucketPair,
    key: &str,
) -> Result<bool, Interruption> {
    let request = HeadRequest::new(&pair.source_bucket, key);
    match process.look_at_source(request).await {
        Ok(head) => Ok(head.is_none()),
        Err(Interruption::Service(error)) if !error.is_retryable() => Ok(is_active(Mutant::DenialAsAbsence)),
        Err(error) => Err(error),
    }
}

async fn at_destination<P: Services>(
    process: &Process<P>,
    pair: &BucketPair,
    extra: &ExtraneousRecord,
) -> Result<Option<ObjectHead>, Interruption> {
    process.look_at_destination(HeadRequest::new(&pair.destination_bucket, &extra.key)).await
}

async fn delete<P: Services>(
    process: &Process<P>,
    absence: Absence<'_>,
    pair: &BucketPair,
    extra: &ExtraneousRecord,
) -> Result<Fate, ScanError> {
    let bucket = &pair.destination_bucket;
    match process.delete_unchanged(absence, bucket, &extra.key, extra.etag.as_ref()).await {
        Ok(Deletion::Deleted) => Ok(Fate::Deleted),
        Ok(Deletion::Unproven) => {
            debug!(bucket, key = extra.key, "an extraneous object is kept: the source may have it again");
            Ok(Fate::Kept)
        }
        Err(Interruption::Service(error)) if !error.is_retryable() => {
            warn!(bucket, key = extra.key, %error, "an extraneous object is kept");
            Ok(Fate::Kept)
        }
        Err(error) => Err(error.into()),
    }
}
