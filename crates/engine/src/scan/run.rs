//! The run of a jobsender: taken by a conditional write, kept by renewing its lease, lost when another jobsender takes
//! it over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use migration_core::ports::{Condition, Item, LedgerKey, Write};
use migration_core::progress::{self, RUN_LEASE_MS, TakeDecision, TakeRequest};
use migration_core::range::KeyRange;
use migration_core::range_split::Cut;
use migration_core::records::{self, CurrentRun, MirrorCounts, RangeRecord, RunRecord, RunSides, ScanCounts};
use migration_ledger::view;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::manifest::Manifest;
use super::pace::Pace;
use super::range::OpenRange;
use super::{ManifestError, ScanError, SenderName, reopen};
use crate::log_context::{LogContext, within, within_sync};
use crate::{Interruption, Process, Services, WriteOutcome};

/// Interval at which the lease is renewed and the counts are written.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// Renewals between two checkpoints, which bound what is sent twice if the jobsender is killed.
const CHECKPOINT_EVERY: u32 = 6;
/// Maximum number of splits of a run, so that its records do not grow with the number of keys.
const MOST_CUTS: usize = 512;

/// Result of taking a run.
pub(super) enum Taken {
    Run(Box<Run>),
    AlreadySent(String),
    Busy(String),
    OtherSides(String),
}

/// A run owned by this jobsender.
pub(super) struct Run {
    table: tokio::sync::Mutex<Table>,
    lost: CancellationToken,
    /// Notified when a page of any range has arrived.
    moved: Arc<Notify>,
    pub(super) pace: Pace,
}

/// The run's records as they are in the ledger, or will be after the next write.
struct Table {
    run: RunRecord,
    ranges: BTreeMap<u32, RangeRecord>,
    /// Ranges changed since the last write that is known to have succeeded. Both parts of a split range are therefore
    /// always written together.
    changed: BTreeSet<u32>,
    /// Ranges being scanned.
    open: BTreeMap<u32, Arc<OpenRange>>,
}

/// Takes a run; waits while another jobsender may still own it.
pub(super) async fn take<P: Services>(process: &Process<P>, name: &SenderName) -> Result<Taken, ScanError> {
    let (job, ledger) = (&process.config.job.uid, &process.ports.ledger);
    loop {
        let current = view::current(ledger, job).await?;
        let last = match &current {
            Some(current) => view::run(ledger, job, &current.run).await?,
            None => None,
        };
        let request = TakeRequest {
            run: name.new_run.clone(),
            started_by: name.started_by.clone(),
            owner: process.runtime.name.clone(),
            pairs: process.config.buckets.clone(),
            sides: RunSides::of(&process.config),
            listed_by_manifest: process.config.manifest.is_some(),
            now: process.runtime.clock.now(),
        };
        let last_id = last.as_ref().map(|run| run.run.clone()).unwrap_or_default();
        let taken = match progress::take(last.as_ref(), &request) {
            TakeDecision::AlreadySent => return Ok(Taken::AlreadySent(last_id)),
            TakeDecision::Busy => return Ok(Taken::Busy(last_id)),
            TakeDecision::OtherSides => return Ok(Taken::OtherSides(last_id)),
            TakeDecision::WaitUntil(at) => {
                let context = LogContext::run(&last_id);
                within_sync(context, || info!("waiting: the run's jobsender may still be alive"));
                wait(process, at - process.runtime.clock.now()).await?;
                continue;
            }
            TakeDecision::Start(record) => {
                within(LogContext::run(&record.run), start(process, record, current)).await?
            }
            TakeDecision::Resume(record) => within(LogContext::run(&record.run), resume(process, record)).await?,
        };
        if let Some(run) = taken {
            return Ok(Taken::Run(Box::new(run)));
        }
        // Another jobsender was first: reads its record again, after a pause.
        wait(process, 0).await?;
    }
}

