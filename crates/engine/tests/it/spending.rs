//! What processes record of the requests that they send for a run is what the services saw.

use std::sync::Arc;
use std::time::Duration;

use migration_core::error::{ErrorClass, Service};
use migration_core::ports::{HeadRequest, Item, ObjectStore};
use migration_core::progress::Tally;
use migration_core::records::{SPENDING_PREFIX, Spending, SpendingRecord, run_partition};
use migration_engine::hash::Hashing;
use migration_engine::scan::{SenderName, send};
use migration_engine::telemetry::Metered;
use migration_engine::worker::Worker;
use migration_engine::{Ports, Process, Runtime, heartbeat};
use migration_ledger::view;
use migration_testkit::{Fault, FaultPlan, Faulty, MemoryLedger, MemoryQueue, MemoryStore, Operation};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{DESTINATION, JOB, SOURCE, World, content, known, valid};

type Store = Metered<Faulty<MemoryStore>>;
type MeteredProcess = Process<(Store, Store, Metered<Faulty<MemoryQueue>>, Metered<Faulty<MemoryLedger>>)>;

const SMALL: usize = 1_000;
const LARGE: usize = 12 << 20;

/// The services of a world, each of which logs its calls.
#[derive(Default)]
struct Logs {
    source: FaultPlan,
    destination: FaultPlan,
    queue: FaultPlan,
    ledger: FaultPlan,
}

impl Logs {
    fn process(&self, world: &World, name: &str) -> Arc<MeteredProcess> {
        let runtime = Runtime::new(name, Arc::new(world.clock.clone()));
        let telemetry = &runtime.telemetry;
        let destination = world.destination.clone().knowing(known(&world.config));
        let ports = Ports::new(
            Metered::new(Faulty::new(world.source.clone(), &self.source), Service::Source, telemetry),
            Metered::new(Faulty::new(destination, &self.destination), Service::Destination, telemetry),
            Metered::new(Faulty::new(world.queue.clone(), &self.queue), Service::Queue, telemetry),
            Metered::new(Faulty::new(world.ledger.clone(), &self.ledger), Service::Ledger, telemetry),
        );
        Arc::new(Process::new(ports, valid(world.config.clone()), runtime).with_hashing(Hashing::inline()))
    }

    /// Returns the requests that the services saw, by price class.
    fn seen(&self) -> Spending {
        let mut seen = Spending::default();
        let services =
            [(Service::Source, &self.source), (Service::Destination, &self.destination), (Service::Queue, &self.queue)];
        for (side, plan) in services {
            for operation in Operation::ALL {
                seen.add_requests(side, operation, plan.count(operation) as u64);
            }
        }
        seen
    }

    async fn send(&self, world: &World) {
        let sender = self.process(world, "sender");
        let name = SenderName { started_by: "j".into(), new_run: "r".into() };
        heartbeat::during(&sender, send(sender.clone(), &name)).await.unwrap();
    }

    /// Starts a worker whose heartbeats end with it when it is killed.
    fn start(&self, world: &World, name: &str) -> (Arc<MeteredProcess>, JoinHandle<()>) {
        let process = self.process(world, name);
        let working = process.clone();
        let work = tokio::spawn(async move {
            let end = CancellationToken::new();
            let work = async {
                Worker::new(working.clone()).run().await;
                end.cancel();
            };
            tokio::join!(heartbeat::beat(&working, end.clone()), work);
        });
        (process, work)
    }

    async fn work(&self, world: &World, name: &str) {
        let (process, work) = self.start(world, name);
        let left = || {
            let stats = world.queue.stats();
            stats.visible + stats.in_flight + stats.delayed
        };
        while left() > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        process.runtime.stop.cancel();
        work.await.unwrap();
    }
}

async fn tally(world: &World) -> Tally {
    let run = world.run().await.unwrap();
    view::tally(&world.ledger, JOB, &run).await.unwrap()
}

/// Returns the requests to both sides.
fn requests(spent: &Spending) -> [u64; 4] {
    [spent.source_writes, spent.source_reads, spent.destination_writes, spent.destination_reads]
}

/// Fails unless the requests to both sides are those that the services saw, and those to the queue nearly so: a worker
/// asks for more once it has none, which is for no run.
fn assert_equal(spent: &Spending, seen: &Spending) {
    assert_eq!(requests(spent), requests(seen));
    let missing = seen.queue_requests - spent.queue_requests;
    assert!(missing <= 2 && spent.queue_requests > 2, "{missing} of {} queue requests", seen.queue_requests);
}

