//! Scans without side effects: runs the code of a real scan on a ledger whose writes stay in memory and a queue that
//! discards messages. A plan therefore shows what a run will do, and a verification compares as a run does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::ports::{
    Condition, Item, Ledger, LedgerKey, OutgoingMessage, QueryPage, Queue, ReceivedMessage, Write, WriteError,
};
use migration_core::records::{HEARTBEAT_PREFIX, ScanCounts, job_partition, run_partition};
use migration_ledger::{ReadError, view};

use super::{Purpose, ScanError, ScanOutcome, SenderName, send_for};
use crate::{Interruption, Ports, Process, Runtime, Services, heartbeat};

/// ID of the dry run, which never appears in the ledger.
const RUN: &str = "rehearsal";

/// Why a dry run failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DryRunError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] ReadError),
    /// A run is live, so its remaining work would be counted too.
    #[error("failed to start dry run: run {0} is not over; try again when it is")]
    RunIsLive(String),
    /// The scan failed.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

/// Scans both sides without sending or recording anything, and returns the counts. Fails while a run is live.
pub async fn dry_run<P: Services>(process: Process<P>, purpose: &Purpose) -> Result<ScanCounts, DryRunError> {
    let job = process.config.job.uid.clone();
    let last = view::last_run(&process.ports.ledger, &job).await?;
    if let Some(live) = last.filter(|run| run.end.is_none()) {
        return Err(DryRunError::RunIsLive(live.run));
    }
    let Process { ports, config, runtime, hashing, ranges_in_flight, .. } = process;
    // Extraneous objects are found but never deleted.
    let extras = config.mirror.is_some() || purpose.extras;
    let purpose = &Purpose { extras, ..purpose.clone() };
    let Ports { source, destination, ledger, .. } = ports;
    // A verification writes heartbeats, to report a paused side, as every program started by the operator. A plan
    // writes nothing.
    let announces = purpose.verify.is_some();
    let ledger = OverlayLedger::new(ledger, &job, announces);
    let ports = Ports::new(source, destination, NullQueue, ledger);
    let stop = runtime.stop;
    let dry_run = Process::new(ports, config.for_dry_run(), Runtime::new(runtime.name, runtime.clock));
    let dry_run = Arc::new(dry_run.with_hashing(hashing).with_ranges_in_flight(ranges_in_flight));
    let name = SenderName { started_by: RUN.into(), new_run: RUN.into() };
    let beats = async {
        heartbeat::beat(&dry_run, stop.clone()).await;
        std::future::pending::<()>().await;
    };
    let sent = tokio::select! {
        () = beats, if announces => Err(ScanError::from(Interruption::Stopped)),
        () = stop.cancelled() => Err(ScanError::from(Interruption::Stopped)),
        sent = send_for(dry_run.clone(), &name, purpose) => sent,
    };
    match sent? {
        ScanOutcome::Sent { counts, .. } => Ok(counts),
        ScanOutcome::AlreadySent { run } | ScanOutcome::RunIsLive { run } | ScanOutcome::OtherSides { run } => {
            Err(DryRunError::RunIsLive(run))
        }
    }
}

/// A queue that discards messages.
struct NullQueue;

impl Queue for NullQueue {
    async fn send(&self, _: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        Ok(Vec::new())
    }

    async fn receive(&self, _: u32, _: Duration, _: Duration) -> Result<Vec<ReceivedMessage>, ServiceError> {
        Ok(Vec::new())
    }

    async fn set_visibility(&self, _: &str, _: Duration) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn send_dead_letter(&self, _: &str, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }
}

/// Keeps writes to a ledger in memory. A scan reads back only the run's pointer, record and ranges, which are a few
/// hundred items and kept here. Its other writes concern single objects, are never read back and are discarded, so
/// memory does not grow with the number of keys.
struct OverlayLedger<L> {
    inner: L,
    partitions: [String; 2],
    /// True if heartbeats are written to the ledger.
    announces: bool,
    kept: Mutex<HashMap<LedgerKey, Item>>,
}

impl<L: Ledger> OverlayLedger<L> {
    fn new(inner: L, job: &str, announces: bool) -> Self {
        let partitions = [job_partition(job), run_partition(job, RUN)];
        Self { inner, partitions, announces, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<LedgerKey, Item>> {
        // A panic elsewhere leaves the items consistent.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn holds(&self, key: &LedgerKey, condition: &Condition) -> Result<bool, ServiceError> {
        Ok(match condition {
            Condition::Always => true,
            Condition::Absent => self.get(key).await?.is_none(),
            Condition::Revision(wanted) => {
                let there = self.get(key).await?;
                // A `Value` compares with a number.
                there.is_some_and(|item| item.attributes.get("revision").is_some_and(|revision| *revision == *wanted))
            }
        })
    }
}

impl<L: Ledger> Ledger for OverlayLedger<L> {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        let kept = self.kept().get(key).cloned();
        if kept.is_some() { Ok(kept) } else { self.inner.get(key).await }
    }

    /// Not overlaid: scans query only the runs, failures and versions of earlier runs.
    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        self.inner.query(partition, prefix, after, limit).await
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        if writes.iter().all(is_heartbeat) {
            return if self.announces { self.inner.write(writes).await } else { Ok(()) };
        }
        let mut failed = Vec::new();
        for (place, write) in writes.iter().enumerate() {
            if let Write::Put { item: Item { key, .. }, condition } | Write::Delete { key, condition } = write
                && !self.holds(key, condition).await?
            {
                failed.push(place);
            }
        }
        if !failed.is_empty() {
            return Err(WriteError::Condition(failed));
        }
        let mut kept = self.kept();
        for write in writes {
            if let Write::Put { item, .. } = write
                && self.partitions.contains(&item.key.partition)
            {
                kept.insert(item.key.clone(), item.clone());
            }
        }
        Ok(())
    }
}

fn is_heartbeat(write: &Write) -> bool {
    matches!(write, Write::Put { item, .. } if item.key.sort.starts_with(HEARTBEAT_PREFIX))
}
