//! The limits of a job hold for all its processes together, whatever happens to them.

use std::sync::Arc;
use std::time::Duration;

use migration_core::error::{ErrorClass, Service};
use migration_core::ports::{Clock, HeadRequest, ObjectStore};
use migration_core::records::{PoolRecord, Portions, pool_key, share_partition};
use migration_engine::hash::Hashing;
use migration_engine::heartbeat::Activity;
use migration_engine::limits::{Fleet, Keeper, Limited, Limits, Stopping, UTC};
use migration_engine::scan::{SenderName, send};
use migration_engine::worker::Worker;
use migration_engine::{Ports, Process, Runtime, heartbeat};
use migration_ledger::{Pager, get};
use migration_testkit::{FaultPlan, Faulty, MemoryLedger, MemoryQueue, MemoryStore, Operation};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::world::{DESTINATION, JOB, SOURCE, World, content, known, valid};

pub(crate) type Store = Limited<Faulty<MemoryStore>>;
pub(crate) type LimitedProcess = Process<(Store, Store, MemoryQueue, Faulty<MemoryLedger>)>;

/// Bytes of each object.
pub(crate) const SIZE: usize = 4 << 10;
/// Interval between samples.
const SAMPLE: Duration = Duration::from_millis(100);
/// Samples of a window of 10 s.
const WINDOW: usize = 100;

/// A job whose processes share its limits.
pub(crate) struct Fleeted {
    pub(crate) world: World,
    pub(crate) source: FaultPlan,
    pub(crate) destination: FaultPlan,
    shares: FaultPlan,
}

