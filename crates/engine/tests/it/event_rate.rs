//! Many events: what they cost in the ledger, that each counts once, and that no message waits in vain.

use std::collections::BTreeMap;
use std::time::Duration;

use migration_core::concurrency::FilesPerWorker;
use migration_core::error::ErrorClass;
use migration_core::message::{Batch, BatchId, EVENTS_RUN, Entry, MESSAGE_VERSION};
use migration_core::ports::{OutgoingMessage, Queue};
use migration_core::retry::Tried;
use migration_core::size::ByteSize;
use migration_testkit::{Call, Fault, Operation};

use crate::world::{DESTINATION, JOB, SOURCE, World, content, pair};

fn event(key: &str, sequencer: usize) -> String {
    event_of(key, 10, sequencer)
}

/// An event of an object of so many bytes.
fn event_of(key: &str, size: usize, sequencer: usize) -> String {
    format!(
        r#"{{"Records":[{{"eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"{SOURCE}"}},"object":{{"key":"{key}","size":{size},"sequencer":"{sequencer:04}"}}}}}}]}}"#
    )
}

async fn deliver(world: &World, bodies: impl Iterator<Item = String>) {
    for body in bodies {
        let message = OutgoingMessage { body, delay: Duration::ZERO };
        assert!(world.queue.send(&[message]).await.unwrap().is_empty());
    }
}

/// Puts so many objects at the source, and returns their keys.
fn objects(world: &World, number: usize) -> Vec<String> {
    let keys: Vec<_> = (0..number).map(|n| format!("k{n:04}")).collect();
    for (seed, key) in (1..).zip(&keys) {
        world.source.insert(SOURCE, key, content(10, seed));
    }
    keys
}

fn to_ledger(call: &Call) -> bool {
    matches!(call.operation, Operation::GetItem | Operation::QueryItems | Operation::WriteItems)
        && !call.subject.contains("heartbeat/")
}

