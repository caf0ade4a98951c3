//! Scans of buckets that are computed, not stored.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use migration_core::config::JobConfig;
use migration_core::message::{Batch, Message};
use migration_core::ports::Clock;
use migration_core::records::{RangeRecord, RunRecord, ScanCounts};
use migration_core::size::ByteSize;
use migration_engine::hash::Hashing;
use migration_engine::scan::{ScanError, ScanOutcome, SenderName, send};
use migration_engine::{Ports, Process, Runtime};
use migration_ledger::view;
use migration_testkit::{FaultPlan, Faulty, MemoryLedger, MemoryQueue, ProcessId, SyntheticStore, TestClock};

use crate::world::{JOB, tiny_config, valid};

type Sender = Process<(Faulty<SyntheticStore>, Faulty<SyntheticStore>, Faulty<MemoryQueue>, Faulty<MemoryLedger>)>;

/// A job between two computed buckets.
pub struct Scans {
    pub clock: TestClock,
    pub source: SyntheticStore,
    pub destination: SyntheticStore,
    pub queue: MemoryQueue,
    pub ledger: MemoryLedger,
    pub plan: FaultPlan,
    pub config: JobConfig,
}

impl Scans {
    pub fn new(source: SyntheticStore, destination: SyntheticStore) -> Self {
        let mut config = tiny_config();
        config.transfer.multipart_threshold = ByteSize::mib(5);
        config.transfer.split_threshold = ByteSize::mib(64);
        config.transfer.memory_limit = ByteSize::mib(8);
        Self {
            clock: TestClock::following_tokio(1_700_000_000_000),
            source,
            destination,
            queue: MemoryQueue::default(),
            ledger: MemoryLedger::new(),
            plan: FaultPlan::new(),
            config,
        }
    }

    /// Creates a jobsender that can be killed alone.
    pub fn sender(&self, id: ProcessId, ranges: usize) -> Arc<Sender> {
        let plan = &self.plan;
        let ports = Ports::new(
            Faulty::of(self.source.clone(), plan, id),
            Faulty::of(self.destination.clone(), plan, id),
            Faulty::of(self.queue.clone(), plan, id),
            Faulty::of(self.ledger.clone(), plan, id),
        );
        let process = Process::new(
            ports,
            valid(self.config.clone()),
            Runtime::new(format!("{id:?}"), Arc::new(self.clock.clone())),
        );
        Arc::new(process.with_hashing(Hashing::inline()).with_ranges_in_flight(ranges))
    }

    /// Scans with this many ranges in flight.
    pub async fn send(&self, ranges: usize) -> Result<ScanOutcome, ScanError> {
        self.send_as(self.plan.process(), ranges).await
    }

    pub async fn send_as(&self, id: ProcessId, ranges: usize) -> Result<ScanOutcome, ScanError> {
        let name = SenderName { started_by: "job-1".into(), new_run: format!("run-{:020}", self.clock.now()) };
        send(self.sender(id, ranges), &name).await
    }

    /// Scans to the end, and returns the counts.
    pub async fn sent(&self, ranges: usize) -> ScanCounts {
        let outcome = self.send(ranges).await.unwrap();
        let ScanOutcome::Sent { counts, .. } = outcome else { panic!("{outcome:?}") };
        counts
    }

    pub fn batches(&self) -> Vec<Batch> {
        let message = |body: &str| match Message::parse(body).unwrap() {
            Message::Batch(batch) => batch,
            other => panic!("{other:?}"),
        };
        self.queue.messages().iter().map(|message_| message(&message_.body)).collect()
    }

    pub async fn run(&self) -> RunRecord {
        view::last_run(&self.ledger, JOB).await.unwrap().unwrap()
    }

    pub async fn ranges(&self) -> Vec<RangeRecord> {
        view::ranges(&self.ledger, JOB, &self.run().await.run).await.unwrap()
    }

    /// Returns the keys that the destination lacks.
    pub fn differences(&self, count: u64) -> BTreeSet<String> {
        let differs = |place: &u64| self.source.has(*place) && !self.destination.has(*place);
        (0..count).filter(differs).map(|place| self.source.object(place).key).collect()
    }
}

/// Returns how often each key is in batches.
pub fn times_sent<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    for entry in batches.into_iter().flat_map(|batch| &batch.objects) {
        *times.entry(entry.key.clone()).or_default() += 1;
    }
    times
}
