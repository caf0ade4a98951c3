//! The defects of the predecessor tool, each with a test named after it.
//!
//! Defects without a test here:
//!
//! | defect | why |
//! |---|---|
//! | 8.1-15 parts of it (ACL, encryption, locks) | attributes that adapters send; the engine hands them on as one value |
//! | 8.1-18 waits without jitter, two layers of retries | the waits are a pure function of `migration_core::retry`, with its own tests |
//! | 8.1-22 exit code 0 for a broken configuration | ends of programs are tested with the programs |
//! | 8.2-2, 8.2-3 quadratic time, all keys in memory | listings are merged in order, two pages at a time: `scan::listing` |
//! | 8.2-4, 8.2-5 prefixes cut wrongly | the mapping is a pure function of `migration_core::pair`, with its own tests |
//! | 8.2-8 queries of the ledger read one page only | the ledger of all tests here has pages of three items |
//! | 8.2-9 nothing is scanned until the queue is empty | a run ends by the ledger; the queue is never read for that |

use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content, foreign};
use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::part::PartSize;
use migration_core::ports::{Attributes, OutgoingMessage, Queue};
use migration_core::records::RunResult;
use migration_core::size::ByteSize;
use migration_ledger::view;
use migration_testkit::{BucketSettings, Call, Fault, Operation};

/// A source with one large object of five parts, already scanned.
async fn large() -> World {
    let world = World::tiny();
    world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    world
}

async fn again(world: &World) -> RunResult {
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.send("job-2").await.unwrap();
    world.work_until_over("job-2").await.result
}

fn part_two(call: &Call) -> bool {
    call.operation == Operation::PutPart && call.subject.ends_with("part 2")
}

