//! A job with both its services in memory, which tests start, kill, restart and inspect from outside.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot continue fails")]

pub mod foreign;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use migration_core::compare::CompareMode;
use migration_core::config::ObjectFilter;
use migration_core::config::{
    CONFIG_VERSION, Credentials, Encryption, JobConfig, JobIdentity, LedgerConfig, Preserve, QueueConfig, S3Side,
    ServiceAccess, TransferMode, TransferSettings, ValidConfig, Versioning, WriteSettings,
};
use migration_core::congestion::CongestionControl;
use migration_core::error::ErrorClass;
use migration_core::outcome::NotPreserved;
use migration_core::pair::{BucketPair, PrefixMode};
use migration_core::part::PartSize;
use migration_core::ports::{Ability, Capabilities, Clock};
use migration_core::progress::RunProgress;
use migration_core::records::{self, Counters, PartRangeRecord, RunEnd, RunRecord};
use migration_core::size::ByteSize;
use migration_engine::hash::Hashing;
use migration_engine::run::dead_letters::{Queues, drain};
use migration_engine::run::end::{Terms, end_if_over};
use migration_engine::run::look;
use migration_engine::run::reopen::ask_if_quiet;
use migration_engine::scan::{ScanError, ScanOutcome, SenderName, send};
use migration_engine::worker::Worker;
use migration_engine::{Ports, Process, Runtime, heartbeat};
use migration_ledger::{Pager, view};
use migration_testkit::{
    BucketSettings, Fault, FaultPlan, Faulty, Lies, Lying, MemoryLedger, MemoryQueue, MemoryStore, Operation,
    ProcessId, StoreSettings, TestClock,
};
use tokio_util::sync::CancellationToken;

/// Faults of every call that a process or a service may have.
pub const FAULTS: [Fault; 6] = [
    Fault::Crash,
    Fault::CrashAfter,
    Fault::Fail(ErrorClass::Transient),
    Fault::Fail(ErrorClass::AccessDenied),
    Fault::FailAfter(ErrorClass::NoAnswer),
    Fault::Fail(ErrorClass::Throttled),
];
pub const SOURCE: &str = "from";
pub const DESTINATION: &str = "to";
pub const JOB: &str = "uid-1";

pub type Store = Faulty<Lying<MemoryStore>>;
pub type TestConsumer = Worker<(Store, Store, Faulty<MemoryQueue>, Faulty<MemoryLedger>)>;
pub type TestProcess = Process<(Store, Store, Faulty<MemoryQueue>, Faulty<MemoryLedger>)>;

/// Everything that outlives the processes.
pub struct World {
    pub clock: TestClock,
    pub source: MemoryStore,
    pub destination: MemoryStore,
    /// Lies of the source to all processes.
    pub source_lies: Lies,
    /// Lies of the destination to all processes.
    pub destination_lies: Lies,
    pub queue: MemoryQueue,
    pub ledger: MemoryLedger,
    pub plan: FaultPlan,
    pub config: JobConfig,
    started: std::sync::atomic::AtomicU32,
}

impl World {
    pub fn new() -> Self {
        Self::with(&StoreSettings::default(), MemoryLedger::new(), config())
    }

    /// Creates a world of tiny objects, so that thousands of them cost nothing: see [`tiny_config`].
    pub fn tiny() -> Self {
        Self::with(&tiny_store(), MemoryLedger::with_page(3), tiny_config())
    }

    /// Creates a world whose services have these settings.
    pub fn with(settings: &StoreSettings, ledger: MemoryLedger, config: JobConfig) -> Self {
        let clock = TestClock::following_tokio(1_700_000_000_000);
        let source = MemoryStore::with_settings(clock.clone(), "reader", settings.clone());
        let destination = MemoryStore::with_settings(clock.clone(), "writer", settings.clone());
        source.create_bucket(SOURCE);
        destination.create_bucket(DESTINATION);
        Self {
            source,
            destination,
            source_lies: Lies::new(),
            destination_lies: Lies::new(),
            queue: MemoryQueue::default(),
            ledger,
            plan: FaultPlan::new(),
            config,
            started: std::sync::atomic::AtomicU32::new(0),
            clock,
        }
    }

