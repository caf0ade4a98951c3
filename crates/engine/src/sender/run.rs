//! The run that a sender has: taken by condition, kept by renewals, lost when another sender took it over.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use migration_core::ports::{Condition, Item, Ledger, ObjectStore, Queue, Write};
use migration_core::progress::{self, RUN_LEASE_MS, TakeDecision, TakeRequest};
use migration_core::records::{self, CurrentRun, RangeRecord, RunRecord, ScanCounts};
use migration_core::view;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{SendError, SenderName};
use crate::{Interruption, Process, WriteOutcome};

/// How often the lease is renewed and the numbers so far are written.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// What came of asking for a run.
pub(super) enum Taken {
    Run(Box<Run>),
    AlreadySent(String),
    Busy(String),
}

/// A run that this sender has.
pub(super) struct Run {
    record: tokio::sync::Mutex<RunRecord>,
    /// Sums of closed ranges.
    closed: Mutex<ScanCounts>,
    /// What was found so far in the range under work.
    open: Mutex<ScanCounts>,
    lost: CancellationToken,
}

/// Asks for a run until the answer is final.
pub(super) async fn take<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    name: &SenderName,
) -> Result<Taken, SendError> {
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
            owner: process.name.clone(),
            pairs: process.config.buckets.clone(),
            now: process.clock.now(),
        };
        let last_id = last.as_ref().map(|run| run.run.clone()).unwrap_or_default();
        let taken = match progress::take(last.as_ref(), &request) {
            TakeDecision::AlreadySent => return Ok(Taken::AlreadySent(last_id)),
            TakeDecision::Busy => return Ok(Taken::Busy(last_id)),
            TakeDecision::WaitUntil(at) => {
                info!(run = last_id, "waiting: the run's sender may still be alive");
                wait(process, at - process.clock.now()).await?;
                continue;
            }
            TakeDecision::Start(record) => start(process, record, current).await?,
            TakeDecision::Resume(record) => resume(process, record).await?,
        };
        if let Some(run) = taken {
            return Ok(Taken::Run(Box::new(run)));
        }
        // Another sender was first: what it wrote is looked at, and never in a loop without a pause.
        wait(process, 0).await?;
    }
}

async fn wait<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    millis: i64,
) -> Result<(), Interruption> {
    // A second more, and never none: the clocks of two pods differ.
    let wait = Duration::from_millis(u64::try_from(millis).unwrap_or_default() + 1_000);
    tokio::select! {
        () = process.stop.cancelled() => Err(Interruption::Stopped),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

/// Writes a new run, if no other sender was first.
async fn start<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    record: RunRecord,
    current: Option<CurrentRun>,
) -> Result<Option<Run>, SendError> {
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
            info!(run = record.run, "a new run");
            Some(Run::new(record, ScanCounts::default()))
        }
        WriteOutcome::Lost => None,
    })
}

/// Takes a run over, if no other sender was first.
async fn resume<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    mut record: RunRecord,
) -> Result<Option<Run>, SendError> {
    let job = &process.config.job.uid;
    let ranges = view::ranges(&process.ports.ledger, job, &record.run).await?;
    let closed: Vec<&RangeRecord> = ranges.iter().filter(|range| range.closed).collect();
    let all = 0..u32::try_from(record.pairs.len()).unwrap_or(u32::MAX);
    let open: Vec<u32> = all.filter(|number| closed.iter().all(|range| range.range != *number)).collect();
    record.stale = progress::stale_after_resume(&record, &open);
    let mut counts = ScanCounts::default();
    for range in &closed {
        counts.add(&range.counts);
    }
    record.scan.counts = counts;
    let condition = Condition::Revision(record.revision - 1);
    let item = Item::of(records::run_key(job, &record.run), &record);
    Ok(match process.replace(item, condition, Vec::new()).await? {
        WriteOutcome::Written => {
            info!(run = record.run, epoch = record.epoch, ?open, "going on with a run that its sender left");
            Some(Run::new(record, counts))
        }
        WriteOutcome::Lost => None,
    })
}

impl Run {
    fn new(record: RunRecord, closed: ScanCounts) -> Self {
        Self {
            record: tokio::sync::Mutex::new(record),
            closed: Mutex::new(closed),
            open: Mutex::default(),
            lost: CancellationToken::new(),
        }
    }

    pub(super) async fn record(&self) -> RunRecord {
        self.record.lock().await.clone()
    }

    pub(super) async fn id(&self) -> String {
        self.record.lock().await.run.clone()
    }

    /// Ends when another sender took the run over.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// What was found so far in the range under work.
    pub(super) fn found(&self, counts: ScanCounts) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    fn counts(&self) -> ScanCounts {
        let mut counts = *self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        counts.add(&self.open.lock().unwrap_or_else(PoisonError::into_inner));
        counts
    }

    /// Renews the lease until `end`.
    pub(super) async fn keep<S: ObjectStore, Q: Queue, L: Ledger>(
        &self,
        process: &Process<S, Q, L>,
        end: CancellationToken,
    ) {
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                () = tokio::time::sleep(KEEP_EVERY) => {}
            }
            if let Err(error) = self.save(process, None, |_| {}).await {
                warn!(%error, "the run's lease was not renewed");
            }
        }
    }

    /// A range is over: its record and the run's sums are written together.
    pub(super) async fn close_range<S: ObjectStore, Q: Queue, L: Ledger>(
        &self,
        process: &Process<S, Q, L>,
        range: RangeRecord,
    ) -> Result<(), SendError> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).add(&range.counts);
        self.found(ScanCounts::default());
        self.save(process, Some(range), |_| {}).await
    }

    /// The scan is over.
    pub(super) async fn close<S: ObjectStore, Q: Queue, L: Ledger>(
        &self,
        process: &Process<S, Q, L>,
    ) -> Result<ScanCounts, SendError> {
        let now = process.clock.now();
        self.save(process, None, |record| {
            record.scan.closed = true;
            record.scan.closed_at = now;
        })
        .await?;
        Ok(self.counts())
    }

    /// Writes the record with the numbers so far and a renewed lease, and a range's with it.
    async fn save<S: ObjectStore, Q: Queue, L: Ledger>(
        &self,
        process: &Process<S, Q, L>,
        range: Option<RangeRecord>,
        change: impl FnOnce(&mut RunRecord) + Send,
    ) -> Result<(), SendError> {
        let job = &process.config.job.uid;
        let mut record = self.record.lock().await;
        let mut next = record.clone();
        next.revision += 1;
        next.lease_until = process.clock.now() + RUN_LEASE_MS;
        next.scan.counts = self.counts();
        change(&mut next);
        let item = Item::of(records::run_key(job, &next.run), &next);
        let closed = range.map(|range| {
            let item = Item::of(records::range_key(job, &next.run, range.range), &range);
            let item = item.expiring(process.clock.now() + records::RETENTION_MS);
            Write::Put { item, condition: Condition::Always }
        });
        let before = Condition::Revision(record.revision);
        if process.replace(item, before, closed.into_iter().collect()).await? == WriteOutcome::Lost {
            self.lost.cancel();
            return Err(SendError::TakenOver(next.run));
        }
        *record = next;
        Ok(())
    }
}