async fn failures(world: &World) -> Vec<String> {
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records;
    failures.into_iter().map(|failure| failure.key).collect()
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_01_a_part_that_never_arrives_never_completes_the_object() {
    let world = large().await;
    world.plan.when(part_two, Fault::Fail(ErrorClass::Refused), 1_000);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    assert_eq!(world.plan.count(Operation::CompleteUpload), 0);
    assert!(world.destination.keys(DESTINATION).is_empty());
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_02_an_outage_keeps_the_upload_and_its_parts() {
    let world = large().await;
    let mut begun = false;
    let outage = move |call: &Call| {
        begun |= part_two(call);
        begun && call.subject.starts_with(DESTINATION)
    };
    world.plan.when(outage, Fault::Fail(ErrorClass::NoAnswer), 500);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("after the outage");
    let first =
        world.plan.log().iter().filter(|c| c.operation == Operation::PutPart && c.subject.ends_with("part 1")).count();
    assert_eq!((first, world.plan.count(Operation::CreateUpload)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_03_exhausted_parts_leave_no_orphan_upload() {
    let world = large().await;
    world.plan.when(part_two, Fault::Fail(ErrorClass::Refused), 1_000);
    world.work_until_over("job-1").await;
    assert!(world.destination.open_uploads(DESTINATION).len() <= 1, "at most the one that is recorded");
    let recorded = view::uploads(&world.ledger, JOB).await.unwrap().records;
    assert_eq!(recorded.len(), world.destination.open_uploads(DESTINATION).len());
    world.plan.clear();
    assert_eq!(again(&world).await, RunResult::Complete);
    world.assert_same("after the next run");
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_04_a_failed_object_is_recorded_before_its_message_goes() {
    let world = large().await;
    world.plan.when(part_two, Fault::Fail(ErrorClass::Refused), 1_000);
    world.work_until_over("job-1").await;
    assert_eq!(failures(&world).await, ["large"]);
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_05_an_upload_aborted_before_its_completion_is_begun_again() {
    let world = large().await;
    let destination = world.destination.clone();
    let abort = move |call: &Call| {
        let now = call.operation == Operation::CompleteUpload;
        for (key, id) in destination.open_uploads(DESTINATION).into_iter().filter(|_| now) {
            futures::executor::block_on(foreign::abort_upload(&destination, DESTINATION, &key, &id));
        }
        now
    };
    world.plan.when(abort, Fault::Delay(Duration::from_millis(1)), 1);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("after the abort");
    assert_eq!(world.plan.count(Operation::CreateUpload), 2);
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_06_a_changed_part_size_corrupts_nothing() {
    let mut world = large().await;
    world.crash_worker_at(Operation::PutPart, 3).await;
    world.config.transfer.part_size = PartSize::Fixed(ByteSize(40));
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("after the part size changed");
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_07_a_foreign_upload_of_the_key_is_neither_adopted_nor_touched() {
    let world = large().await;
    let id = foreign::begin_upload(&world.destination, DESTINATION, "large", Bytes::from(content(32, 99))).await;
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.destination.content(DESTINATION, "large"), world.source.content(SOURCE, "large"));
    assert_eq!(world.destination.open_uploads(DESTINATION), [("large".to_owned(), id.clone())]);
    assert_eq!(foreign::part_sizes(&world.destination, DESTINATION, "large", &id).await, [32]);
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_08_a_source_replaced_grown_or_shrunk_under_way_is_never_mixed() {
    for size in [150, 190, 110, 20] {
        let world = large().await;
        let source = world.source.clone();
        let replace = move |call: &Call| {
            let now = call.operation == Operation::PutPart && call.subject.ends_with("part 3");
            now.then(|| source.insert(SOURCE, "large", content(size, 50)));
            now
        };
        world.plan.when(replace, Fault::Delay(Duration::from_millis(1)), 1);
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete, "{size}");
        assert_eq!(world.destination.content(DESTINATION, "large"), world.source.content(SOURCE, "large"), "{size}");
        assert_eq!(again(&world).await, RunResult::Complete, "{size}");
        world.assert_same("after the next run");
    }
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_09_copies_whose_etags_say_nothing_are_not_deleted() {
    let world = World::tiny();
    world
        .destination
        .create_bucket_with(DESTINATION, BucketSettings { opaque_etags: true, ..BucketSettings::default() });
    world.source.insert(SOURCE, "large", content(150, 1));
    world.source.insert(SOURCE, "small", content(20, 1));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("with SSE-KMS");
    assert_eq!(world.destination.write_log(DESTINATION).len(), 2, "each is written once");
}

/// Runs in integrity mode on a bucket with these settings.
async fn integrity(settings: BucketSettings) -> World {
    let mut world = World::tiny();
    world.source.insert(SOURCE, "before", content(20, 1));
    world.source.create_bucket_with(SOURCE, settings);
    world.source.insert(SOURCE, "small", content(20, 2));
    world.source.insert(SOURCE, "large", content(150, 3));
    world.config.versioning.get_object_with_version_id = true;
    world.config.versioning.update_version_id = true;
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_10_versions_are_pinned_for_small_objects_too() {
    integrity(BucketSettings::versioned()).await.assert_same("in integrity mode");
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_11_versions_are_pinned_on_a_bucket_that_keeps_none() {
    let world = integrity(BucketSettings::default()).await;
    world.assert_same("without versions");
    assert_eq!(world.queue.stats().dead_letters, 0);
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_12_the_null_version_of_a_versioned_bucket_is_copied() {
    let world = integrity(BucketSettings::versioned()).await;
    assert_eq!(world.source.object(SOURCE, "before").unwrap().version_id, None, "it was put before versions were kept");
    world.assert_same("the version null");
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_13_denied_keys_use_no_message_up() {
    for side in 0..2 {
        let world = large().await;
        let store = if side == 0 { &world.source } else { &world.destination };
        store.denials().deny_all(ErrorClass::Service(ServiceFault::AccessDenied), "AccessDenied");
        let (process, worker) = world.start_worker();
        tokio::time::sleep(Duration::from_hours(20)).await;
        assert_eq!(world.queue.messages().len(), 1);
        assert_eq!(failures(&world).await, Vec::<String>::new());
        store.denials().heal();
        process.runtime.stop.cancel();
        worker.await.unwrap();
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
        world.assert_same("after the keys were mended");
    }
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_14_an_object_that_goes_away_leaves_no_upload() {
    let world = large().await;
    let source = world.source.clone();
    let delete = move |call: &Call| {
        let now = part_two(call);
        now.then(|| source.remove(SOURCE, "large"));
        now
    };
    world.plan.when(delete, Fault::Delay(Duration::from_millis(1)), 1);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_15_headers_metadata_and_tags_are_carried_over() {
    let world = World::tiny();
    let attributes =
        Attributes { content_encoding: Some("gzip".into()), expires: Some("never".into()), ..foreign::dressed(2).0 };
    for (key, size) in [("small", 20), ("large", 150), ("huge", 500)] {
        world.source.insert_with(SOURCE, key, content(size, 1), &attributes, &foreign::dressed(2).1);
    }
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    world.assert_same("bytes, tags and metadata");
    for key in world.source.keys(SOURCE) {
        let of = |store: &migration_testkit::MemoryStore, bucket| store.object(bucket, &key).unwrap().attributes;
        assert_eq!(of(&world.source, SOURCE), of(&world.destination, DESTINATION), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_16_slow_work_keeps_its_message_and_a_dead_worker_costs_a_minute() {
    let world = large().await;
    world.plan.when(|c| c.operation == Operation::PutPart, Fault::Delay(Duration::from_secs(100)), 1_000);
    let (_, first) = world.start_worker();
    let (_, second) = world.start_worker();
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert!(world.queue.messages().iter().all(|message| message.receives == 1), "nobody else gets it");
    first.abort();
    second.abort();
    world.plan.clear();
    let (_, third) = world.start_worker();
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(world.destination.content(DESTINATION, "large"), world.source.content(SOURCE, "large"));
    third.abort();
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_17_every_record_of_an_event_is_carried_out() {
    let world = World::tiny();
    let record = |key: &str| {
        world.source.insert(SOURCE, key, content(20, 1));
        format!(
            r#"{{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","eventTime":"2026-01-01T00:00:00.000Z","s3":{{"bucket":{{"name":"{SOURCE}"}},"object":{{"key":"{key}","size":20,"sequencer":"0A"}}}}}}"#
        )
    };
    let body = format!(r#"{{"Records":[{},{},{}]}}"#, record("a"), record("b"), record("c"));
    world.queue.send(&[OutgoingMessage { body, delay: Duration::ZERO }]).await.unwrap();
    let (process, worker) = world.start_worker();
    while world.queue.stats().visible + world.queue.stats().in_flight > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    process.runtime.stop.cancel();
    worker.await.unwrap();
    assert_eq!(world.queue.dead_letters(), []);
    world.assert_same("all records");
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_19_memory_is_bounded_whatever_the_sizes() {
    let world = World::tiny();
    for number in 0..8 {
        world.source.insert(SOURCE, &format!("{number}"), content(300 + number, 1));
    }
    world.send("job-1").await.unwrap();
    let (consumer, process) = world.consumer();
    let budget = consumer.limits().budget.clone();
    world.plan.when(|c| c.operation == Operation::PutPart, Fault::Delay(Duration::from_millis(50)), 1_000);
    let worker = tokio::spawn(consumer.run());
    let mut most = 0;
    tokio::select! {
        _ = world.until_over_and_quiet() => {}
        () = async { loop {
            most = most.max(budget.used());
            tokio::time::sleep(Duration::from_millis(7)).await;
        } } => {}
    }
    process.runtime.stop.cancel();
    worker.await.unwrap();
    world.assert_same("all of them");
    assert!(most > 0 && most <= world.config.transfer.memory_limit.bytes(), "{most} bytes");
    assert_eq!(budget.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_20_small_objects_are_moved_at_once_and_cost_two_requests() {
    let world = World::tiny();
    for number in 0..8 {
        world.source.insert(SOURCE, &format!("{number}"), content(20, number));
    }
    world.send("job-1").await.unwrap();
    world.plan.when(|c| c.operation == Operation::PutObject, Fault::Delay(Duration::from_secs(100)), 1_000);
    let began = tokio::time::Instant::now();
    world.work_until_over("job-1").await;
    // Four at once, as configured.
    assert!(began.elapsed() < Duration::from_secs(230), "{:?}", began.elapsed());
    assert_eq!((world.plan.count(Operation::GetObject), world.plan.count(Operation::PutObject)), (8, 8));
    assert_eq!(world.plan.count(Operation::HeadObject), 0);
}

#[tokio::test(start_paused = true)]
async fn defect_8_1_21_one_source_goes_to_two_destinations() {
    let mut world = World::tiny();
    let mut second = crate::world::pair();
    second.destination_prefix = "copy/".into();
    world.config.buckets.push(second);
    world.source.insert(SOURCE, "large", content(150, 1));
    world.source.insert(SOURCE, "small", content(20, 1));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    for key in ["large", "small"] {
        let wanted = world.source.content(SOURCE, key);
        assert_eq!(world.destination.content(DESTINATION, key), wanted);
        assert_eq!(world.destination.content(DESTINATION, &format!("copy/{key}")), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn defect_8_2_01_a_listing_error_is_neither_an_end_nor_an_absence() {
    for bucket in [SOURCE, DESTINATION] {
        let world = World::tiny();
        for number in 0..9 {
            world.source.insert(SOURCE, &format!("{number}"), content(20, 1));
            world.destination.insert(DESTINATION, &format!("{number}"), content(20, 1));
        }
        let mut pages = 0;
        let second = move |call: &Call| {
            let listing = call.operation == Operation::ListObjects && call.subject.starts_with(bucket);
            pages += u32::from(listing);
            listing && pages >= 2
        };
        world.plan.when(second, Fault::Fail(ErrorClass::Refused), 1_000);
        assert!(world.send("job-1").await.is_err(), "{bucket}");
        assert!(!world.run().await.unwrap().scan.closed, "{bucket}");
        assert_eq!(world.queue.messages(), [], "{bucket}");
    }
}

#[tokio::test(start_paused = true)]
async fn defect_8_2_06_keys_are_opaque_and_found_again() {
    let world = World::tiny();
    for key in ["/a", "//a", "a//b", "a/./b", "a/../b", "b/", "c+d", "c%2Bd", "c d", "é", "q\"'<&>", "\u{1}"] {
        world.source.insert(SOURCE, key, content(20, u8::try_from(key.len()).unwrap()));
    }
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    world.assert_same("whatever the keys");
    again(&world).await;
    assert_eq!(world.progress().await.objects, 0, "all are in place");
}

#[tokio::test(start_paused = true)]
async fn defect_8_2_07_what_the_queue_does_not_take_is_sent_again() {
    let world = World::tiny();
    for number in 0..4 {
        world.source.insert(SOURCE, &format!("{number}"), content(100 + number, 1));
    }
    world.queue.refuse_entries(3);
    world.send("job-1").await.unwrap();
    assert_eq!(world.queue.messages().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn defect_8_2_10_a_change_of_the_same_size_is_found() {
    let world = World::tiny();
    world.source.insert(SOURCE, "small", content(20, 1));
    world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    world.source.insert(SOURCE, "small", content(20, 2));
    world.source.insert(SOURCE, "large", content(150, 2));
    assert_eq!(again(&world).await, RunResult::Complete);
    world.assert_same("after the next run");
}
