//! A job with both its services in memory: started, killed, started again, and looked at from outside.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::Arc;
use std::time::Duration;

use migration_core::config::{
    CONFIG_VERSION, Credentials, JobConfig, JobIdentity, LedgerConfig, QueueConfig, S3Side, ServiceAccess,
    TransferSettings,
};
use migration_core::ignore::IgnoreList;
use migration_core::pair::{BucketPair, PrefixMode};
use migration_core::part::PartSize;
use migration_core::ports::{Clock, Condition, Item, Ledger, Write};
use migration_core::progress::{RunProgress, end_of_run, progress};
use migration_core::records::{self, RunEnd, RunRecord};
use migration_core::size::ByteSize;
use migration_core::view;
use migration_engine::consumer::Consumer;
use migration_engine::sender::{SendError, SendOutcome, SenderName, send};
use migration_engine::{Ports, Process, heartbeat};
use migration_testkit::{FaultPlan, Faulty, MemoryLedger, MemoryQueue, MemoryStore, TestClock};
use tokio_util::sync::CancellationToken;

pub const SOURCE: &str = "from";
pub const DESTINATION: &str = "to";
pub const JOB: &str = "uid-1";

pub type Store = Faulty<MemoryStore>;
pub type TestProcess = Process<Store, Faulty<MemoryQueue>, Faulty<MemoryLedger>>;

/// Everything that outlives the processes.
pub struct World {
    pub clock: TestClock,
    pub source: MemoryStore,
    pub destination: MemoryStore,
    pub queue: MemoryQueue,
    pub ledger: MemoryLedger,
    pub plan: FaultPlan,
    pub config: JobConfig,
    started: std::sync::atomic::AtomicU32,
}

impl World {
    pub fn new() -> Self {
        let clock = TestClock::following_tokio(1_700_000_000_000);
        let source = MemoryStore::new(clock.clone(), "reader");
        let destination = MemoryStore::new(clock.clone(), "writer");
        source.create_bucket(SOURCE);
        destination.create_bucket(DESTINATION);
        Self {
            source,
            destination,
            queue: MemoryQueue::default(),
            ledger: MemoryLedger::new(),
            plan: FaultPlan::new(),
            config: config(),
            started: std::sync::atomic::AtomicU32::new(0),
            clock,
        }
    }

    /// A process that is started now, with a name of its own.
    pub fn process(&self) -> Arc<TestProcess> {
        let number = self.started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let ports = Ports {
            source: Faulty::new(self.source.clone(), &self.plan),
            destination: Faulty::new(self.destination.clone(), &self.plan),
            queue: Faulty::new(self.queue.clone(), &self.plan),
            ledger: Faulty::new(self.ledger.clone(), &self.plan),
        };
        Arc::new(Process::new(ports, self.config.clone(), format!("pod-{number}"), Arc::new(self.clock.clone())))
    }

    /// Runs a jobsender to its end.
    pub async fn send(&self, started_by: &str) -> Result<SendOutcome, SendError> {
        let process = self.process();
        let ignore = IgnoreList::new(&self.config.ignore).unwrap();
        let new_run = format!("run-{:020}", self.clock.now());
        send(process, &ignore, &SenderName { started_by: started_by.into(), new_run }).await
    }

    /// Starts a worker, and its heartbeats.
    pub fn start_worker(&self) -> (Arc<TestProcess>, tokio::task::JoinHandle<()>) {
        let process = self.process();
        let worker = process.clone();
        let handle = tokio::spawn(async move {
            let end = CancellationToken::new();
            tokio::select! {
                () = heartbeat::beat(&worker, end) => {}
                () = Consumer::new(worker.clone()).run() => {}
            }
        });
        (process, handle)
    }

    pub async fn run(&self) -> Option<RunRecord> {
        view::last_run(&self.ledger, JOB).await.unwrap()
    }

    pub async fn progress(&self) -> RunProgress {
        let run = self.run().await.unwrap();
        progress(&run, &view::tally(&self.ledger, JOB, &run).await.unwrap())
    }