async fn wait<P: Services>(process: &Process<P>, millis: i64) -> Result<(), Interruption> {
    // At least one second more, since the clocks of two pods differ.
    let wait = Duration::from_millis(u64::try_from(millis).unwrap_or_default() + 1_000);
    process.pause(wait).await
}

/// Writes a new run. Returns `None` if another jobsender was first.
async fn start<P: Services>(
    process: &Process<P>,
    record: RunRecord,
    current: Option<CurrentRun>,
) -> Result<Option<Run>, ScanError> {
    let job = &process.config.job.uid;
    let revision = current.map(|current| current.revision);
    let pointer = CurrentRun { run: record.run.clone(), revision: revision.unwrap_or_default() + 1 };
    let pointer = Write::Put {
        item: Item::of(records::current_key(job), &pointer),
        condition: revision.map_or(Condition::Absent, Condition::Revision),
    };
    let item = Item::of(records::run_key(job, &record.run), &record);
    Ok(match process.replace(item, Condition::Absent, vec![pointer]).await? {
        WriteOutcome::Written => {
            info!("starting a new run");
            let ranges = progress::ranges_of(&record, Vec::new())?;
            Some(Run::new(record, ranges, process.config.backlog_seconds.is_some()))
        }
        WriteOutcome::Lost => None,
    })
}

/// Takes a run over. Returns `None` if another jobsender was first.
async fn resume<P: Services>(process: &Process<P>, mut record: RunRecord) -> Result<Option<Run>, ScanError> {
    let job = &process.config.job.uid;
    let recorded = view::ranges(&process.ports.ledger, job, &record.run).await?;
    let mut ranges = progress::ranges_of(&record, recorded.clone())?;
    record.stale = progress::stale_after_resume(&record, &ranges);
    if record.reopen.is_some() {
        record = reopen::reopen(process, record, &ranges).await?;
        ranges = progress::ranges_of(&record, recorded)?;
    }
    record.scan.counts = ScanCounts::default();
    for range in &ranges {
        record.scan.counts.add(&range.counts);
    }
    let condition = Condition::Revision(record.revision - 1);
    let item = Item::of(records::run_key(job, &record.run), &record);
    Ok(match process.replace(item, condition, Vec::new()).await? {
        WriteOutcome::Written => {
            let open = ranges.iter().filter(|range| !range.closed).count();
            info!(epoch = record.epoch, open, "continuing a run that its jobsender left");
            Some(Run::new(record, ranges, process.config.backlog_seconds.is_some()))
        }
        WriteOutcome::Lost => None,
    })
}

impl Run {
    fn new(run: RunRecord, ranges: Vec<RangeRecord>, is_bounded: bool) -> Self {
        let moved = Arc::new(Notify::new());
        let open = ranges.iter().filter(|record| !record.closed);
        let open = open.filter_map(|record| OpenRange::new(record, &run, moved.clone()));
        let open = open.map(|range| (range.number, Arc::new(range))).collect();
        let ranges = ranges.into_iter().map(|record| (record.range, record)).collect();
        let pace = Pace::new(run.scan.counts.batches, is_bounded);
        let table = Table { run, ranges, changed: BTreeSet::new(), open };
        Self { table: tokio::sync::Mutex::new(table), lost: CancellationToken::new(), moved, pace }
    }

    pub(super) async fn record(&self) -> RunRecord {
        self.table.lock().await.run.clone()
    }

    pub(super) async fn id(&self) -> String {
        self.table.lock().await.run.run.clone()
    }

    /// Returns the ranges that are not closed, in the order of their numbers.
    pub(super) async fn open(&self) -> Vec<Arc<OpenRange>> {
        self.table.lock().await.open.values().cloned().collect()
    }

    /// Returns the counts so far.
    pub(super) async fn counts(&self) -> ScanCounts {
        self.table.lock().await.counts()
    }

