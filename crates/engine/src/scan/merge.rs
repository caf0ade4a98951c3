//! Scans one range: merges both listings in order, and compares each object with its copy.

mod act;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use migration_core::batch::{BatchLimits, Batcher};
use migration_core::compare::CompareContext;
use migration_core::error::Service;
use migration_core::finding::Finding;
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::ListedObject;
use migration_core::outcome::{Failure, FailureClass};
use migration_core::pair::{BucketPair, MapKeyError};
use migration_core::ports::{ObjectStore, Write};
use migration_core::records::{self, RunRecord, RunResult, ScanCounts};
use serde::de::IgnoredAny;
use tokio::sync::Semaphore;

use super::findings::{Findings, Found};
use super::listing::Listing;
use super::manifest::Manifest;
use super::range::OpenRange;
use super::records::Records;
use super::run::Run;
use super::verdict::{Judge, Memory};
use super::versions::Versions;
use super::{Purpose, ScanError};
use crate::send_buffer::SendBuffer;
use crate::{Process, Services};

/// State shared by the scans of all ranges.
pub(super) struct Scanner<P: Services> {
    pub(super) process: Arc<Process<P>>,
    pub(super) purpose: Purpose,
    /// The last run before this one whose scan was complete.
    pub(super) last: Option<RunRecord>,
    pub(super) run: Arc<Run>,
    /// Extraneous objects found so far in all ranges.
    pub(super) extras: AtomicU64,
    /// The work list, if the run has one.
    pub(super) manifest: Option<Arc<Manifest>>,
    /// Places for verdicts that take requests, besides those of work lists.
    pub(super) asking: Semaphore,
    /// Places for verdicts that read an object and its copy.
    pub(super) reading: Semaphore,
}

impl<P: Services> Scanner<P> {
    /// Returns the context of comparisons.
    fn context(&self) -> CompareContext {
        let last_complete_scan = self.last.as_ref().map(|last| last.started);
        let config = &self.process.config;
        let opaque_etags = self.process.ports.destination.capabilities().has_opaque_etags;
        CompareContext { mode: config.compare, opaque_etags, last_complete_scan, ..CompareContext::default() }
    }

    /// Returns the last run and the pair's index in it, if it may have failed to transfer some objects.
    pub(super) fn left_over(&self, pair: &BucketPair) -> Option<(&str, u32)> {
        let last = self.last.as_ref()?;
        if last.end.as_ref().is_some_and(|end| end.result == RunResult::Complete) {
            return None;
        }
        let place = last.pairs.iter().position(|other| other == pair)?;
        Some((&last.run, u32::try_from(place).ok()?))
    }

    /// Returns the objects of a range that the last run failed to copy, or `None` if that run was complete or had other
    /// pairs. The existence of a record is enough, whether it can be read or not.
    fn failed_last(&self, range: &OpenRange) -> Option<Records<IgnoredAny>> {
        let (run, place) = self.left_over(&range.pair)?;
        let partition = records::failure_partition(&self.process.config.job.uid, run, place);
        Some(Records::new(partition, range.begin.as_deref()))
    }

    /// Creates the judge of the objects of a range.
    pub(super) fn judge<'a>(&'a self, range: &'a OpenRange) -> Judge<'a, P> {
        let (process, verify) = (&*self.process, self.purpose.verify);
        let context = self.context();
        let opaque_etags = context.opaque_etags || process.is_without_digests(&range.pair.source_bucket);
        let context = CompareContext { opaque_etags, ..context };
        Judge { process, pair: &range.pair, context, verify, reading: &self.reading }
    }
}

/// A scan of a range.
pub(super) struct Scan<'a, P: Services> {
    process: &'a Process<P>,
    scanner: &'a Arc<Scanner<P>>,
    judge: Judge<'a, P>,
    range: &'a Arc<OpenRange>,
    findings: Findings,
    batcher: Batcher,
    send_buffer: SendBuffer,
    versions: Option<Versions>,
    /// Name of the destination's place.
    place: String,
    /// True if extraneous objects of the destination are counted.
    wants_extras: bool,
    /// Records of extraneous objects not yet written.
    extraneous: Vec<Write>,
    failed_last: Option<Records<IgnoredAny>>,
    counts: ScanCounts,
}

/// Destination of a source object.
enum Place {
    /// This key of the destination.
    At(String),
    Ignored,
    Nowhere(MapKeyError),
}

/// Scans a range to its end and returns the counts.
pub(super) async fn scan_range<P: Services>(
    scanner: &Arc<Scanner<P>>,
    range: &Arc<OpenRange>,
) -> Result<ScanCounts, ScanError> {
    let process = &scanner.process;
    let mut source = Listing::open(process, Service::Source, range);
    let mut destination = Listing::open(process, Service::Destination, range);
    let mut scan = Scan::new(scanner, range);
    while let Some(object) = source.next().await? {
        let key = scan.is_checkpoint_due().then(|| object.key.clone());
        match scan.place(&object) {
            Place::At(mapped) => {
                let there = scan.there(&mut destination, &mapped).await?;
                scan.compare(object, there).await?;
            }
            Place::Ignored => scan.ignore(object, &mut destination).await?,
            Place::Nowhere(error) => {
                let failure = Failure::new(FailureClass::KeyNotMappable, error.to_string());
                scan.find(Found::Unmovable(object, failure)).await?;
            }
        }
        match key {
            Some(key) => scan.find(Found::Checkpoint(key)).await?,
            None => scan.tell_counts(),
        }
        scan.act_on_ready().await?;
    }
    scan.rest(&mut destination).await?;
    scan.act_on_all().await?;
    scan.end().await
}