    /// What the operator does: ends the run if it is over. Gives its end.
    pub async fn end_run(&self) -> Option<RunEnd> {
        let run = self.run().await?;
        if run.end.is_some() {
            return run.end;
        }
        let tally = view::tally(&self.ledger, JOB, &run).await.unwrap();
        let end = end_of_run(&run, &tally, self.clock.now())?;
        let ended = RunRecord { end: Some(end.clone()), revision: run.revision + 1, ..run.clone() };
        let item = Item::of(records::run_key(JOB, &run.run), &ended);
        self.ledger.write(&[Write::Put { item, condition: Condition::Revision(run.revision) }]).await.unwrap();
        Some(end)
    }

    /// Works with one worker until the run is over, starting everything again that a fault kills.
    pub async fn work_until_over(&self, started_by: &str) -> RunEnd {
        loop {
            let (process, worker) = self.start_worker();
            tokio::select! {
                () = self.plan.crashed() => {
                    worker.abort();
                    self.plan.restart();
                    // A sender that was killed is started again by Kubernetes.
                    if !self.run().await.is_some_and(|run| run.scan.closed) {
                        self.send_until_closed(started_by).await;
                    }
                }
                end = self.over_and_quiet() => {
                    process.stop.cancel();
                    tokio::select! {
                        _ = worker => {}
                        () = self.plan.crashed() => self.plan.restart(),
                    }
                    return end;
                }
            }
        }
    }

    /// Starts a jobsender again and again until one closed the scan.
    pub async fn send_until_closed(&self, started_by: &str) {
        loop {
            tokio::select! {
                biased;
                () = self.plan.crashed() => self.plan.restart(),
                sent = self.send(started_by) => {
                    if sent.is_ok() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// The run is over, and what killed senders left in the queue is worked off as well.
    async fn over_and_quiet(&self) -> RunEnd {
        let end = self.over().await;
        loop {
            let stats = self.queue.stats();
            if stats.visible + stats.in_flight + stats.delayed == 0 {
                return end;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn over(&self) -> RunEnd {
        loop {
            if let Some(end) = self.end_run().await {
                return end;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// The destination holds exactly the source's objects, and nothing of ours is left open.
    pub fn assert_same(&self, context: &str) {
        let keys = self.source.keys(SOURCE);
        assert_eq!(self.destination.keys(DESTINATION), keys, "{context}");
        for key in keys {
            let (a, b) =
                (self.source.object(SOURCE, &key).unwrap(), self.destination.object(DESTINATION, &key).unwrap());
            assert!(a.content == b.content, "{context}: {key} differs");
            assert_eq!((a.tags, a.attributes.metadata), (b.tags, b.attributes.metadata), "{context}: {key}");
        }
        assert_eq!(self.destination.open_uploads(DESTINATION), [], "{context}: uploads are open");
    }
}

pub fn pair() -> BucketPair {
    BucketPair {
        source_bucket: SOURCE.into(),
        source_prefix: String::new(),
        destination_bucket: DESTINATION.into(),
        destination_prefix: String::new(),
        prefix_mode: PrefixMode::Append,
    }
}

fn config() -> JobConfig {
    let service = ServiceAccess { region: "r".into(), endpoint: None, credentials: Credentials::Pod };
    let side = || S3Side { service: service.clone(), path_style: true };
    JobConfig {
        version: CONFIG_VERSION,
        job: JobIdentity { namespace: "n".into(), name: "j".into(), uid: JOB.into() },
        buckets: vec![pair()],
        source: side(),
        destination: side(),
        storage_class: None,
        ignore: vec![],
        transfer: TransferSettings {
            part_size: PartSize::Fixed(ByteSize::mib(5)),
            multipart_threshold: ByteSize::mib(5),
            files_per_worker: 4,
            parts_per_file: 2,
            memory_limit: ByteSize::mib(16),
            max_attempts: 5,
        },
        queue: QueueConfig { service: service.clone(), url: "q".into(), dead_letter_url: "d".into() },
        ledger: LedgerConfig { service, table: "t".into() },
    }
}

/// Content that differs from place to place, so that a part in the wrong place shows.
pub fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 251 + i) % 256).unwrap().wrapping_add(seed)).collect()
}