fn world(small: usize) -> World {
    let world = World::new();
    for number in 0..small {
        world.source.insert(SOURCE, &format!("small/{number:04}"), content(SMALL, 1));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_run_records_what_the_services_saw() {
    let (world, logs) = (world(5), Logs::default());
    world.source.insert(SOURCE, "large", content(LARGE, 5));
    world.source.insert(SOURCE, "kept", content(SMALL, 4));
    world.destination.insert(DESTINATION, "kept", content(SMALL, 4));
    logs.send(&world).await;
    logs.work(&world, "worker").await;
    let Tally { spent, spent_at, .. } = tally(&world).await;
    assert_equal(&spent, &logs.seen());
    assert_eq!(spent.source_bytes, (5 * SMALL + LARGE) as u64);
    assert_eq!(spent.destination_bytes, 0);
    assert!(spent.ledger_writes >= 10 && spent.ledger_reads > 0, "{spent:?}");
    assert!(spent_at.is_some());
    let records = || world.ledger.items().iter().filter(|item| item.key.sort.starts_with("cost/")).count();
    assert_eq!(records(), 2);
    logs.work(&world, "idle").await;
    assert_eq!(records(), 2, "what a worker without work sends is for no run");
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_is_paid_again_and_recorded_once() {
    let (world, logs) = (world(9), Logs::default());
    // The service did what was asked, and nobody knows: it is asked again.
    logs.destination.at(Operation::PutObject, 2, Fault::FailAfter(ErrorClass::NoAnswer));
    logs.source.at(Operation::GetObject, 3, Fault::Fail(ErrorClass::Throttled));
    world.queue.deliver_twice(1);
    // The records of it, too: written again, they say the same.
    let is_record = |call: &migration_testkit::Call| call.subject.contains(" cost/");
    logs.ledger.when(is_record, Fault::FailAfter(ErrorClass::NoAnswer), 2);
    logs.send(&world).await;
    // Its worker works for several heartbeats.
    logs.destination.latency(Duration::from_secs(4), world.clock.clone());
    logs.work(&world, "worker").await;
    assert!(logs.destination.count(Operation::PutObject) > 9, "something was sent twice");
    let spent = tally(&world).await.spent;
    // The jobsender's only one stands although its answer was lost, and the worker's first one is written again.
    assert_eq!(requests(&spent), requests(&logs.seen()));
    assert_eq!(logs.ledger.injected(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_loses_the_last_seconds_and_nothing_else() {
    let (world, logs) = (world(600), Logs::default());
    logs.send(&world).await;
    assert_eq!(requests(&tally(&world).await.spent), requests(&logs.seen()), "what the jobsender sent");
    logs.destination.latency(Duration::from_secs(1), world.clock.clone());
    let (_, work) = logs.start(&world, "pod");
    let mut seen = Vec::new();
    for _ in 0..17 {
        seen.push(logs.seen());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    work.abort();
    let _ = work.await;
    let (killed, recorded) = (logs.seen(), tally(&world).await.spent);
    // A record every 5 s has the requests that have ended; each takes up to 2 s, 1 s in each direction.
    let before = &seen[seen.len() - 7];
    assert!(before.destination_writes > 20, "{before:?}");
    for (then, (recorded, killed)) in
        requests(before).into_iter().zip(requests(&recorded).into_iter().zip(requests(&killed)))
    {
        assert!(then <= recorded && recorded <= killed, "{then} {recorded} {killed}");
    }
    assert!(recorded.destination_writes < killed.destination_writes, "it was killed between two records");
    // The pod's container is restarted under the same name: what the former one sent stays.
    logs.work(&world, "pod").await;
    let (all, spent) = (logs.seen(), tally(&world).await.spent);
    let lost = killed.since(&recorded);
    let mut accounted = spent;
    accounted.add(&lost);
    assert_eq!(requests(&accounted), requests(&all));
    assert_eq!(world.destination.keys(DESTINATION).len(), 600);
}

/// Returns the requests to the source that are recorded for a run.
fn recorded(world: &World, run: &str) -> u64 {
    let is_record =
        |item: &Item| item.key.partition == run_partition(JOB, run) && item.key.sort.starts_with(SPENDING_PREFIX);
    let records = world.ledger.items().into_iter().filter(is_record);
    records.map(|item| item.read::<SpendingRecord>().unwrap().spent.source_reads).sum()
}

/// Waits until a number is reached, for a minute at most.
async fn reaches(expected: u64, found: impl Fn() -> u64) {
    for _ in 0..600 {
        if found() == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} instead of {expected}", found());
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_recorded_when_the_run_changes_is_recorded_for_its_run_later() {
    let (world, logs) = (world(0), Logs::default());
    let (process, end) = (logs.process(&world, "worker"), CancellationToken::new());
    let work = async {
        let ask = async |run: &str, times: u32| {
            let _held = process.runtime.activity.at_run(run);
            for _ in 0..times {
                process.ports.source.head(HeadRequest::new(SOURCE, "absent")).await.unwrap();
            }
        };
        ask("r1", 3).await;
        reaches(3, || recorded(&world, "r1")).await;
        // The ledger takes no more of the first run until the second one has begun.
        logs.ledger.when(|call| call.subject.contains("/r1 cost/"), Fault::Fail(ErrorClass::Throttled), 3);
        ask("r1", 2).await;
        reaches(1, || logs.ledger.injected()).await;
        ask("r2", 1).await;
        reaches(1, || recorded(&world, "r2")).await;
        assert_eq!(recorded(&world, "r1"), 3);
        reaches(5, || recorded(&world, "r1")).await;
        end.cancel();
    };
    tokio::join!(heartbeat::beat(&process, end.clone()), work);
    assert_eq!((recorded(&world, "r1"), recorded(&world, "r2"), logs.ledger.injected()), (5, 1, 3));
}