#[tokio::test(start_paused = true)]
async fn many_events_cost_few_requests_to_the_ledger_and_each_counts_once() {
    for duplicates in [0, 90] {
        for workers in [1, 3] {
            let world = World::new();
            // As far as a real ledger is.
            world.plan.latency(Duration::from_millis(10), world.clock.clone());
            let keys = objects(&world, 300);
            deliver(&world, keys.iter().take(duplicates).map(|key| event(key, 1))).await;
            deliver(&world, keys.iter().map(|key| event(key, 1))).await;
            world.drain(workers).await;
            world.assert_same("after the events");
            let counted = world.counters(EVENTS_RUN).await;
            assert_eq!((counted.batches, counted.counts.done, counted.counts.failed), (300, 300, 0));
            let requests = world.plan.log().iter().filter(|call| to_ledger(call)).count();
            let events = keys.len() + duplicates;
            assert!(requests * 10 <= events * 3, "{requests} requests for {events} events, {workers} workers");
            let ends = world.ledger.items().into_iter().filter(|item| item.key.sort.starts_with("batch/"));
            let mut partitions = BTreeMap::<String, usize>::new();
            for end in ends {
                *partitions.entry(end.key.partition).or_default() += 1;
            }
            assert_eq!(partitions.values().sum::<usize>(), 300, "one item an event is kept");
            assert!(partitions.len() == 16 && partitions.values().all(|n| *n < 60), "{partitions:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_count_once_whatever_breaks() {
    const FAULTS: [Fault; 5] = [
        Fault::Crash,
        Fault::CrashAfter,
        Fault::FailAfter(ErrorClass::NoAnswer),
        Fault::Fail(ErrorClass::Transient),
        Fault::Delay(Duration::from_secs(90)),
    ];
    let mut points = 0;
    for fault in FAULTS {
        for call in 1.. {
            let world = World::new();
            let keys = objects(&world, 6);
            deliver(&world, keys.iter().take(3).map(|key| event(key, 1))).await;
            deliver(&world, keys.iter().map(|key| event(key, 1))).await;
            world.plan.at_call(call, fault);
            world.drain(1).await;
            if world.plan.injected() == 0 {
                assert!(call > 20, "the events take {call} calls only");
                break;
            }
            points += 1;
            world.assert_same(&format!("{fault:?} at call {call}"));
            let counted = world.counters(EVENTS_RUN).await;
            assert_eq!((counted.batches, counted.counts.done), (6, 6), "{fault:?} at call {call}");
            assert_eq!(world.queue.dead_letters().len(), 0, "{fault:?} at call {call}");
        }
    }
    assert!(points > 100, "{points} points only");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_ledger_refuses_harms_no_other() {
    let mut world = World::new();
    // The failure of this object is too long for its record's key, and its end is one of many.
    world.config.transfer.max_attempts = 1;
    let keys = objects(&world, 20);
    let refuses = |call: &Call| call.operation == Operation::WriteItems && call.subject.matches("batch/").count() > 1;
    world.plan.when(refuses, Fault::Fail(ErrorClass::Refused), 1);
    deliver(&world, keys.iter().map(|key| event(key, 1))).await;
    world.drain(1).await;
    world.assert_same("after a refusal");
    let counted = world.counters(EVENTS_RUN).await;
    assert_eq!((counted.batches, counted.counts.done), (20, 20));
    assert_eq!(world.plan.injected(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_one_event_in_several_messages_one_end_is_recorded_and_none_is_deleted_before() {
    // Failed once, and recorded at once.
    for refused in [1, 0] {
        let world = World::new();
        objects(&world, 1);
        deliver(&world, (0..3).map(|_| event("k0000", 1))).await;
        let ends = |call: &Call| call.operation == Operation::WriteItems && call.subject.contains("batch/");
        world.plan.when(ends, Fault::Fail(ErrorClass::Refused), refused);
        let (process, worker) = world.start_worker();
        while !world.plan.log().iter().any(ends) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let deleted = world.plan.count(Operation::DeleteMessage);
        assert_eq!(deleted, if refused > 0 { 0 } else { 3 }, "refused {refused} times");
        world.drain(1).await;
        process.runtime.stop.cancel();
        worker.await.unwrap();
        let counted = world.counters(EVENTS_RUN).await;
        assert_eq!((counted.batches, counted.counts.done), (1, 1), "refused {refused} times");
        assert_eq!(world.plan.injected(), u64::from(refused), "one end is in each transaction");
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_ten_at_a_time_and_batches_one_by_one() {
    let world = World::new();
    let keys = objects(&world, 60);
    deliver(&world, keys.iter().map(|key| event(key, 1))).await;
    world.drain(1).await;
    let deleted = world.plan.count(Operation::DeleteMessage);
    assert!(deleted < 40, "{deleted} deletions of 60 events");
    let received = world.plan.count(Operation::ReceiveMessages);
    assert!(received < 45, "{received} receipts of 60 events, with room for four objects at a time");

    let world = World::new();
    objects(&world, 60);
    world.send("job").await.unwrap();
    let sent = world.queue.stats().visible;
    let before = world.plan.count(Operation::SetVisibility);
    world.work_until_over("job").await;
    assert!(sent > 0 && world.plan.count(Operation::SetVisibility) == before, "no batch is given back");
}

#[tokio::test(start_paused = true)]
async fn of_batches_among_events_one_is_kept_and_the_others_go_to_other_workers() {
    let mut world = World::new();
    world.config.transfer.files_per_worker = 16.into();
    let keys = objects(&world, 40);
    let entry = |key: &String| Entry {
        key: key.clone(),
        size: 10,
        etag: None,
        version_id: None,
        destination: None,
        unlisted: true,
        tried: Tried::default(),
    };
    let batch = |number: usize, keys: &[String]| Batch {
        version: MESSAGE_VERSION,
        job: JOB.into(),
        run: EVENTS_RUN.into(),
        id: BatchId::new(0, 1, number as u64),
        scanned: 0,
        pair: pair(),
        attempts: 0,
        objects: keys.iter().map(entry).collect(),
    };
    // Enough events to make the worker ask for ten, then batches.
    deliver(&world, keys[..12].iter().map(|key| event(key, 1))).await;
    deliver(&world, keys[12..].chunks(7).enumerate().map(|(number, keys)| batch(number, keys).body())).await;
    world.drain(1).await;
    world.assert_same("after events and batches");
    assert_eq!(world.destination.keys(DESTINATION).len(), 40);
    let counted = world.counters(EVENTS_RUN).await;
    assert_eq!((counted.batches, counted.counts.done), (16, 40));
}

#[tokio::test(start_paused = true)]
async fn events_of_large_objects_are_not_hoarded() {
    const IN_PARTS: usize = 16;
    let mut world = World::tiny();
    world.config.transfer.files_per_worker = FilesPerWorker::Auto;
    world.config.transfer.memory_limit = ByteSize::mib(64);
    let keys = objects(&world, 12);
    let large: Vec<_> = (0..40).map(|n| format!("large{n:02}")).collect();
    for key in &large {
        world.source.insert(SOURCE, key, content(96, 1));
    }
    let (consumer, _) = world.consumer();
    let limits = consumer.limits();
    let worker = tokio::spawn(consumer.run());
    // Enough small ones to make the worker ask for ten.
    deliver(&world, keys.iter().map(|key| event(key, 1))).await;
    while world.queue.stats().visible + world.queue.stats().in_flight > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // There is room for more small objects than are moved in parts at once. Large ones are looked up first.
    limits.permits.resize(100);
    let looks = |call: &Call| call.operation == Operation::GetItem && call.subject.contains("batch/");
    world.plan.when(looks, Fault::Delay(Duration::from_secs(20)), u32::MAX);
    world.plan.when(|call| call.operation == Operation::PutPart, Fault::Delay(Duration::from_mins(10)), u32::MAX);
    deliver(&world, large.iter().map(|key| event_of(key, 96, 1))).await;
    let mut most = 0;
    for _ in 0..600 {
        most = world.queue.stats().in_flight.max(most);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.plan.log().iter().any(looks) && world.plan.count(Operation::PutPart) >= IN_PARTS);
    assert_eq!(most, IN_PARTS, "messages that one worker held");
    worker.abort();
    assert!(worker.await.unwrap_err().is_cancelled());
}
