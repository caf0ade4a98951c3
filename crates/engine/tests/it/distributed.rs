//! Distributed transfers: one object carried by many workers is completed once, whatever dies meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content};
use migration_core::ports::{Ability, Condition, Item, Ledger, Support, Write};
use migration_core::records::{BucketRecord, RunResult, bucket_key};
use migration_core::size::ByteSize;
use migration_testkit::{BucketSettings, Call, Checksums, Fault, Lie, Operation, Scope, StoreSettings, Told};
use tokio::time::Instant;

const SIZE: usize = (41 << 20) + 5;
/// Parts of 5 MiB.
const PARTS: usize = 9;

fn huge() -> World {
    let mut world = World::new();
    world.config.transfer.split_threshold = ByteSize::mib(20);
    world.source.insert(SOURCE, "huge", content(SIZE, 3));
    world.source.insert(SOURCE, "small", content(10, 1));
    world
}

fn assert_arrived(world: &World) {
    world.assert_same("huge");
    let writes = world.destination.write_log(DESTINATION);
    assert_eq!(writes.iter().filter(|entry| entry.key == "huge").count(), 1, "it became visible once");
}

#[tokio::test(start_paused = true)]
async fn it_is_carried_by_several_workers_and_completed_once() {
    let world = huge();
    world.send("job-1").await.unwrap();
    let takes_time = Fault::Delay(Duration::from_secs(1));
    world.plan.when(|c| c.operation == Operation::PutPart, takes_time, 1_000);
    let others: Vec<_> = (0..3).map(|_| world.start_worker()).collect();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    assert_arrived(&world);
    assert_eq!(world.plan.count(Operation::PutPart), PARTS, "no part was sent twice");
    assert_eq!(world.plan.count(Operation::CreateUpload), 1);
    let progress = world.progress().await;
    assert_eq!((progress.done, progress.done_bytes), (2, SIZE as u64 + 10));
    let carriers: std::collections::BTreeSet<String> = world.range_carriers("huge").await;
    assert!(carriers.len() > 1, "{carriers:?}");
    for (process, worker) in others {
        process.runtime.stop.cancel();
        worker.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_worker_alone_with_room_for_one_object_gets_it_done() {
    let mut world = huge();
    world.config.transfer.files_per_worker = 1.into();
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    assert_arrived(&world);
}

#[tokio::test(start_paused = true)]
async fn workers_killed_on_the_way_cost_the_parts_in_flight() {
    for nth in 1..=u32::try_from(PARTS).unwrap() {
        let world = huge();
        world.send("job-1").await.unwrap();
        world.plan.at(Operation::PutPart, nth, Fault::Crash);
        let end = world.work_until_over("job-1").await;
        assert_eq!(end.result, RunResult::Complete, "killed at part {nth}");
        assert_arrived(&world);
        let sent = world.plan.count(Operation::PutPart);
        let at_once = world.config.transfer.parts_per_file * world.config.transfer.files_per_worker.most();
        assert!(sent <= PARTS + at_once as usize, "{sent} parts were sent when killed at part {nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changes_under_way_begins_a_new_generation() {
    let world = huge();
    world.send("job-1").await.unwrap();
    let (source, mut changed) = (world.source.clone(), false);
    world.plan.when(
        move |c| {
            if c.operation == Operation::PutPart && c.number > 20 && !changed {
                changed = true;
                source.insert(SOURCE, "huge", content(SIZE, 77));
            }
            false
        },
        Fault::Crash,
        1,
    );
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    assert_arrived(&world);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_is_lost_is_sent_again() {
    let world = huge();
    world.send("job-1").await.unwrap();
    // The queue accepts the ranges and loses one of them.
    world.queue.refuse_entries(1);
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::CreateUpload) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let end = world.over().await;
    assert_eq!(end.result, RunResult::Complete);
    assert_arrived(&world);
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_gone_from_the_source_is_gone_and_leaves_no_upload() {
    let world = huge();
    world.send("job-1").await.unwrap();
    let (source, mut seen) = (world.source.clone(), 0);
    world.plan.when(
        move |c| {
            seen += usize::from(c.operation == Operation::PutPart);
            if seen == 3 {
                source.remove(SOURCE, "huge");
            }
            false
        },
        Fault::Crash,
        1,
    );
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    assert_eq!(world.destination.keys(DESTINATION), ["small"]);
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
    assert_eq!(world.progress().await.done, 1);
}

/// Each range is sent with a state of its own, so only the records tell the coordinator what the others saw.
#[tokio::test(start_paused = true)]
async fn a_part_that_one_range_took_on_trust_is_not_completed_beside_digests_of_another() {
    let settings = StoreSettings { checksums: Checksums::Ignored, ..StoreSettings::default() };
    let mut world = World::with_destination(settings, BucketSettings::default());
    world.config.transfer.split_threshold = ByteSize::mib(20);
    world.source.insert(SOURCE, "huge", content(SIZE, 3));
    // An earlier proof was wrong: ETags are digests here.
    let service = world.config.destination.service.endpoint.clone().unwrap_or_default();
    let learned = BucketRecord { service, ..BucketRecord::default() }.learned(Ability::ContentMd5, Support::Yes, 0);
    let item = Item::of(bucket_key(JOB, DESTINATION), &learned);
    world.ledger.write(&[Write::Put { item, condition: Condition::Always }]).await.unwrap();
    let first = Scope::always().on(&[Operation::PutPart]).first(1);
    let damaged = world.destination_lies.tell(Lie::Damaged(Told::Stored), first);
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.destination_lies.times(damaged), 1);
    assert_arrived(&world);
    let item = world.ledger.get(&bucket_key(JOB, DESTINATION)).await.unwrap().unwrap();
    let record: BucketRecord = item.read().unwrap();
    assert_eq!(record.support(Ability::ContentMd5, 0), Support::Unknown);
}

#[tokio::test(start_paused = true)]
async fn one_worker_coordinates_only_so_many_and_reads_the_heartbeats_once_for_all() {
    const OBJECTS: usize = 60;
    let world = World::tiny();
    for (number, seed) in (0..OBJECTS).zip(0..) {
        world.source.insert(SOURCE, &format!("huge/{number:02}"), content(450 + number, seed));
    }
    let (destination, most) = (world.destination.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let counts = move |call: &Call| {
        if call.operation == Operation::PutPart {
            seen.fetch_max(destination.open_uploads(DESTINATION).len(), Ordering::Relaxed);
        }
        false
    };
    world.plan.when(counts, Fault::Crash, 1);
    let takes_time = Fault::Delay(Duration::from_millis(500));
    world.plan.when(|call| call.operation == Operation::PutPart, takes_time, u32::MAX);
    world.send("job-1").await.unwrap();
    let began = Instant::now();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("huge ones");
    assert_eq!(most.load(Ordering::Relaxed), 16, "uploads open at once");
    let is_look = |call: &&Call| call.operation == Operation::QueryItems && call.subject.contains("heartbeat/");
    let (looks, seconds) = (world.plan.log().iter().filter(is_look).count() as u64, began.elapsed().as_secs());
    assert!(looks > 10 && looks <= seconds / 2 + 1, "{looks} in {seconds} s");
    let progress = world.progress().await;
    assert_eq!((progress.done, progress.failed), (OBJECTS as u64, 0));
}