    /// Binds the run to a work list. Fails if the run was begun with another one.
    pub(super) async fn work_by(&self, manifest: &Manifest) -> Result<(), ManifestError> {
        let list = &mut self.table.lock().await.run.list;
        if list.as_ref().is_some_and(|begun| *begun != manifest.list) {
            let (bucket, key) = (manifest.location.bucket.clone(), manifest.location.key.clone());
            return Err(ManifestError::Replaced { bucket, key });
        }
        *list = Some(manifest.list.clone());
        Ok(())
    }

    /// Waits until another jobsender has taken the run over.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Waits until a page of any range has arrived.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Renews the lease until `end`, and writes checkpoints of the open ranges.
    pub(super) async fn keep<P: Services>(&self, process: &Process<P>, end: CancellationToken) {
        for beat in 1_u32.. {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = tokio::time::sleep(KEEP_EVERY) => {}
            }
            let mut table = self.table.lock().await;
            if beat.is_multiple_of(CHECKPOINT_EVERY) {
                table.open.values().for_each(|range| range.want_checkpoint());
            }
            table.take_marks();
            if let Err(error) = self.save(process, &mut table, |_| {}).await {
                warn!(%error, "failed to renew the run's lease");
            }
            let record = table.run.clone();
            drop(table);
            self.pace.look(process, &record).await;
        }
    }

    /// Ends the lease, so that the next jobsender need not wait for it, and writes the checkpoints that were reached. If
    /// this fails, the lease runs out.
    pub(super) async fn release<P: Services>(&self, process: &Process<P>) {
        let now = process.runtime.clock.now();
        let mut table = self.table.lock().await;
        table.take_marks();
        if let Err(error) = self.save(process, &mut table, |record| record.lease_until = now).await {
            warn!(%error, "failed to end the run's lease");
        }
    }

    /// Records that a range is closed.
    pub(super) async fn close_range<P: Services>(
        &self,
        process: &Process<P>,
        range: &OpenRange,
        counts: ScanCounts,
    ) -> Result<(), ScanError> {
        let mut table = self.table.lock().await;
        table.open.remove(&range.number);
        if let Some(record) = table.ranges.get_mut(&range.number) {
            *record = RangeRecord { closed: true, epoch: range.epoch, position: None, counts, ..record.clone() };
        }
        table.changed.insert(range.number);
        self.save(process, &mut table, |_| {}).await
    }

    /// Splits a range and returns the new ranges; none if it is too late, or if there are too many ranges.
    pub(super) async fn cut<P: Services>(
        &self,
        process: &Process<P>,
        range: &OpenRange,
        cut: Cut,
    ) -> Result<Vec<Arc<OpenRange>>, ScanError> {
        let mut table = self.table.lock().await;
        let room = (table.run.pairs.len() + MOST_CUTS).saturating_sub(table.ranges.len());
        if room == 0 {
            range.leave_whole();
            return Ok(Vec::new());
        }
        let parts = range.cut(&cut.at[..cut.at.len().min(room)]);
        let Some(first) = parts.first() else { return Ok(Vec::new()) };
        if let Some(record) = table.ranges.get_mut(&range.number) {
            record.keys.until.clone_from(&first.after);
        }
        table.changed.insert(range.number);
        let mut known = (cut.top, cut.beyond);
        let mut new = Vec::new();
        for keys in parts.into_iter().rev() {
            new.extend(table.add(range, keys, self.moved.clone(), std::mem::take(&mut known)));
        }
        new.reverse();
        self.save(process, &mut table, |_| {}).await?;
        Ok(new)
    }

    /// Records the result of extraneous objects in the counts, and deletes their records, which have these keys.
    pub(super) async fn settle<P: Services>(
        &self,
        process: &Process<P>,
        records: Vec<LedgerKey>,
        counts: MirrorCounts,
    ) -> Result<(), ScanError> {
        let mut table = self.table.lock().await;
        let settled = records.into_iter().map(|key| Write::Delete { key, condition: Condition::Always }).collect();
        self.save_with(process, &mut table, settled, |record| {
            let all = record.mirror.get_or_insert_default();
            all.deleted += counts.deleted;
            all.kept += counts.kept;
            all.refused |= counts.refused;
        })
        .await
    }

    /// Closes the scan. All ranges must be closed.
    pub(super) async fn close<P: Services>(&self, process: &Process<P>) -> Result<ScanCounts, ScanError> {
        let now = process.runtime.clock.now();
        let mut table = self.table.lock().await;
        if let Some(open) = table.ranges.values().find(|range| !range.closed) {
            return Err(ScanError::Broken(format!("range {} was left open", open.range)));
        }
        self.save(process, &mut table, |record| {
            record.scan.closed = true;
            record.scan.waiting = false;
            record.scan.closed_at = now;
        })
        .await?;
        Ok(table.counts())
    }

    /// Writes the run record with the current counts and a renewed lease, and the changed ranges.
    async fn save<P: Services>(
        &self,
        process: &Process<P>,
        table: &mut Table,
        change: impl FnOnce(&mut RunRecord) + Send,
    ) -> Result<(), ScanError> {
        self.save_with(process, table, Vec::new(), change).await
    }

    /// Like [`Self::save`], with further writes, all or nothing.
    async fn save_with<P: Services>(
        &self,
        process: &Process<P>,
        table: &mut Table,
        mut others: Vec<Write>,
        change: impl FnOnce(&mut RunRecord) + Send,
    ) -> Result<(), ScanError> {
        let job = &process.config.job.uid;
        let now = process.runtime.clock.now();
        let mut next = table.run.clone();
        next.revision += 1;
        next.lease_until = now + RUN_LEASE_MS;
        next.scan.counts = table.counts();
        next.scan.waiting = self.pace.is_waiting();
        change(&mut next);
        let item = Item::of(records::run_key(job, &next.run), &next);
        let ranges = table.changed.iter().filter_map(|number| table.ranges.get(number));
        let ranges = ranges.map(|range| {
            let item = Item::of(records::range_key(job, &next.run, range.range), range);
            Write::Put { item: item.expiring(now + records::RETENTION_MS), condition: Condition::Always }
        });
        others.extend(ranges);
        let before = Condition::Revision(table.run.revision);
        if process.replace(item, before, others).await? == WriteOutcome::Lost {
            self.lost.cancel();
            return Err(ScanError::TakenOver(next.run));
        }
        table.run = next;
        table.changed.clear();
        Ok(())
    }
}