    /// Creates a world whose destination has these settings and has to be probed.
    pub fn with_destination(settings: StoreSettings, bucket: BucketSettings) -> Self {
        let mut world = Self::new();
        world.destination = MemoryStore::with_settings(world.clock.clone(), "writer", settings);
        world.destination.create_bucket_with(DESTINATION, bucket);
        world.config.destination.service.endpoint = Some("http://destination".into());
        world
    }

    /// Creates a world of buckets with versioning.
    pub fn versioned() -> Self {
        let world = Self::new();
        world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
        world.destination.create_bucket_with(DESTINATION, BucketSettings::versioned());
        world
    }

    /// Starts a process with a unique name.
    pub fn process(&self) -> Arc<TestProcess> {
        let plan = &self.plan;
        let destination = self.destination.clone().knowing(known(&self.config));
        self.process_with(
            self.config.clone(),
            Ports::new(
                Faulty::new(Lying::new(self.source.clone(), &self.source_lies), plan),
                Faulty::new(Lying::new(destination, &self.destination_lies), plan),
                Faulty::new(self.queue.clone(), plan),
                Faulty::new(self.ledger.clone(), plan),
            ),
        )
    }

    /// Starts a process that can be killed alone.
    pub fn process_of(&self, id: ProcessId, config: JobConfig) -> Arc<TestProcess> {
        let plan = &self.plan;
        let destination = self.destination.clone().knowing(known(&config));
        self.process_with(
            config,
            Ports::new(
                Faulty::of(Lying::new(self.source.clone(), &self.source_lies), plan, id),
                Faulty::of(Lying::new(destination, &self.destination_lies), plan, id),
                Faulty::of(self.queue.clone(), plan, id),
                Faulty::of(self.ledger.clone(), plan, id),
            ),
        )
    }

    fn process_with(
        &self,
        config: JobConfig,
        ports: Ports<(Store, Store, Faulty<MemoryQueue>, Faulty<MemoryLedger>)>,
    ) -> Arc<TestProcess> {
        let number = self.started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let process =
            Process::new(ports, valid(config), Runtime::new(format!("pod-{number}"), Arc::new(self.clock.clone())));
        // A paused clock would not wait for a separate thread.
        Arc::new(process.with_hashing(Hashing::inline()))
    }

    /// Runs a jobsender to its end.
    pub async fn send(&self, started_by: &str) -> Result<ScanOutcome, ScanError> {
        self.send_as(self.process(), started_by).await
    }

    /// Runs a jobsender to its end in this process.
    pub async fn send_as(&self, process: Arc<TestProcess>, started_by: &str) -> Result<ScanOutcome, ScanError> {
        // Two runs may start within one millisecond of a paused clock.
        let number = self.started.load(std::sync::atomic::Ordering::Relaxed);
        let new_run = format!("run-{:020}-{number:06}", self.clock.now());
        send(process, &SenderName { started_by: started_by.into(), new_run }).await
    }

    /// Creates a worker without starting it.
    pub fn consumer(&self) -> (TestConsumer, Arc<TestProcess>) {
        let process = self.process();
        (Worker::new(process.clone()), process)
    }

    /// Starts a worker, and its heartbeats.
    pub fn start_worker(&self) -> (Arc<TestProcess>, tokio::task::JoinHandle<()>) {
        let process = self.process();
        let worker = process.clone();
        let handle = tokio::spawn(async move {
            let end = CancellationToken::new();
            tokio::select! {
                () = heartbeat::beat(&worker, end) => {}
                () = Worker::new(worker.clone()).run() => {}
            }
        });
        (process, handle)
    }

