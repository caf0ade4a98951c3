//! A job with both its services in memory, whose log is kept.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_core::config::JobConfig;
use migration_core::error::Service;
use migration_core::ports::{Ability, Capabilities, Clock};
use migration_engine::hash::Hashing;
use migration_engine::run::end::{Terms, end_if_over};
use migration_engine::scan::{SenderName, send};
use migration_engine::telemetry::{Metered, Telemetry};
use migration_engine::worker::Worker;
use migration_engine::{Ports, Process, Runtime, heartbeat};
use migration_program::{LogFormat, LogSettings, TransferLines, log_to};
use migration_testkit::{FaultPlan, Faulty, MemoryLedger, MemoryQueue, MemoryStore, StoreSettings, TestClock};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

pub const SOURCE: &str = "from";
pub const DESTINATION: &str = "to";
pub const REPORTS: &str = "reports";
const JOB: &str = "u-1";

type Store = Metered<Faulty<MemoryStore>>;
pub type TestProcess = Process<(Store, Store, Metered<Faulty<MemoryQueue>>, Metered<MemoryLedger>)>;

/// Objects over 64 bytes are copied in parts of 32, and those over 400 by ranges of parts.
const CONFIG: &str = "
version: 1
job: {namespace: media, name: photos, uid: u-1}
buckets: [{sourceBucket: from, destinationBucket: to}]
source: {region: r, pathStyle: true}
destination: {region: r, pathStyle: true}
report: {bucket: reports, prefix: r/, scope: AllTasks}
transfer: {partSize: 32, multipartThreshold: 64, splitThreshold: 400, filesPerWorker: 4, partsPerFile: 2, memoryLimit: 3Mi, \
maxAttempts: 5, mode: Stream}
queue: {region: r, url: q, deadLetterUrl: d}
ledger: {region: r, table: t}
";

/// What outlives the processes.
pub struct World {
    pub source: MemoryStore,
    pub destination: MemoryStore,
    pub plan: FaultPlan,
    queue: MemoryQueue,
    ledger: MemoryLedger,
    clock: TestClock,
}

impl World {
    pub fn new() -> Self {
        let clock = TestClock::following_tokio(1_700_000_000_000);
        let settings =
            StoreSettings { list_page: 3, parts_page: 2, minimum_part: 1, chunk: 16, ..StoreSettings::default() };
        let store = |by: &str| MemoryStore::with_settings(clock.clone(), by, settings.clone());
        let (source, destination) = (store("reader"), store("writer"));
        source.create_bucket(SOURCE);
        destination.create_bucket(DESTINATION);
        destination.create_bucket(REPORTS);
        let (queue, ledger) = (MemoryQueue::default(), MemoryLedger::new());
        Self { source, destination, plan: FaultPlan::new(), queue, ledger, clock }
    }

    /// Puts objects of these sizes into the source.
    pub fn put<'a>(&self, objects: impl IntoIterator<Item = (&'a str, usize)>) {
        for (key, size) in objects {
            self.source.insert(SOURCE, key, vec![7; size]);
        }
    }

    pub fn process(&self, name: &str) -> Arc<TestProcess> {
        let runtime = Runtime::new(name, Arc::new(self.clock.clone()));
        let telemetry = &runtime.telemetry;
        let store = |store: MemoryStore, side| Metered::new(Faulty::new(store, &self.plan), side, telemetry);
        let ports = Ports::new(
            store(self.source.clone(), Service::Source),
            store(self.destination.clone().knowing(known()), Service::Destination),
            Metered::new(Faulty::new(self.queue.clone(), &self.plan), Service::Queue, telemetry),
            Metered::new(self.ledger.clone(), Service::Ledger, telemetry),
        );
        let config: JobConfig = serde_yaml::from_str(CONFIG).unwrap();
        // A paused clock would not wait for a thread of its own.
        Arc::new(Process::new(ports, config.validate_for(1).unwrap(), runtime).with_hashing(Hashing::inline()))
    }

    /// Scans, and works until the run has ended. Returns what the worker counted.
    pub async fn run(&self) -> Arc<Telemetry> {
        send(self.process("sender"), &SenderName { started_by: "job-1".into(), new_run: "run-1".into() })
            .await
            .unwrap();
        let worker = self.process("worker");
        let work = tokio::spawn({
            let worker = worker.clone();
            async move { heartbeat::during(&worker, Worker::new(worker.clone()).run()).await }
        });
        let over = async {
            while end_if_over(&self.ledger, JOB, Terms::default(), self.clock.now()).await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_hours(1), over).await.expect("the run ends");
        worker.runtime.stop.cancel();
        work.await.unwrap();
        worker.runtime.telemetry.clone()
    }
}

/// Everything, as of Amazon S3.
fn known() -> Capabilities {
    let (has, lacks) = Ability::ALL.split_at(7);
    Capabilities { has, lacks, enforces_checksums: true, keeps_attributes: true, ..Capabilities::default() }
}

/// The log of this thread.
pub struct Log {
    bytes: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Log {
    pub fn start(format: LogFormat, filter: &str, transfer_lines: Option<TransferLines>) -> Self {
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let job = Some("media/photos".to_owned());
        let settings = LogSettings { job, transfer_lines, ..LogSettings::new(format, "") };
        let sink = bytes.clone();
        let subscriber = log_to(&settings, EnvFilter::new(filter), move || Sink(sink.clone()));
        Self { bytes, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }

    pub fn lines(&self) -> Vec<String> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.split_terminator('\n').map(ToOwned::to_owned).collect()
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
