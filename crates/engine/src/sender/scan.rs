//! The scan of one range: both listings merged in order, differences gathered into batches and sent as they are found.

use std::sync::Arc;

use migration_core::batch::{BatchLimits, Batcher};
use migration_core::compare::{CompareContext, Evidence, ListedObject, Verdict, compare, compare_version};
use migration_core::error::Side;
use migration_core::ignore::IgnoreList;
use migration_core::message::{Batch, BatchId, DestinationState, Entry, MESSAGE_VERSION};
use migration_core::outcome::FailureClass;
use migration_core::pair::MapKeyError;
use migration_core::planted::{Defect, is_planted};
use migration_core::ports::{Condition, Item, Ledger, ObjectStore, Queue, Write};
use migration_core::records::{self, FailureRecord, RETENTION_MS, RunRecord, ScanCounts};

use super::SendError;
use super::listing::Listing;
use super::range::OpenRange;
use super::run::Run;
use super::versions::Versions;
use crate::Process;
use crate::outbox::Outbox;

/// What comparisons need to know: when the last complete scan before this run began.
pub(super) async fn context<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    run: &RunRecord,
) -> Result<CompareContext, SendError> {
    let job = records::job_partition(&process.config.job.uid);
    let mut last_complete_scan = None;
    let mut after: Option<String> = None;
    loop {
        let query = || process.ports.ledger.query(&job, records::RUN_PREFIX, after.as_deref(), 100);
        let page = process.ledger(query).await?;
        for item in &page.items {
            let before = item.read::<RunRecord>().ok().filter(|other| other.run != run.run && other.scan.closed);
            last_complete_scan = last_complete_scan.max(before.map(|other| other.started));
        }
        after = page.next;
        if after.is_none() {
            return Ok(CompareContext { last_complete_scan, clock_offset: 0 });
        }
    }
}

/// What the scans of all ranges share.
pub(super) struct Scanner<S, Q, L> {
    pub(super) process: Arc<Process<S, Q, L>>,
    pub(super) ignore: IgnoreList,
    pub(super) context: CompareContext,
    pub(super) run: Arc<Run>,
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
        match scan.place(&object.key) {
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
            context: scanner.context,
            range,
            batcher: Batcher::new(BatchLimits::new(config.transfer.multipart_threshold.bytes())),
            outbox: Outbox::default(),
            versions: config.versioning.compare_version_id.then(versions),
            counts: range.before,
        }
    }

    fn place(&self, key: &str) -> Place {
        if self.ignore.ignores(&self.range.pair.source_bucket, key) {
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
        let now = self.process.clock.now();
        let failure = FailureRecord {
            pair: self.range.pair_number,
            key: object.key.clone(),
            size: object.size,
            class: FailureClass::KeyNotMappable,
            message: error.to_string(),
            attempts: 1,
            request_ids: Vec::new(),
            at: now,
        };
        let key = records::failure_key(&self.process.config.job.uid, &self.range.run, &failure);
        let item = Item::of(key, &failure).expiring(now + RETENTION_MS);
        self.process.write(&[Write::Put { item, condition: Condition::Always }]).await?;
        Ok(())
    }

    async fn compare(&mut self, source: ListedObject, there: Option<ListedObject>) -> Result<(), SendError> {
        let verdict = match &mut self.versions {
            None => compare(&source, there.as_ref(), self.context),
            Some(versions) => {
                let recorded = versions.of(self.process, &source.key).await?.and_then(|record| record.version_id);
                compare_version(&source, there.as_ref(), recorded.as_deref(), self.context)
            }
        };
        match verdict {
            Verdict::InPlace(evidence) => {
                self.counts.in_place += 1;
                self.counts.in_place_bytes += source.size;
                self.counts.in_place_by_time += u64::from(evidence == Evidence::SizeAndTime);
                Ok(())
            }
            Verdict::Transfer(_) => {
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
