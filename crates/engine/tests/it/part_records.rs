//! Records of verified parts: how often they are written, and what is sent again without them.

use std::time::Duration;

use migration_core::part::PartSize;
use migration_core::ports::{Attributes, Tags};
use migration_core::records::RunResult;
use migration_core::size::ByteSize;
use migration_testkit::{Call, Fault, Operation};

use crate::scenarios::resume::{only_the_source_was_visible, without_checksums};
use crate::world::{DESTINATION, SOURCE, World, content};

/// Returns the number of writes that record verified parts.
fn records_of_parts(world: &World) -> usize {
    let is_one = |call: &&Call| call.operation == Operation::WriteItems && call.subject.contains(" verified/");
    world.plan.log().iter().filter(is_one).count()
}

/// An object of this many parts, each of which takes this long.
async fn slow_parts(parts: usize, each: Duration) -> World {
    let mut world = without_checksums();
    world.config.transfer.split_threshold = ByteSize::mib(1);
    world.source.insert(SOURCE, "large", content(parts * 32, 1));
    world.plan.when(|call| call.operation == Operation::PutPart, Fault::Delay(each), u32::MAX);
    world.send("job-1").await.unwrap();
    world
}

#[tokio::test(start_paused = true)]
async fn a_thousand_parts_and_twenty_deaths_send_again_what_was_in_flight_and_unrecorded() {
    const PARTS: usize = 1_000;
    const KILLS: usize = 20;
    // Two at once, of two seconds each: a part per second.
    let world = slow_parts(PARTS, Duration::from_secs(2)).await;
    for _ in 0..KILLS {
        let (_, worker) = world.start_worker();
        let before = world.plan.count(Operation::PutPart);
        while world.plan.count(Operation::PutPart) < before + 45 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled());
        world.plan.crash();
        world.plan.restart();
    }
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    only_the_source_was_visible(&world, "large").unwrap();
    let (sent, records) = (world.plan.count(Operation::PutPart), records_of_parts(&world));
    println!("{sent} parts sent of {PARTS} with {KILLS} deaths, {records} records");
    let again = sent - PARTS;
    // A worker that dies after 45 s has recorded after 31 s, at a part per second.
    assert!(again > 0 && again <= KILLS * (2 + 16), "{again} parts were sent again");
    // A record every 30 s, and five more after each start.
    assert!(records <= sent / 30 + (KILLS + 1) * 5, "{records} records for {sent} parts");
    assert_eq!(world.plan.count(Operation::CreateUpload), 2, "one was refused for its checksum");
}

/// Kills workers so many seconds after they began to send parts, until a run is over. Returns the number of kills.
async fn kill_every(world: &World, seconds: u64) -> usize {
    for kills in 0..1_000 {
        let before = world.plan.count(Operation::PutPart);
        let (process, worker) = world.start_worker();
        let over = tokio::select! {
            _ = world.over() => true,
            () = async {
                while world.plan.count(Operation::PutPart) == before {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            } => false,
        };
        if over {
            process.runtime.stop.cancel();
            worker.await.unwrap();
            return kills;
        }
        worker.abort();
        assert!(worker.await.unwrap_err().is_cancelled());
        world.plan.crash();
        world.plan.restart();
    }
    panic!("no progress")
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_killed_every_few_seconds_makes_progress() {
    // In so many seconds, the longest interval between two records is so long. 640 parts are moved in ranges of ten.
    for (parts, seconds, interval) in [(60, 3, 2), (60, 5, 4), (60, 10, 8), (60, 20, 16), (60, 29, 16), (640, 5, 4)] {
        // Two at once, of two seconds each: a part per second.
        let mut world = slow_parts(parts, Duration::from_secs(2)).await;
        if parts > 100 {
            world.config.transfer.split_threshold = ByteSize(64);
            world.config.transfer.files_per_worker = 1.into();
        }
        let kills = kill_every(&world, seconds).await;
        only_the_source_was_visible(&world, "large").unwrap();
        let again = world.plan.count(Operation::PutPart) - parts;
        println!("{parts} parts, killed {kills} times after {seconds} s: {again} parts were sent again");
        assert!(kills > 0 && again <= kills * (2 + interval), "{again} parts with {kills} kills after {seconds} s");
        assert_eq!(world.destination.write_log(DESTINATION).len(), 1, "it became visible once");
    }
}

#[tokio::test(start_paused = true)]
async fn records_of_verified_parts_grow_with_the_time_and_not_with_the_parts() {
    let mut written = Vec::new();
    for (parts, seconds) in [(50, 8), (200, 2), (400, 1)] {
        let world = slow_parts(parts, Duration::from_secs(seconds)).await;
        world.work_until_over("job-1").await;
        only_the_source_was_visible(&world, "large").unwrap();
        written.push(records_of_parts(&world));
    }
    println!("{written:?} records in 200 s");
    // After 1, 3, 7, 15 and 31 s, then every 30 s: parts of 8 s are recorded as they are verified.
    assert!(written.iter().all(|records| (9..=11).contains(records)), "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_told_to_end_records_what_it_has_verified() {
    let world = slow_parts(40, Duration::from_secs(2)).await;
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::PutPart) < 12 {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    process.runtime.stop.cancel();
    worker.await.unwrap();
    assert!(records_of_parts(&world) <= 5, "after 2, 4 and 8 s, and at the end");
    world.work_until_over("job-1").await;
    only_the_source_was_visible(&world, "large").unwrap();
    assert_eq!(world.plan.count(Operation::PutPart), 40, "no part was sent twice");
}

/// Kills the worker at the first completion, and returns how many parts were sent in all.
async fn killed_at_completion(world: &World) -> usize {
    world.send("job-1").await.unwrap();
    world.plan.at(Operation::CompleteUpload, 1, Fault::Crash);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    only_the_source_was_visible(world, "large").unwrap();
    world.plan.count(Operation::PutPart)
}

#[tokio::test(start_paused = true)]
async fn parts_that_give_the_sources_own_etag_need_no_record() {
    let mut world = without_checksums();
    world.config.transfer.part_size = PartSize::Auto;
    world.config.transfer.memory_limit = ByteSize::mib(16);
    let parts = [content(8 << 20, 1).into(), content(8 << 20, 2).into(), content(5, 3).into()];
    world.source.insert_parts(SOURCE, "large", &parts, &Attributes::default(), &Tags::new());
    world.config.transfer.split_threshold = ByteSize::mib(64);
    assert_eq!(killed_at_completion(&world).await, 3, "the list proves them all");
    // Also without the source's layout: nothing was recorded within a second.
    let mut world = without_checksums();
    world.config.transfer.split_threshold = ByteSize::mib(1);
    world.source.insert(SOURCE, "large", content(96, 1));
    assert_eq!(killed_at_completion(&world).await, 6, "nothing proves them");
}

#[tokio::test(start_paused = true)]
async fn checksums_that_aws_enforced_need_no_record() {
    let world = World::tiny();
    world.source.insert(SOURCE, "large", content(96, 1));
    assert_eq!(killed_at_completion(&world).await, 3);
    assert_eq!(records_of_parts(&world), 0);
}