    /// Works until the queue is empty, with so many workers; those that die are replaced.
    pub async fn drain(&self, workers: usize) {
        let mut running: Vec<_> = (0..workers).map(|_| self.start_worker()).collect();
        loop {
            let stats = self.queue.stats();
            if stats.visible + stats.in_flight + stats.delayed == 0 {
                break;
            }
            tokio::select! {
                () = self.plan.crashed() => {
                    self.plan.restart();
                    for (_, worker) in running.drain(..) {
                        worker.abort();
                    }
                    running = (0..workers).map(|_| self.start_worker()).collect();
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
        for (process, worker) in running {
            process.runtime.stop.cancel();
            tokio::select! {
                ended = worker => ended.unwrap(),
                () = self.plan.crashed() => self.plan.restart(),
            }
        }
    }

    /// Runs a worker until the process dies at the `nth` call of an operation, and starts its services again.
    pub async fn crash_worker_at(&self, operation: Operation, nth: u32) {
        self.plan.at(operation, nth, Fault::Crash);
        let (_, worker) = self.start_worker();
        self.plan.crashed().await;
        worker.abort();
        self.plan.restart();
    }

    pub async fn run(&self) -> Option<RunRecord> {
        view::last_run(&self.ledger, JOB).await.unwrap()
    }

    pub async fn progress(&self) -> RunProgress {
        look::last(&self.ledger, JOB, None).await.unwrap().unwrap().progress().unwrap()
    }

    /// Returns the counters of a run, even if it has no record.
    pub async fn counters(&self, run: &str) -> Counters {
        view::counters(&self.ledger, JOB, run).await.unwrap()
    }

    /// Returns what could not be preserved in the last run.
    pub async fn losses(&self) -> NotPreserved {
        let run = self.run().await.unwrap();
        self.counters(&run.run).await.counts.losses
    }

    /// Returns the workers that carried the ranges of a distributed transfer.
    pub async fn range_carriers(&self, key: &str) -> BTreeSet<String> {
        let partition = records::part_range_partition(JOB, DESTINATION, key);
        let items = Pager::all(partition, "").rest(&self.ledger).await.unwrap();
        items.iter().map(|item| item.read::<PartRangeRecord>().unwrap().by).collect()
    }

    /// Ends the run if it is over, as the operator does. Returns its end.
    pub async fn end_run(&self) -> Option<RunEnd> {
        end_if_over(&self.ledger, JOB, Terms::default(), self.clock.now()).await.unwrap()
    }

    /// Requests that the run be reopened if it has been quiet for this time, as the operator does. Returns true if it
    /// was requested.
    pub async fn reopen_run(&self, quiet: Duration, resumed: Option<i64>) -> bool {
        let quiet_ms = i64::try_from(quiet.as_millis()).unwrap();
        ask_if_quiet(&self.ledger, JOB, quiet_ms, resumed, self.clock.now()).await.unwrap()
    }

    /// Records the batches of the run in the dead-letter queue as failures, as the operator does. Returns their number.
    pub async fn drain_dead_letters(&self) -> u32 {
        let (run, dead_letters) = (self.run().await.unwrap(), self.queue.dead_letter_queue());
        let queues = Queues { dead_letters: &dead_letters, queue: &self.queue };
        drain(queues, &self.ledger, JOB, &run, self.clock.now()).await.unwrap()
    }

    /// Works with one worker until the run is over, restarting everything that a fault kills. Fails if the run is not
    /// over after twelve hours.
    pub async fn work_until_over(&self, started_by: &str) -> RunEnd {
        let over = tokio::time::timeout(Duration::from_hours(12), self.work(started_by)).await;
        over.unwrap_or_else(|_| {
            let log: Vec<String> = self.plan.log().iter().map(ToString::to_string).collect();
            let last = log.len().saturating_sub(60);
            panic!("the run does not end; its last calls:\n{}", log[last..].join("\n"))
        })
    }

    async fn work(&self, started_by: &str) -> RunEnd {
        loop {
            let (process, worker) = self.start_worker();
            tokio::select! {
                () = self.plan.crashed() => {
                    worker.abort();
                    self.plan.restart();
                    // Kubernetes restarts a jobsender that was killed.
                    if !self.run().await.is_some_and(|run| run.scan.closed) {
                        self.send_until_closed(started_by).await;
                    }
                }
                end = self.until_over_and_quiet() => {
                    process.runtime.stop.cancel();
                    tokio::select! {
                        _ = worker => {}
                        () = self.plan.crashed() => self.plan.restart(),
                    }
                    return end;
                }
            }
        }
    }

    /// Restarts a jobsender until one has closed the scan.
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

    /// Waits until the run is over, and the messages that killed jobsenders left in the queue are processed.
    pub async fn until_over_and_quiet(&self) -> RunEnd {
        let end = self.over().await;
        loop {
            let stats = self.queue.stats();
            if stats.visible + stats.in_flight + stats.delayed == 0 {
                return end;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    pub async fn over(&self) -> RunEnd {
        loop {
            if let Some(end) = self.end_run().await {
                return end;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asserts that the destination holds exactly the source's objects, and that no upload of ours is open.
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

/// What a service has that the adapter knows, and what it lacks.
const ABILITIES: (&[Ability], &[Ability]) = Ability::ALL.split_at(7);

/// What the adapter of the destination knows of it: everything, or nothing where the job names an endpoint.
pub fn known(config: &JobConfig) -> Capabilities {
    let has_opaque_etags = matches!(config.write.encryption, Some(Encryption::Kms { .. } | Encryption::DualKms { .. }));
    let unknown = Capabilities { has_opaque_etags, ..Capabilities::default() };
    if config.destination.service.endpoint.is_some() {
        return unknown;
    }
    let (has, lacks) = ABILITIES;
    Capabilities { has, lacks, enforces_checksums: true, keeps_attributes: true, ..unknown }
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
    let side = || S3Side::new(service.clone(), true);
    JobConfig {
        version: CONFIG_VERSION,
        job: JobIdentity { namespace: "n".into(), name: "j".into(), uid: JOB.into() },
        buckets: vec![pair()],
        source: side(),
        destination: side(),
        write: WriteSettings::default(),
        versioning: Versioning::default(),
        ignore: vec![],
        filter: ObjectFilter::default(),
        compare: CompareMode::Default,
        manifest: None,
        report: None,
        mirror: None,
        events: None,
        backlog_seconds: Some(7_200),
        transfer: TransferSettings {
            part_size: PartSize::Fixed(ByteSize::mib(5)),
            multipart_threshold: ByteSize::mib(5),
            split_threshold: ByteSize::mib(1 << 20),
            files_per_worker: 4.into(),
            parts_per_file: 2,
            memory_limit: ByteSize::mib(16),
            max_attempts: 5,
            mode: TransferMode::Stream,
            compare_checksums: true,
            preserve: Preserve::default(),
            bandwidth_limit: None,
            request_limit: None,
            tcp_congestion_control: CongestionControl::default(),
        },
        queue: QueueConfig { service: service.clone(), url: "q".into(), dead_letter_url: "d".into() },
        ledger: LedgerConfig { service, table: "t".into() },
    }
}

/// Objects larger than this many bytes are transferred in parts in a tiny world.
pub const TINY_LARGE: u64 = 64;

/// Objects larger than this many bytes are distributed over workers in a tiny world.
pub const TINY_HUGE: u64 = 400;

/// Returns the configuration as validated for a service of [`tiny_store`].
pub fn valid(config: JobConfig) -> ValidConfig {
    config.validate_for(1).unwrap()
}

/// A service that accepts parts of one byte, and whose pages are short.
pub fn tiny_store() -> StoreSettings {
    StoreSettings { list_page: 3, parts_page: 2, minimum_part: 1, chunk: 16, ..StoreSettings::default() }
}

/// Transfers objects larger than 64 bytes in parts of 32.
pub fn tiny_config() -> JobConfig {
    let mut config = config();
    config.transfer.part_size = PartSize::Fixed(ByteSize(32));
    config.transfer.multipart_threshold = ByteSize(TINY_LARGE);
    config.transfer.split_threshold = ByteSize(TINY_HUGE);
    config.transfer.memory_limit = ByteSize::mib(3);
    config
}

/// Returns content that differs from place to place, so that a misplaced part shows.
pub fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i / 251 + i) % 256).unwrap().wrapping_add(seed)).collect()
}
