//! Denied objects and denied sides: the first are failures of these objects, the second pause.

use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content, tiny_config};
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::outcome::FailureClass;
use migration_core::ports::Clock;
use migration_core::records::{FailureRecord, RunResult};
use migration_ledger::view;
use migration_testkit::{Call, Fault, MemoryLedger, Operation, StoreSettings};
use tokio::time::Instant;

/// Objects named `denied/…` and `open/…`, of one byte each, at services with latency.
fn tree(denied: u32, open: u32) -> World {
    let latency = Duration::from_millis(20);
    let settings = StoreSettings { latency, minimum_part: 1, ..StoreSettings::default() };
    let mut world = World::with(&settings, MemoryLedger::new(), tiny_config());
    world.config.transfer.files_per_worker = 16.into();
    for (prefix, count) in [("denied", denied), ("open", open)] {
        for number in 0..count {
            world.source.insert(SOURCE, &format!("{prefix}/{number:06}"), content(1, 1));
        }
    }
    world
}

fn deny(world: &World, operation: Operation, part: &'static str, class: ErrorClass) {
    let applies = move |call: &Call| call.operation == operation && call.subject.contains(part);
    world.plan.when(applies, Fault::Fail(class), u32::MAX);
}

async fn failures(world: &World) -> Vec<FailureRecord> {
    let run = world.run().await.unwrap();
    view::failures(&world.ledger, JOB, &run, 100_000).await.unwrap().records
}

/// Returns the pauses reported by the workers' heartbeats.
async fn faults(world: &World) -> Vec<ServiceFault> {
    let beats = view::heartbeats(&world.ledger, JOB, world.clock.now()).await.unwrap().records;
    beats.into_iter().flat_map(|beat| beat.blocked).map(|blocked| blocked.fault).collect()
}

#[tokio::test(start_paused = true)]
async fn thirty_denied_of_thirty_are_failures_and_the_run_ends() {
    for (operation, side) in [(Operation::GetObject, "source"), (Operation::PutObject, "destination")] {
        let world = tree(30, 0);
        deny(&world, operation, "denied/", ErrorClass::AccessDenied);
        world.send("job-1").await.unwrap();
        let began = Instant::now();
        let end = world.work_until_over("job-1").await;
        assert_eq!(end.result, RunResult::PartiallyFailed, "{operation}");
        assert!(began.elapsed() < Duration::from_mins(2), "{operation}: {:?}", began.elapsed());
        let failures = failures(&world).await;
        assert!(failures.iter().all(|failure| failure.class == FailureClass::AccessDenied), "{operation}");
        let told = format!("failed to {operation} at the {side}: ");
        assert!(failures.iter().all(|failure| failure.message.starts_with(&told)), "{failures:?}");
        assert_eq!((failures.len(), world.queue.stats().dead_letters), (30, 0), "{operation}");
    }
}

/// Returns the time until the objects that are not denied have arrived.
async fn time_of_open(world: &World, open: usize) -> Duration {
    world.send("job-1").await.unwrap();
    let began = Instant::now();
    let (process, worker) = world.start_worker();
    let arrived = || world.destination.keys(DESTINATION).iter().filter(|key| key.starts_with("open/")).count();
    while arrived() < open {
        assert!(began.elapsed() < Duration::from_hours(2), "{} of {open} arrived", arrived());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let time = began.elapsed();
    let end = world.over().await;
    process.runtime.stop.cancel();
    worker.await.unwrap();
    assert_eq!(end.result == RunResult::Complete, failures(world).await.is_empty());
    time
}

#[tokio::test(start_paused = true)]
async fn five_thousand_denied_among_ten_thousand_are_failures_and_the_others_keep_their_speed() {
    let alone = time_of_open(&tree(0, 5_000), 5_000).await;
    // All denied keys come first: more in a row than pause a side that never worked.
    let world = tree(5_000, 5_000);
    deny(&world, Operation::GetObject, "denied/", ErrorClass::AccessDenied);
    let among = time_of_open(&world, 5_000).await;
    assert_eq!(failures(&world).await.len(), 5_000);
    // A denial costs its request.
    let requests = Duration::from_millis(20) * 5_000 / 16;
    assert!(among < alone * 3 / 2 + requests + Duration::from_secs(20), "{among:?} among denied ones, {alone:?} alone");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_denied_pause_the_side_and_use_no_message_up() {
    let world = tree(100_000, 0);
    deny(&world, Operation::GetObject, "denied/", ErrorClass::AccessDenied);
    world.send("job-1").await.unwrap();
    let sent = world.queue.messages().len();
    let (process, worker) = world.start_worker();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let at_first = world.plan.count(Operation::GetObject);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(faults(&world).await, [ServiceFault::AccessDenied]);
    assert_eq!((failures(&world).await.len(), world.progress().await.done), (0, 0));
    let stats = world.queue.stats();
    assert_eq!((stats.visible + stats.in_flight + stats.delayed, stats.dead_letters), (sent, 0));
    assert!(world.queue.messages().iter().all(|message| message.receives <= 1));
    // The objects held are requested once; then one key every 5 s.
    let later = world.plan.count(Operation::GetObject) - at_first;
    assert!(at_first < 5_000 && later <= 720, "{at_first} requests until the side was paused, {later} after it");
    world.plan.clear();
    let end = world.over().await;
    process.runtime.stop.cancel();
    worker.await.unwrap();
    assert_eq!(end.result, RunResult::Complete);
    assert_eq!(world.progress().await.done, 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_fits_no_request_of_one_object_is_its_own_failure() {
    let world = tree(2, 20);
    deny(&world, Operation::GetObject, "denied/", ErrorClass::SignatureMismatch);
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    assert_eq!((failures(&world).await.len(), world.progress().await.done), (2, 20));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_becomes_wrong_pauses_the_side() {
    for objects_done in [0, 40] {
        let world = tree(0, 300);
        world.send("job-1").await.unwrap();
        let (process, worker) = if objects_done == 0 {
            world.destination.denials().deny_all(ErrorClass::SignatureMismatch, "SignatureDoesNotMatch");
            world.start_worker()
        } else {
            let started = world.start_worker();
            while world.destination.keys(DESTINATION).len() < objects_done {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            world.destination.denials().deny_all(ErrorClass::SignatureMismatch, "SignatureDoesNotMatch");
            started
        };
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(faults(&world).await, [ServiceFault::CredentialsInvalid]);
        assert!(world.queue.messages().iter().all(|message| message.receives <= 1));
        world.destination.denials().heal();
        assert_eq!(world.over().await.result, RunResult::Complete, "{objects_done}");
        process.runtime.stop.cancel();
        worker.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_pauses_the_side() {
    let world = tree(0, 300);
    world.send("job-1").await.unwrap();
    let (process, worker) = world.start_worker();
    while world.destination.keys(DESTINATION).len() < 40 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reads = [Operation::GetObject, Operation::HeadObject];
    world.source.denials().deny(&reads, ErrorClass::AccessDenied, "AccessDenied");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(faults(&world).await, [ServiceFault::AccessDenied]);
    world.source.denials().heal();
    assert_eq!(world.over().await.result, RunResult::Complete);
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_was_never_allowed_fails_the_scan_and_does_not_hang() {
    let world = tree(0, 3);
    world.source.denials().deny(&[Operation::ListObjects], ErrorClass::AccessDenied, "AccessDenied");
    let sent = tokio::time::timeout(Duration::from_hours(1), world.send("job-1")).await;
    let error = sent.unwrap().unwrap_err().to_string();
    assert!(error.contains("AccessDenied"), "{error}");
}
