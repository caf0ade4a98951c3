//! Causes that use up an object's tries, and work that holds up other work.

use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content, tiny_config};
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::outcome::FailureClass;
use migration_core::part::PartSize;
use migration_core::ports::Clock;
use migration_core::records::RunResult;
use migration_core::size::ByteSize;
use migration_ledger::view;
use migration_testkit::{Call, Fault, MemoryLedger, Operation, StoreSettings};
use tokio::time::Instant;

fn world(objects: u32) -> World {
    let latency = Duration::from_millis(20);
    let settings = StoreSettings { latency, minimum_part: 1, ..StoreSettings::default() };
    let world = World::with(&settings, MemoryLedger::new(), tiny_config());
    for number in 0..objects {
        world.source.insert(SOURCE, &format!("{number:04}"), content(20, 1));
    }
    world
}

fn throttle(world: &World, applies: impl Fn(&Call) -> bool + Send + 'static) {
    world.plan.when(applies, Fault::Fail(ErrorClass::Throttled), u32::MAX);
}

/// Returns true if a call goes to this service: S3, the queue or the ledger.
fn is_of(call: &Call, service: &str) -> bool {
    let of = match call.operation {
        Operation::SendMessages
        | Operation::ReceiveMessages
        | Operation::SetVisibility
        | Operation::DeleteMessage
        | Operation::SendDeadLetter
        | Operation::ReceiveDeadLetters
        | Operation::MeasureQueue => "queue",
        Operation::GetItem | Operation::QueryItems | Operation::WriteItems => "ledger",
        _ => "stores",
    };
    of == service
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_slow_down_for_all_fail_nobody() {
    for service in ["stores", "ledger", "queue", "puts"] {
        let mut world = world(300);
        world.config.transfer.max_attempts = 3;
        world.source.insert(SOURCE, "large", content(300, 1));
        world.send("job-1").await.unwrap();
        let (clock, until) = (world.clock.clone(), world.clock.now() + 600_000);
        throttle(&world, move |call| {
            let meant = if service == "puts" { call.operation == Operation::PutObject } else { is_of(call, service) };
            meant && clock.now() < until
        });
        let began = Instant::now();
        let end = world.work_until_over("job-1").await;
        assert_eq!(end.result, RunResult::Complete, "{service}");
        world.assert_same(service);
        assert!(world.queue.stats().dead_letters == 0, "{service}");
        assert!(began.elapsed() < Duration::from_mins(25), "{service}: {:?}", began.elapsed());
        world.plan.clear();
    }
}

#[tokio::test(start_paused = true)]
async fn slow_down_for_ever_for_one_fails_it_and_does_not_slow_the_others() {
    let time_of_others = async |odd: bool| {
        let world = world(400);
        world.source.insert(SOURCE, "odd", content(20, 1));
        if odd {
            throttle(&world, |call| call.operation == Operation::PutObject && call.subject.contains("odd"));
        }
        world.send("job-1").await.unwrap();
        let began = Instant::now();
        let (process, worker) = world.start_worker();
        while world.destination.keys(DESTINATION).len() < 400 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let others = began.elapsed();
        let end = world.over().await;
        let all = began.elapsed();
        process.runtime.stop.cancel();
        worker.await.unwrap();
        (others, all, end.result, world)
    };
    let (without, ..) = time_of_others(false).await;
    let (with, all, result, world) = time_of_others(true).await;
    assert_eq!(result, RunResult::PartiallyFailed);
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records;
    let failed: Vec<_> = failures.iter().map(|failure| (failure.key.as_str(), failure.class)).collect();
    assert_eq!(failed, [("odd", FailureClass::Exhausted)]);
    assert!(all > Duration::from_mins(30), "given up after {all:?}");
    assert!(all < Duration::from_hours(2), "given up after {all:?}");
    assert!(with < without * 13 / 10, "{with:?} beside it, {without:?} without it");
}

/// 10,000 parts, three of ten answered with "slow down".
#[tokio::test(start_paused = true)]
async fn a_large_object_that_is_often_throttled_arrives() {
    let latency = Duration::from_millis(20);
    let settings = StoreSettings { latency, minimum_part: 1, ..StoreSettings::default() };
    let mut world = World::with(&settings, MemoryLedger::new(), tiny_config());
    world.config.transfer.part_size = PartSize::Fixed(ByteSize(32));
    world.config.transfer.split_threshold = ByteSize::mib(1);
    world.config.transfer.parts_per_file = 16;
    world.config.transfer.max_attempts = 3;
    world.source.insert(SOURCE, "large", content(320_000, 1));
    world.send("job-1").await.unwrap();
    let mut dice = 12_345_u64;
    world.plan.when(
        move |call| {
            // Knuth's linear congruential generator.
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            call.operation == Operation::PutPart && (dice >> 33) % 10 < 3
        },
        Fault::Fail(ErrorClass::Throttled),
        u32::MAX,
    );
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("after all");
    let sent = world.plan.count(Operation::PutPart);
    assert!((10_000..17_000).contains(&sent), "{sent} requests for 10,000 parts");
    assert_eq!(world.plan.count(Operation::CreateUpload), 1, "the upload is carried on");
}

#[tokio::test(start_paused = true)]
async fn one_slow_object_at_the_head_of_a_batch_holds_nobody_up() {
    let time_of_others = async |slow: bool| {
        let world = world(400);
        if slow {
            let first = |call: &Call| call.operation == Operation::GetObject && call.subject.contains("0000");
            world.plan.when(first, Fault::Delay(Duration::from_secs(25)), 1);
        }
        world.send("job-1").await.unwrap();
        let began = Instant::now();
        let (process, worker) = world.start_worker();
        let others = || world.destination.keys(DESTINATION).iter().filter(|key| *key != "0000").count();
        while others() < 399 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let time = began.elapsed();
        assert_eq!(world.over().await.result, RunResult::Complete);
        process.runtime.stop.cancel();
        worker.await.unwrap();
        world.assert_same("a slow one");
        time
    };
    let (without, with) = (time_of_others(false).await, time_of_others(true).await);
    // One of four permits is taken all that time.
    assert!(with < without * 4 / 3 + Duration::from_millis(200), "{with:?} beside it, {without:?} without it");
}

#[tokio::test(start_paused = true)]
async fn with_one_request_at_a_time_on_both_sides_everything_arrives() {
    let settings = StoreSettings {
        latency: Duration::from_millis(20),
        minimum_part: 1,
        throttle_over: Some(1),
        ..StoreSettings::default()
    };
    let mut world = World::with(&settings, MemoryLedger::new(), tiny_config());
    world.config.transfer.files_per_worker = 8.into();
    for number in 0..40 {
        world.source.insert(SOURCE, &format!("small/{number}"), content(20, 1));
        world.source.insert(SOURCE, &format!("large/{number}"), content(200 + number, 1));
    }
    world.send("job-1").await.unwrap();
    let began = Instant::now();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("one at a time");
    assert!(began.elapsed() < Duration::from_mins(30), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_paused_for_an_hour_uses_nothing_up_and_leaves_nothing_open() {
    let mut world = world(100);
    world.config.transfer.max_attempts = 2;
    for number in 0..10 {
        world.source.insert(SOURCE, &format!("large/{number}"), content(350, 1));
    }
    world.send("job-1").await.unwrap();
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::PutPart) < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.source.denials().deny_all(ErrorClass::Service(ServiceFault::CredentialsExpired), "ExpiredToken");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(world.queue.messages().iter().all(|message| message.receives <= 1));
    world.source.denials().heal();
    assert_eq!(world.over().await.result, RunResult::Complete);
    process.runtime.stop.cancel();
    worker.await.unwrap();
    world.assert_same("after an hour");
}
