//! The numbers of metrics are those of what happened.

use std::sync::Arc;
use std::time::Duration;

use migration_core::error::{ErrorClass, Service};
use migration_core::finding::Action;
use migration_engine::hash::Hashing;
use migration_engine::scan::{SenderName, send};
use migration_engine::telemetry::{Metered, ObjectResult, RequestStatus, Telemetry};
use migration_engine::worker::Worker;
use migration_engine::{Ports, Process, Runtime};
use migration_testkit::{Fault, FaultPlan, Faulty, MemoryLedger, MemoryQueue, MemoryStore, Operation};

use crate::world::{DESTINATION, SOURCE, World, content, known, valid};

type Store = Metered<Faulty<MemoryStore>>;
type MeteredProcess = Process<(Store, Store, Metered<MemoryQueue>, Metered<MemoryLedger>)>;

/// Bytes of the small objects, and of the one that is moved in parts of 5 MiB.
const SMALL: usize = 1_000;
const LARGE: usize = 12 << 20;

fn process(world: &World, name: &str, plan: &FaultPlan) -> Arc<MeteredProcess> {
    let runtime = Runtime::new(name, Arc::new(world.clock.clone()));
    let telemetry = &runtime.telemetry;
    let store = |store: MemoryStore, side| Metered::new(Faulty::new(store, plan), side, telemetry);
    let ports = Ports::new(
        store(world.source.clone(), Service::Source),
        store(world.destination.clone().knowing(known(&world.config)), Service::Destination),
        Metered::new(world.queue.clone(), Service::Queue, telemetry),
        Metered::new(world.ledger.clone(), Service::Ledger, telemetry),
    );
    Arc::new(Process::new(ports, valid(world.config.clone()), runtime).with_hashing(Hashing::inline()))
}

/// Returns how often an operation had this status at a side.
fn requests(telemetry: &Telemetry, side: Service, operation: Operation, status: RequestStatus) -> u64 {
    let found = telemetry.requests.read().find(|(s, o, _)| (*s, *o) == (side, operation));
    found.map(|(_, _, counters)| counters.ended.get(status)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn what_a_run_moves_is_counted_once() {
    let world = World::new();
    for (key, seed) in [("a", 1), ("b", 2), ("c", 3), ("kept", 4)] {
        world.source.insert(SOURCE, key, content(SMALL, seed));
    }
    world.source.insert(SOURCE, "large", content(LARGE, 5));
    world.destination.insert(DESTINATION, "kept", content(SMALL, 4));
    let plan = FaultPlan::new();

    let sender = process(&world, "sender", &plan);
    send(sender.clone(), &SenderName { started_by: "j".into(), new_run: "r".into() }).await.unwrap();
    let sent = &sender.runtime.telemetry;
    assert_eq!((sent.listed.get(Service::Source), sent.listed.get(Service::Destination)), (5, 1));
    assert_eq!((sent.found.get(Action::Transfer), sent.found.get(Action::Skip)), (4, 1));

    plan.at(Operation::PutObject, 1, Fault::Fail(ErrorClass::Throttled));
    let worker = process(&world, "worker", &plan);
    let work = tokio::spawn(Worker::new(worker.clone()).run());
    while world.queue.stats().visible + world.queue.stats().in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.runtime.stop.cancel();
    work.await.unwrap();

    let moved = &worker.runtime.telemetry;
    let bytes = (3 * SMALL + LARGE) as u64;
    assert_eq!(moved.objects.get(ObjectResult::Copied), 4);
    assert_eq!(moved.objects.read().map(|(_, number)| number).sum::<u64>(), 4);
    assert_eq!(moved.object_duration.read().count, 4);
    assert_eq!((moved.completed.get(()), moved.downloaded.get(Service::Source)), (bytes, bytes));
    assert_eq!(moved.uploaded.get(Service::Destination), bytes);
    let put = |status| requests(moved, Service::Destination, Operation::PutObject, status);
    assert_eq!((put(RequestStatus::Ok), put(RequestStatus::Throttled)), (3, 1));
    assert_eq!(requests(moved, Service::Destination, Operation::PutPart, RequestStatus::Ok), 3);
    assert_eq!(moved.repeated.get((Service::Destination, RequestStatus::Throttled)), 1);
    assert!(moved.requests.read().all(|(_, _, counters)| counters.in_flight() == 0));
    let state = worker.gauges().read();
    let limited: Vec<_> = state.request_limits.iter().map(|(side, bucket, _)| (*side, bucket.as_str())).collect();
    assert_eq!(limited, [(Service::Destination, DESTINATION)]);
    assert_eq!((state.messages, state.paused), (0, vec![]));
}
