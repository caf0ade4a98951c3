//! The scan of one range: both listings merged in order, differences gathered into batches and sent as they are found.

use std::sync::Arc;

use migration_core::batch::{BatchLimits, Batcher};
use migration_core::compare::{
    CompareContext, Evidence, ListedObject, Verdict, compare, compare_checksums, compare_version,
};
use migration_core::config::Encryption;
use migration_core::error::Side;
use migration_core::ignore::IgnoreList;
use migration_core::message::{Batch, BatchId, DestinationState, Entry, MESSAGE_VERSION};
use migration_core::outcome::FailureClass;
use migration_core::pair::MapKeyError;
use migration_core::planted::{Defect, is_planted};
use migration_core::ports::{Checksum, HeadRequest, Ledger, ObjectHead, ObjectStore, Queue};
use migration_core::records::{self, FailureRecord, RunRecord, RunResult, ScanCounts};

use super::SendError;
use super::listing::Listing;
use super::range::OpenRange;
use super::records::Records;
use super::run::Run;
use super::versions::Versions;
use crate::gate::Access;
use crate::outbox::Outbox;
use crate::{Interruption, Process};

/// The last run before this one whose scan was complete.
pub(super) async fn last_scanned<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    run: &RunRecord,
) -> Result<Option<RunRecord>, SendError> {
    let job = records::job_partition(&process.config.job.uid);
    let mut last: Option<RunRecord> = None;
    let mut after: Option<String> = None;
    loop {
        let query = || process.ports.ledger.query(&job, records::RUN_PREFIX, after.as_deref(), 100);
        let page = process.ledger(query).await?;
        let runs = page.items.iter().filter_map(|item| item.read::<RunRecord>().ok());
        let scanned = runs.filter(|other| other.run != run.run && other.scan.closed);
        last = last.into_iter().chain(scanned).max_by_key(|run| run.started);
        after = page.next;
        if after.is_none() {
            return Ok(last);
        }
    }
}

/// What the scans of all ranges share.
pub(super) struct Scanner<S, Q, L> {
    pub(super) process: Arc<Process<S, Q, L>>,
    pub(super) ignore: IgnoreList,
    /// The last run before this one whose scan was complete.
    pub(super) last: Option<RunRecord>,
    pub(super) run: Arc<Run>,
}

impl<S, Q, L> Scanner<S, Q, L> {
    /// What comparisons need to know.
    fn context(&self) -> CompareContext {
        let last_complete_scan = self.last.as_ref().map(|last| last.started);
        let config = &self.process.config;
        // Under such keys the service gives ETags that look like digests of the content and are none.
        let opaque_etags = matches!(config.write.encryption, Some(Encryption::Kms { .. } | Encryption::DualKms { .. }));
        CompareContext { mode: config.compare, opaque_etags, last_complete_scan, ..CompareContext::default() }
    }

    /// What the last run could not move of a range, where it left anything.
    fn failed_last(&self, range: &OpenRange) -> Option<Records<FailureRecord>> {
        let last = self.last.as_ref()?;
        if last.end.as_ref().is_some_and(|end| end.result == RunResult::Complete) {
            return None;
        }
        let place = last.pairs.iter().position(|pair| *pair == range.pair)?;
        let job = &self.process.config.job.uid;
        let partition = records::failure_partition(job, &last.run, u32::try_from(place).ok()?);
        Some(Records::new(partition, range.begin.as_deref()))
    }
}

/// A range's scan under way.
struct Scan<'a, S, Q, L> {
    process: &'a Process<S, Q, L>,
    ignore: &'a IgnoreList,
    context: CompareContext,
    range: &'a OpenRange,
    batcher: Batcher,
    outbox: Outbox,
    versions: Option<Versions>,
    failed_last: Option<Records<FailureRecord>>,
    counts: ScanCounts,
}

/// What becomes of a source object.
enum Place {
    /// It belongs under this key of the destination.
    At(String),
    Ignored,
    Nowhere(MapKeyError),
}

/// Scans a range to its end and gives what was found.
pub(super) async fn scan_range<S: ObjectStore, Q: Queue, L: Ledger>(
    scanner: &Scanner<S, Q, L>,
    range: &Arc<OpenRange>,
) -> Result<ScanCounts, SendError> {
    let process = &scanner.process;
    let mut source = Listing::open(process, Side::Source, range);
    let mut destination = Listing::open(process, Side::Destination, range);
    let mut scan = Scan::new(scanner, range);
    while let Some(object) = source.next().await? {
        let key = range.is_checkpoint_due().then(|| object.key.clone());
        match scan.place(&object) {
            Place::At(mapped) => {
                let there = destination.find(&mapped).await?;
                scan.compare(object, there).await?;
            }
            Place::Ignored => scan.counts.ignored += 1,
            Place::Nowhere(error) => scan.leave_out(&object, error).await?,
        }
        range.found(scan.counts);
        if let Some(key) = key {
            if !is_planted(Defect::CheckpointAhead) {
                scan.flush().await?;
            }
            range.mark(key, scan.counts);
        }
    }
    scan.flush().await?;
    Ok(scan.counts)
}

impl<'a, S: ObjectStore, Q: Queue, L: Ledger> Scan<'a, S, Q, L> {
    fn new(scanner: &'a Scanner<S, Q, L>, range: &'a OpenRange) -> Self {
        let config = &scanner.process.config;
        let versions = || Versions::new(&config.job.uid, &range.pair, range.begin.as_deref());
        Self {
            process: &scanner.process,
            ignore: &scanner.ignore,
            context: scanner.context(),
            range,
            batcher: Batcher::new(BatchLimits::new(config.transfer.multipart_threshold.bytes())),
            outbox: Outbox::default(),
            versions: config.versioning.compare_version_id.then(versions),
            failed_last: scanner.failed_last(range),
            counts: range.before,
        }
    }

