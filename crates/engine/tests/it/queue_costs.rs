//! What messages cost in the queue and in the ledger, and that a worker holds none that cannot begin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use migration_core::ports::{OutgoingMessage, Queue};
use migration_core::records::RunResult;
use migration_testkit::{Call, Fault, Operation};

use crate::world::{DESTINATION, SOURCE, World, content};

fn is_to_queue(call: &Call) -> bool {
    matches!(
        call.operation,
        Operation::ReceiveMessages | Operation::DeleteMessage | Operation::SendMessages | Operation::SetVisibility
    )
}

fn is_to_ledger(call: &Call) -> bool {
    matches!(call.operation, Operation::GetItem | Operation::QueryItems | Operation::WriteItems)
}

#[tokio::test(start_paused = true)]
async fn small_objects_cost_few_requests_to_queue_and_ledger() {
    for objects in [2_000_usize, 20_000] {
        let world = World::new();
        world.plan.latency(Duration::from_millis(10), world.clock.clone());
        for (number, seed) in (0..objects).zip((0..=255).cycle()) {
            world.source.insert(SOURCE, &format!("{number:06}"), content(10, seed));
        }
        world.send("job-1").await.unwrap();
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
        let mut counts = BTreeMap::<String, usize>::new();
        for call in world.plan.log().iter().filter(|call| is_to_queue(call) || is_to_ledger(call)) {
            let beat = if call.subject.contains("heartbeat/") { " heartbeat" } else { "" };
            *counts.entry(format!("{}{beat}", call.operation)).or_default() += 1;
        }
        let requests: usize = counts.values().sum();
        println!("{objects}: {requests} requests: {counts:?}");
        assert!(requests * 50 <= objects, "{requests} requests for {objects} objects");
    }
}

/// Sends so many jobs of the predecessor, which are one object each.
async fn deliver_jobs(world: &World, number: usize) {
    for n in 0..number {
        let key = format!("k{n:04}");
        world.source.insert(SOURCE, &key, content(10, 1));
        let body = format!(
            r#"{{"Src_bucket":"{SOURCE}","Src_key":"{key}","Des_bucket":"{DESTINATION}","Des_key":"{key}","Size":10,"versionId":"null"}}"#
        );
        assert!(world.queue.send(&[OutgoingMessage { body, delay: Duration::ZERO }]).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_object_come_several_at_once_where_there_is_room() {
    let mut world = World::new();
    world.config.transfer.files_per_worker = 100.into();
    world.plan.latency(Duration::from_millis(10), world.clock.clone());
    deliver_jobs(&world, 300).await;
    world.drain(1).await;
    world.assert_same("after the jobs");
    let (receives, deletes) =
        (world.plan.count(Operation::ReceiveMessages), world.plan.count(Operation::DeleteMessage));
    println!("{receives} receives and {deletes} deletions of 300 messages");
    // The first ten one by one.
    assert!(receives <= 10 + 300 / 5 && deletes <= 10 + 300 / 5, "{receives} receives, {deletes} deletions");
    assert_eq!(world.plan.count(Operation::SetVisibility), 0, "none was given back");
}

#[tokio::test(start_paused = true)]
async fn no_message_is_held_whose_objects_cannot_begin() {
    // Batches of 250 objects that take a second each: of one the last objects are at work or its end is recorded, and
    // those of the next ones begin.
    for (at_once, expected) in [(16, 2), (250, 3), (256, 3)] {
        let mut world = World::new();
        world.config.transfer.files_per_worker = at_once.into();
        for n in 0..3_000 {
            world.source.insert(SOURCE, &format!("{n:06}"), content(10, 1));
        }
        world.plan.latency(Duration::from_millis(10), world.clock.clone());
        world.plan.when(|call| call.operation == Operation::PutObject, Fault::Delay(Duration::from_secs(1)), u32::MAX);
        world.send("job-1").await.unwrap();
        let (queue, most) = (world.queue.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let look = move |call: &Call| {
            if call.operation == Operation::GetObject {
                seen.fetch_max(queue.stats().in_flight, Ordering::Relaxed);
            }
            false
        };
        world.plan.when(look, Fault::Crash, 1);
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
        world.assert_same("after the run");
        let held = most.load(Ordering::Relaxed);
        assert!(held <= expected, "{held} messages were held with {at_once} objects at once");
        assert_eq!(world.plan.count(Operation::SetVisibility), 0, "none was given back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_does_not_stand_idle_while_it_asks_for_the_next_message() {
    let mut world = World::new();
    world.config.transfer.files_per_worker = 16.into();
    for n in 0..3_000 {
        world.source.insert(SOURCE, &format!("{n:06}"), content(10, 1));
    }
    world.send("job-1").await.unwrap();
    // An object takes 20 ms, and a receipt 60 ms: longer than the last 16 objects.
    world.plan.latency(Duration::from_millis(10), world.clock.clone());
    let receipts = |call: &Call| call.operation == Operation::ReceiveMessages;
    world.plan.when(receipts, Fault::Delay(Duration::from_millis(50)), u32::MAX);
    let reads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = reads.clone();
    let look = move |call: &Call| {
        if call.operation == Operation::GetObject {
            seen.lock().unwrap().push(tokio::time::Instant::now());
        }
        false
    };
    world.plan.when(look, Fault::Crash, 1);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    let reads = reads.lock().unwrap();
    let took = *reads.last().unwrap() - *reads.first().unwrap();
    let least = Duration::from_millis(20) * 3_000 / 16;
    println!("{took:?}, of which all objects take {least:?}");
    assert!(took < least + Duration::from_millis(500), "{took:?} instead of {least:?}");
    assert_eq!(world.plan.count(Operation::SetVisibility), 0, "none was given back");
}