impl<'a, P: Services> Scan<'a, P> {
    pub(super) fn new(scanner: &'a Arc<Scanner<P>>, range: &'a Arc<OpenRange>) -> Self {
        let config = &scanner.process.config;
        let versions = || Versions::new(&config.job.uid, &range.pair, range.begin.as_deref());
        Self {
            process: &scanner.process,
            scanner,
            wants_extras: scanner.purpose.extras || config.mirror.is_some(),
            extraneous: Vec::new(),
            judge: scanner.judge(range),
            range,
            findings: Findings::default(),
            batcher: Batcher::new(BatchLimits::new(config.transfer.multipart_threshold.bytes())),
            send_buffer: SendBuffer::default(),
            versions: config.versioning.compare_version_id.then(versions),
            place: config.destination.place_name(),
            failed_last: scanner.failed_last(range),
            counts: range.before,
        }
    }

    /// Returns true if a checkpoint is due. Also before waiting for the workers, so that what was sent is not sent
    /// again if the jobsender is killed meanwhile.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        self.range.is_checkpoint_due() || self.scanner.run.pace.is_waiting()
    }

    /// Records that all objects up to here were processed.
    pub(super) async fn checkpoint(&mut self, position: String) -> Result<(), ScanError> {
        if !is_active(Mutant::CheckpointAhead) {
            self.flush().await?;
        }
        self.tell_counts();
        self.range.mark(position, self.counts);
        self.scanner.run.pace.wait().await;
        Ok(())
    }

    /// Publishes the counts so far.
    pub(super) fn tell_counts(&self) {
        self.range.found(self.counts);
    }

    /// Sends the last batch, and returns the counts.
    pub(super) async fn end(mut self) -> Result<ScanCounts, ScanError> {
        self.flush().await?;
        Ok(self.counts)
    }

    fn place(&self, object: &ListedObject) -> Place {
        if self.hides(object, &object.key) {
            return Place::Ignored;
        }
        self.range.pair.map_key(&object.key).map_or_else(Place::Nowhere, Place::At)
    }

    /// Returns true if the filters hide an object that has, or would have, this key at the source.
    fn hides(&self, object: &ListedObject, source_key: &str) -> bool {
        let ListedObject { size, modified, storage_class, .. } = object;
        let kept = self.process.config.filter.keeps(*size, *modified, storage_class.as_deref());
        !kept || self.process.config.ignore_list().ignores(&self.range.pair.source_bucket, source_key)
    }

    fn tell(&self, finding: &Finding<'_>) {
        self.process.runtime.telemetry.found.add(finding.action(), 1);
        if let Some(observer) = &self.scanner.purpose.observer {
            observer.found(&self.range.pair, finding);
        }
    }

    /// Returns the destination's object with this key. Earlier ones are extraneous.
    async fn there(&mut self, destination: &mut Listing, key: &str) -> Result<Option<ListedObject>, ScanError> {
        if self.wants_extras {
            while let Some(extra) = destination.before(Some(key)).await? {
                self.extra(extra).await?;
            }
        }
        destination.find(key).await
    }

    /// Processes the destination's objects after the last source key of the range.
    async fn rest(&mut self, destination: &mut Listing) -> Result<(), ScanError> {
        if !self.wants_extras {
            return Ok(());
        }
        while let Some(extra) = destination.before(None).await? {
            // The range cannot be split any more.
            if self.range.is_behind(&extra.key) {
                return Ok(());
            }
            self.extra(extra).await?;
        }
        Ok(())
    }

    /// Finds an extraneous object, unless the filters would hide its source.
    async fn extra(&mut self, there: ListedObject) -> Result<(), ScanError> {
        let Some(source_key) = self.range.pair.source_key(&there.key) else { return Ok(()) };
        if self.hides(&there, &source_key) { Ok(()) } else { self.find(Found::Extra(there)).await }
    }

    /// Skips an object hidden by the filters, and the destination's object with its key.
    async fn ignore(&mut self, object: ListedObject, destination: &mut Listing) -> Result<(), ScanError> {
        let mapped = self.wants_extras.then(|| self.range.pair.map_key(&object.key).ok()).flatten();
        self.find(Found::Hidden(object)).await?;
        if let Some(mapped) = mapped {
            self.there(destination, &mapped).await?;
        }
        Ok(())
    }

    async fn compare(&mut self, source: ListedObject, there: Option<ListedObject>) -> Result<(), ScanError> {
        let memory = self.memory(&source.key).await?;
        if let Some(verdict) = self.judge.at_once(&source, there.as_ref(), &memory) {
            return self.find(Found::Compared { source, there, verdict }).await;
        }
        self.findings.ask(self.scanner, self.range, (source, there), memory);
        self.make_room().await
    }

    /// Returns the results of earlier runs for an object. Must be called in the order of keys.
    async fn memory(&mut self, key: &str) -> Result<Memory, ScanError> {
        let mut memory = Memory::default();
        if self.judge.verify.is_some() {
            return Ok(memory);
        }
        if let Some(failures) = &mut self.failed_last {
            memory.failed_last = failures.of(self.process, key).await?.is_some();
        }
        if let Some(versions) = &mut self.versions {
            let record = versions.of(self.process, key).await?;
            memory.version_id = record.and_then(|record| record.at_place(&self.place).map(ToOwned::to_owned));
        }
        Ok(memory)
    }
}