    fn place(&self, object: &ListedObject) -> Place {
        let ListedObject { key, size, modified, storage_class, .. } = object;
        let kept = self.process.config.filter.keeps(*size, *modified, storage_class.as_deref());
        if !kept || self.ignore.ignores(&self.range.pair.source_bucket, key) {
            return Place::Ignored;
        }
        self.range.pair.map_key(key).map_or_else(Place::Nowhere, Place::At)
    }

    /// Records an object that has no place at the destination.
    async fn leave_out(&mut self, object: &ListedObject, error: MapKeyError) -> Result<(), SendError> {
        self.counts.failed += 1;
        self.counts.failed_bytes += object.size;
        self.record_failure(object, error).await
    }

    async fn record_failure(&self, object: &ListedObject, error: MapKeyError) -> Result<(), SendError> {
        let failure = FailureRecord {
            pair: self.range.pair_number,
            key: object.key.clone(),
            size: object.size,
            class: FailureClass::KeyNotMappable,
            message: error.to_string(),
            attempts: 1,
            request_ids: Vec::new(),
            at: self.process.clock.now(),
        };
        let write = records::failure_write(&self.process.config.job.uid, &self.range.run, &failure);
        self.process.write(&[write]).await?;
        Ok(())
    }

    async fn compare(&mut self, source: ListedObject, there: Option<ListedObject>) -> Result<(), SendError> {
        let verdict = self.verdict(&source, there.as_ref()).await?;
        match verdict {
            Verdict::InPlace(evidence) => {
                self.counts.in_place += 1;
                self.counts.in_place_bytes += source.size;
                self.counts.in_place_by_time += u64::from(evidence == Evidence::SizeAndTime);
                self.counts.in_place_by_size += u64::from(evidence == Evidence::Size);
                Ok(())
            }
            Verdict::Transfer(_) | Verdict::AskForChecksums => {
                let destination = there.map(|there| DestinationState { etag: there.etag });
                let ListedObject { key, size, etag, version_id, .. } = source;
                let entry = Entry { key, size, etag, version_id, destination, unlisted: false };
                for full in self.batcher.push(entry) {
                    self.send(full).await?;
                }
                Ok(())
            }
        }
    }

    /// What both sides say of an object, after all that has to be asked for.
    async fn verdict(&mut self, source: &ListedObject, there: Option<&ListedObject>) -> Result<Verdict, SendError> {
        let failed_last = match &mut self.failed_last {
            Some(failures) => failures.of(self.process, &source.key).await?.is_some(),
            None => false,
        };
        let context = CompareContext { failed_last, ..self.context };
        let verdict = match &mut self.versions {
            None => compare(source, there, context),
            Some(versions) => {
                let record = versions.of(self.process, &source.key).await?;
                let recorded = record.and_then(|record| record.version_id.as_deref());
                compare_version(source, there, recorded, context)
            }
        };
        let (Verdict::AskForChecksums, Some(there)) = (verdict, there) else { return Ok(verdict) };
        let checksums = self.checksums(source, there).await?;
        Ok(compare_checksums(source, there, checksums, context))
    }

    /// The checksums that the services keep of what was listed; none of what has another content by now.
    async fn checksums(
        &self,
        source: &ListedObject,
        there: &ListedObject,
    ) -> Result<(Option<Checksum>, Option<Checksum>), SendError> {
        let (process, pair) = (self.process, &self.range.pair);
        let ask = |bucket, key| HeadRequest { checksum: true, ..HeadRequest::new(bucket, key) };
        let at_source = ask(&pair.source_bucket, &source.key);
        let at_destination = ask(&pair.destination_bucket, &there.key);
        let (at_source, at_destination) = tokio::join!(
            process.source(Access::object(at_source.bucket, at_source.key), || process.ports.source.head(at_source)),
            process.destination(Access::object(at_destination.bucket, at_destination.key), || {
                process.ports.destination.head(at_destination)
            }),
        );
        Ok((checksum_of(at_source, source)?, checksum_of(at_destination, there)?))
    }

    async fn send(&mut self, objects: Vec<Entry>) -> Result<(), SendError> {
        let batch = Batch {
            version: MESSAGE_VERSION,
            job: self.process.config.job.uid.clone(),
            run: self.range.run.clone(),
            id: BatchId::new(self.range.number, self.range.epoch, self.counts.batches),
            scanned: self.process.clock.now(),
            pair: self.range.pair.clone(),
            attempts: 0,
            objects,
        };
        self.counts.batches += 1;
        self.counts.objects += batch.objects.len() as u64;
        self.counts.bytes += batch.bytes();
        Ok(self.outbox.push(self.process, batch.body()).await?)
    }

    /// Sends what is at hand.
    async fn flush(&mut self) -> Result<(), SendError> {
        if let Some(rest) = self.batcher.flush() {
            self.send(rest).await?;
        }
        Ok(self.outbox.flush(self.process).await?)
    }
}

/// The checksum that a look at an object showed; none of what has another content than the one listed. Where this object
/// alone is refused nothing is known of its content, and the others go on.
fn checksum_of(
    head: Result<Option<ObjectHead>, Interruption>,
    listed: &ListedObject,
) -> Result<Option<Checksum>, Interruption> {
    match head {
        Ok(head) => {
            Ok(head.filter(|head| head.etag == listed.etag && head.size == listed.size).and_then(|h| h.checksum))
        }
        Err(Interruption::Service(error)) if !error.is_retryable() => Ok(None),
        Err(error) => Err(error),
    }
}