/// A worker that a test ends in various ways.
pub(crate) struct Pod {
    /// Its handle of the ledger, by which it can be cut off.
    ledger: MemoryLedger,
    pub(crate) stop: CancellationToken,
    pub(crate) activity: Arc<Activity>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Fleeted {
    pub(crate) fn new(bandwidth: Option<&str>, requests: Option<&str>, objects: usize) -> Self {
        let mut world = World::new();
        let transfer = &mut world.config.transfer;
        (transfer.bandwidth_limit, transfer.request_limit) =
            (bandwidth.map(str::to_owned), requests.map(str::to_owned));
        for (number, seed) in (0..objects).zip((0..=255).cycle()) {
            world.source.insert(SOURCE, &format!("{number:06}"), content(SIZE, seed));
        }
        let [source, destination, shares] = [FaultPlan::new(), FaultPlan::new(), FaultPlan::new()];
        Self { world, source, destination, shares }
    }

    pub(crate) fn process(
        &self,
        name: &str,
    ) -> (Arc<LimitedProcess>, Option<Keeper<Faulty<MemoryLedger>>>, MemoryLedger) {
        let (config, clock) = (valid(self.world.config.clone()), self.world.clock.clone());
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let limits = Limits::new(config.rate_limits(), Fleet::Shared, &clock, UTC);
        let destination = self.world.destination.clone().knowing(known(&config));
        let ledger = self.world.ledger.with_own_denials();
        let keeper = Keeper::new(&limits, Faulty::new(ledger.clone(), &self.shares), JOB, name);
        let runtime = Runtime::new(name, clock);
        let stopping = Stopping::new(runtime.stop.clone(), runtime.grace);
        let ports = Ports::new(
            limits.limit(Faulty::new(self.world.source.clone(), &self.source), Service::Source, &stopping),
            limits.limit(Faulty::new(destination, &self.destination), Service::Destination, &stopping),
            self.world.queue.clone(),
            Faulty::new(ledger.clone(), &FaultPlan::new()),
        );
        let process = Process::new(ports, config, runtime).with_hashing(Hashing::inline());
        let process = process.with_limits(limits);
        (Arc::new(process), keeper, ledger)
    }

    pub(crate) fn start(&self, name: &str) -> Pod {
        let (process, keeper, ledger) = self.process(name);
        let (stop, activity) = (process.runtime.stop.clone(), process.runtime.activity.clone());
        let work = async move { heartbeat::during(&process, Worker::new(process.clone()).run()).await };
        Pod { ledger, stop, activity, task: tokio::spawn(Keeper::during(keeper, work)) }
    }

    pub(crate) async fn send(&self) {
        let (process, keeper, _) = self.process("jobsender");
        let name = SenderName { started_by: "job-1".into(), new_run: "run-1".into() };
        Keeper::during(keeper, send(process, &name)).await.unwrap();
    }

    pub(crate) fn done(&self) -> usize {
        self.world.destination.keys(DESTINATION).len()
    }

    /// Samples requests to the source, requests to the destination and objects written, until all are written or the
    /// time is over.
    async fn sample(&self, objects: usize, time: Duration) -> Vec<[usize; 3]> {
        let (mut samples, begun) = (Vec::new(), Instant::now());
        while self.done() < objects && begun.elapsed() < time {
            samples.push([self.source.log().len(), self.destination.log().len(), self.done()]);
            tokio::time::sleep(SAMPLE).await;
        }
        samples
    }

    /// Lets four workers come, be cut off, die and come again while they move all objects.
    async fn move_all(&self, objects: usize) -> Vec<[usize; 3]> {
        let seconds = Duration::from_secs;
        self.send().await;
        let begun = Instant::now();
        let mut pods = vec![self.start("a")];
        let mut samples = self.sample(objects, seconds(15)).await;
        pods.extend([self.start("b"), self.start("c")]);
        samples.extend(self.sample(objects, seconds(30)).await);
        // One is cut off from the ledger, longer than a lease.
        pods[1].ledger.denials().deny_all(ErrorClass::NoAnswer, "NoAnswer");
        samples.extend(self.sample(objects, seconds(20)).await);
        pods[1].ledger.denials().heal();
        // One dies, and another one ends in order and is replaced.
        pods[0].task.abort();
        samples.extend(self.sample(objects, seconds(25)).await);
        pods[2].stop.cancel();
        pods.push(self.start("d"));
        samples.extend(self.sample(objects, seconds(3_600)).await);
        assert_eq!(self.done(), objects, "after {:?}", begun.elapsed());
        for pod in pods.drain(1..) {
            pod.stop.cancel();
            pod.task.await.unwrap();
        }
        self.world.assert_same("after the run");
        samples
    }

    /// Returns the number of records of shares, and the pool.
    async fn shares_of(&self) -> (usize, PoolRecord) {
        let items = Pager::all(share_partition(JOB), "").rest(&self.world.ledger).await.unwrap();
        (items.len(), get(&self.world.ledger, &pool_key(JOB)).await.unwrap().unwrap())
    }
}

/// Returns the most of a counter in any window of 10 s.
fn most(samples: &[[usize; 3]], of: usize) -> usize {
    let pairs = samples.iter().zip(samples.iter().skip(WINDOW));
    pairs.map(|(before, after)| after[of] - before[of]).max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn requests_of_all_workers_together_keep_the_limit() {
    const OBJECTS: usize = 4_000;
    let fleet = Fleeted::new(None, Some("40"), OBJECTS);
    let samples = fleet.move_all(OBJECTS).await;
    // 400 in a window, a twentieth more, and one for each process.
    for side in [0, 1] {
        assert!((396..=424).contains(&most(&samples, side)), "{}", most(&samples, side));
    }
    // One request per object and side: 100 s, and what deaths and newcomers cost.
    let seconds = samples.len() / 10;
    assert!((100..160).contains(&seconds), "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn bytes_of_all_workers_together_keep_the_limit() {
    const OBJECTS: usize = 6_000;
    let fleet = Fleeted::new(Some("200k"), None, OBJECTS);
    let samples = fleet.move_all(OBJECTS).await;
    // 500 objects of 4 KiB in a window, a twentieth more, and those that had been read in part before it.
    assert!((480..=525 + 64).contains(&most(&samples, 2)), "{}", most(&samples, 2));
    // 120 s at the limit, and what deaths and newcomers cost.
    let seconds = samples.len() / 10;
    assert!((120..180).contains(&seconds), "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn shares_cost_two_requests_in_six_seconds_and_none_without_work_or_limit() {
    let fleet = Fleeted::new(None, Some("40"), 1_200);
    fleet.send().await;
    let pod = fleet.start("a");
    let before = fleet.shares.log().len();
    let seconds = fleet.sample(1_200, Duration::from_mins(5)).await.len() / 10;
    let requests = fleet.shares.log().len() - before;
    assert!(requests <= seconds / 3 + 4, "{requests} requests in {seconds} s");
    // Once it has been idle for a while, its share is in the pool.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let (items, pool) = fleet.shares_of().await;
    assert_eq!((items, pool.free), (1, Portions::WHOLE));
    let idle = fleet.shares.log().len();
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(fleet.shares.log().len(), idle);
    pod.stop.cancel();
    pod.task.await.unwrap();

    let free = Fleeted::new(Some("off"), Some("0"), 100);
    free.send().await;
    let pod = free.start("a");
    free.sample(100, Duration::from_mins(1)).await;
    assert_eq!((free.done(), free.shares.count(Operation::QueryItems)), (100, 0));
    pod.stop.cancel();
    pod.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_limit_is_not_stuck() {
    let fleet = Fleeted::new(None, Some("40"), 20);
    fleet.send().await;
    let (process, keeper, _) = fleet.process("a");
    let stop = process.runtime.stop.clone();
    let work = tokio::spawn(async move { heartbeat::during(&process, Worker::new(process.clone()).run()).await });
    // It has no share for longer than work without progress may take.
    assert_eq!(fleet.sample(20, Duration::from_mins(12)).await.last().map(|sample| sample[2]), Some(0));
    let messages = fleet.world.queue.messages();
    assert!(!messages.is_empty() && messages.iter().all(|message| message.receives == 1), "{messages:?}");
    Keeper::during(keeper, fleet.sample(20, Duration::from_mins(1))).await;
    stop.cancel();
    work.await.unwrap();
    fleet.world.assert_same("after the wait");
}

#[tokio::test(start_paused = true)]
async fn a_share_is_returned_in_time_when_the_work_is_given_up() {
    let fleet = Fleeted::new(None, Some("40"), 1);
    for is_reachable in [true, false] {
        let (process, keeper, ledger) = fleet.process("a");
        let keeping = keeper.unwrap().start();
        process.ports.source.head(HeadRequest::new(SOURCE, "000000")).await.unwrap();
        assert_eq!(fleet.shares_of().await.0, 2);
        if !is_reachable {
            ledger.denials().deny_all(ErrorClass::NoAnswer, "NoAnswer");
        }
        let begun = Instant::now();
        keeping.end().await;
        assert!(begun.elapsed() <= Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(fleet.shares_of().await.0, if is_reachable { 1 } else { 2 });
    }
}