impl Table {
    /// Adds a part of a range that was split.
    fn add(
        &mut self,
        of: &OpenRange,
        keys: KeyRange,
        moved: Arc<Notify>,
        known: (Option<String>, Option<String>),
    ) -> Option<Arc<OpenRange>> {
        let range = self.ranges.keys().next_back().map_or(0, |last| last + 1);
        let (epoch, pair) = (of.epoch, of.pair_number);
        let record = RangeRecord { range, epoch, keys, pair, ..RangeRecord::default() };
        let new = Arc::new(OpenRange::new(&record, &self.run, moved)?.cut_off(known));
        self.ranges.insert(range, record);
        self.open.insert(range, new.clone());
        self.changed.insert(range);
        Some(new)
    }

    /// Returns the counts so far.
    fn counts(&self) -> ScanCounts {
        let mut counts = ScanCounts::default();
        for record in self.ranges.values() {
            counts.add(&self.open.get(&record.range).map_or(record.counts, |range| range.counts()));
        }
        counts
    }

    /// Copies new checkpoints of the open ranges into their records.
    fn take_marks(&mut self) {
        for (number, range) in &self.open {
            if let (Some((position, counts)), Some(record)) = (range.take_mark(), self.ranges.get_mut(number)) {
                *record = RangeRecord { epoch: range.epoch, position: Some(position), counts, ..record.clone() };
                self.changed.insert(*number);
            }
        }
    }
}
