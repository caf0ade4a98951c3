//! Deletes what the destination has and the source does not, after both sides were listed whole. Each object is asked for
//! once more at both sides before it goes, and goes only as what was listed. In buckets that keep versions, a deletion is
//! a delete marker: the versions stay.

use futures::{StreamExt, TryStreamExt, stream};
use migration_core::error::ServiceError;
use migration_core::ignore::IgnoreList;
use migration_core::mirror::{Fate, may_delete};
use migration_core::mutants::{Mutant, is_active};
use migration_core::operation::RequestInfo;
use migration_core::pair::BucketPair;
use migration_core::ports::{DeleteRequest, HeadRequest, Ledger, ObjectHead, ObjectStore, Operation, Queue};
use migration_core::records::{ExtraneousRecord, MirrorCounts, RunRecord, extraneous_partition};
use tracing::{info, warn};

use super::ScanError;
use super::run::Run;
use crate::{Interruption, Process, Services};

/// Objects that are looked at at once.
const AT_ONCE: usize = 16;
/// Objects whose fate is recorded in one write.
const PAGE: u32 = 48;

/// Deletes what is extra, unless it is more than may be deleted.
pub(super) async fn delete_extras<P: Services>(
    process: &Process<P>,
    ignore: &IgnoreList,
    run: &Run,
) -> Result<(), ScanError> {
    let Some(settings) = process.config.mirror else { return Ok(()) };
    let before = run.record().await.mirror.unwrap_or_default();
    let found = before.deletions(run.counts().await.extra);
    if found > settings.max_deletes && !is_active(Mutant::MirrorUnbounded) {
        warn!(found, max = settings.max_deletes, "nothing is deleted: more is extra than may be deleted");
        return run.settle(process, &[], MirrorCounts { refused: true, ..MirrorCounts::default() }).await;
    }
    let record = run.record().await;
    for (pair, number) in record.pairs.iter().zip(0_u32..) {
        let partition = extraneous_partition(&process.config.job.uid, &record.run, number);
        loop {
            // What is settled is removed, so that what is left begins at the first page.
            let page = process.ledger(|| process.ports.ledger.query(&partition, "", None, PAGE)).await?;
            let extras: Vec<ExtraneousRecord> = page.items.iter().filter_map(|item| item.read().ok()).collect();
            if extras.is_empty() {
                break;
            }
            // By value: what is spawned can't hold a future that borrows what a closure was given.
            let fates = stream::iter(extras.clone()).map(|extra| settle_one(process, ignore, &record, pair, extra));
            let fates: Vec<Fate> = fates.buffer_unordered(AT_ONCE).try_collect().await?;
            let mut counts = MirrorCounts::default();
            for fate in fates {
                counts.add(fate);
            }
            run.settle(process, &extras, counts).await?;
        }
    }
    Ok(())
}

async fn settle_one<P: Services>(
    process: &Process<P>,
    ignore: &IgnoreList,
    run: &RunRecord,
    pair: &BucketPair,
    extra: ExtraneousRecord,
) -> Result<Fate, ScanError> {
    let Some(source_key) = pair.source_key(&extra.key) else { return Ok(Fate::Kept) };
    // It was found by a sender that may have had a shorter list.
    if ignore.ignores(&pair.source_bucket, &source_key) {
        return Ok(Fate::Kept);
    }
    let is_gone = is_gone_at_source(process, pair, &source_key).await?;
    let there = at_destination(process, pair, &extra).await?;
    if is_gone && there.is_none() {
        // Somebody else deleted it, or a sender that was killed before it could say so.
        return Ok(Fate::Deleted);
    }
    if !may_delete(&extra, is_gone, there.as_ref(), run.started) {
        info!(bucket = pair.destination_bucket, key = extra.key, "an extra object stays");
        return Ok(Fate::Kept);
    }
    delete(process, pair, &extra).await
}

/// Whether the source says that it has no such object. What it refuses to say is no absence, nor is a 404 of somebody else.
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
    pair: &BucketPair,
    extra: &ExtraneousRecord,
) -> Result<Fate, ScanError> {
    let bucket = &pair.destination_bucket;
    let access = RequestInfo::object(Operation::DeleteObject, bucket, &extra.key);
    let store = &process.ports.destination;
    let request = DeleteRequest { bucket, key: &extra.key, if_match: extra.etag.as_ref() };
    let mut deleted = process.destination(access, || store.delete(request)).await;
    if let Err(Interruption::Service(error)) = &deleted
        && has_no_conditions(error)
    {
        let request = DeleteRequest { if_match: None, ..request };
        deleted = process.destination(access, || store.delete(request)).await;
    }
    match deleted {
        Ok(()) => Ok(Fate::Deleted),
        Err(Interruption::Service(error)) if !error.is_retryable() => {
            warn!(bucket, key = extra.key, %error, "an extra object stays");
            Ok(Fate::Kept)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the service does not know conditions of deletions: the look just before has to do.
fn has_no_conditions(error: &ServiceError) -> bool {
    error.code == "NotImplemented"
}
