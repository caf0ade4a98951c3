//! Records that cannot be read. `docs/contracts.md`, "Records that can't be read", lists the behavior for each kind of
//! record.

use std::time::Duration;

use crate::scenarios::resume::without_checksums;
use crate::world::{DESTINATION, JOB, SOURCE, World, content};
use migration_core::compare::CompareMode;
use migration_core::config::{MirrorSettings, ReportScope, ReportSettings};
use migration_core::error::ErrorClass;
use migration_core::manifest::{BucketSide, ManifestLocation};
use migration_core::message::{Batch, BatchId};
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, OutgoingMessage, Queue, Write};
use migration_core::records::{
    self, BATCH_PREFIX, BatchEnd, RunEnd, RunRecord, RunResult, UploadRecord, VersionRecord, bucket_key,
    source_bucket_key,
};
use migration_core::size::ByteSize;
use migration_engine::scan::ScanError;
use migration_engine::{report, uploads};
use migration_ledger::{ReadError, view};
use migration_testkit::{BucketSettings, ETagStyle, Fault, Lie, MemoryLedger, Operation, Scope, StoreSettings};
use serde_json::{Value, json};

/// Replaces every member of a record by a value of a wrong type, except the members that write conditions use.
async fn spoil(world: &World, key: &LedgerKey) {
    let mut item = world.ledger.get(key).await.unwrap().unwrap_or_else(|| panic!("there is no {key:?}"));
    for (name, value) in &mut item.attributes {
        if name != "revision" {
            *value = json!([["spoiled"]]);
        }
    }
    put(world, item).await;
}

async fn put(world: &World, item: Item) {
    world.ledger.write(&[Write::Put { item, condition: Condition::Always }]).await.unwrap();
}

/// Returns the keys of the items whose partitions and sort keys start with these prefixes.
fn keys(world: &World, partition: &str, sort: &str) -> Vec<LedgerKey> {
    let items = world.ledger.items().into_iter().map(|item| item.key);
    items.filter(|key| key.partition.starts_with(partition) && key.sort.starts_with(sort)).collect()
}

/// Spoils all items with these prefixes. Panics if there are none.
async fn spoil_all(world: &World, partition: &str, sort: &str) -> usize {
    let found = keys(world, partition, sort);
    assert!(!found.is_empty(), "nothing under {partition} {sort}");
    for key in &found {
        spoil(world, key).await;
    }
    found.len()
}

async fn run(world: &World, name: &str) -> RunResult {
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.send(name).await.unwrap();
    world.work_until_over(name).await.result
}

async fn done(world: &World, name: &str) -> u64 {
    assert_eq!(run(world, name).await, RunResult::Complete, "{name}");
    world.progress().await.done
}

/// Returns a world with versioned buckets that compares version IDs.
fn versioned() -> World {
    let mut world = World::tiny();
    world.config.versioning.compare_version_id = true;
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    for number in 0..8_u8 {
        world.source.insert(SOURCE, &format!("k{number}"), content(20, number));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_version_can_not_be_read_is_copied_again_and_recorded_anew() {
    let world = versioned();
    assert_eq!(done(&world, "job-1").await, 8);
    let key = records::version_key(JOB, &world.config.buckets[0], "k3");
    spoil(&world, &key).await;
    assert_eq!(done(&world, "job-2").await, 1, "the others are in place");
    assert_eq!(done(&world, "job-3").await, 0, "it can be read again");
}

#[tokio::test(start_paused = true)]
async fn so_is_one_that_a_work_list_names() {
    let mut world = versioned();
    world.source.create_bucket("lists");
    world.source.insert("lists", "l.csv", "from,k1\nfrom,k2\n");
    let location = ManifestLocation { side: BucketSide::Source, bucket: "lists".into(), key: "l.csv".into() };
    world.config.manifest = Some(location);
    assert_eq!(done(&world, "job-1").await, 2);
    let key = records::version_key(JOB, &world.config.buckets[0], "k2");
    spoil(&world, &key).await;
    assert_eq!(done(&world, "job-2").await, 1);
    assert!(world.ledger.get(&key).await.unwrap().unwrap().read::<VersionRecord>().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_last_run_is_one_whether_or_not_it_can_be_read() {
    let mut world = World::tiny();
    world.config.compare = CompareMode::Size;
    world.source.insert(SOURCE, "k", content(20, 1));
    let refused = |call: &migration_testkit::Call| call.operation == Operation::GetObject;
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
    assert_eq!(run(&world, "job-1").await, RunResult::PartiallyFailed);
    world.plan.clear();
    spoil_all(&world, "failure/", "").await;
    // The size alone would count as in place.
    world.destination.insert(DESTINATION, "k", content(20, 2));
    assert_eq!(done(&world, "job-2").await, 1);
    world.assert_same("after the second run");
}

#[tokio::test(start_paused = true)]
async fn an_extra_object_whose_record_can_not_be_read_stays_and_the_others_go() {
    let mut world = World::tiny();
    world.config.mirror = Some(MirrorSettings { max_deletes: 9 });
    for key in ["a", "b", "c", "d"] {
        world.destination.insert(DESTINATION, key, content(9, 2));
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.plan.at(Operation::DeleteObject, 1, Fault::Crash);
    tokio::select! {
        () = world.plan.crashed() => world.plan.restart(),
        sent = world.send("job-1") => panic!("it was to be killed: {sent:?}"),
    }
    let [first, ..] = &keys(&world, "extra/", "")[..] else { panic!("there is no extra object") };
    spoil(&world, first).await;
    world.send_until_closed("job-1").await;
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    let mirror = world.run().await.unwrap().mirror.unwrap();
    assert_eq!((mirror.deleted, mirror.kept), (3, 1));
    assert_eq!(world.destination.keys(DESTINATION), ["a"]);
    assert_eq!(keys(&world, "extra/", ""), []);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_can_not_be_read_ends_the_scan_where_it_may_have_been_the_last_complete_one() {
    let world = World::tiny();
    world.source.insert(SOURCE, "k", content(20, 1));
    run(&world, "job-1").await;
    let first = world.run().await.unwrap();
    run(&world, "job-2").await;
    // The second run is the last complete one, so the first does not matter.
    spoil(&world, &records::run_key(JOB, &first.run)).await;
    assert_eq!(done(&world, "job-3").await, 0);
    // The third run may have been complete, since the fourth was not.
    let third = world.run().await.unwrap();
    world.plan.at(Operation::ListObjects, 1, Fault::Fail(ErrorClass::Refused));
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.send("job-4").await.unwrap_err();
    let mut fourth = world.run().await.unwrap();
    fourth.end = Some(RunEnd { at: 0, result: RunResult::Failed, message: None, cause: None });
    put(&world, Item::of(records::run_key(JOB, &fourth.run), &fourth)).await;
    spoil(&world, &records::run_key(JOB, &third.run)).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let error = world.send("job-5").await.unwrap_err();
    assert!(matches!(&error, ScanError::Ledger(ReadError::Record(error)) if error.key.sort.contains(&third.run)));
    assert!(error.to_string().contains("failed to read ledger record job/uid-1 run/"), "{error}");
}

/// Returns a world with a batch that has ended and whose message is in the queue again.
async fn ended_and_redelivered() -> (World, LedgerKey) {
    let world = World::tiny();
    world.source.insert(SOURCE, "k", content(20, 1));
    world.send("job-1").await.unwrap();
    let body = world.queue.messages()[0].body.clone();
    world.work_until_over("job-1").await;
    for _ in 0..2 {
        // The first worker reads the end itself, the second one because of the redelivery.
        let again = OutgoingMessage { body: body.clone(), delay: Duration::ZERO };
        world.queue.send(&[again]).await.unwrap();
    }
    let batch: Batch = serde_json::from_str(&body).unwrap();
    (world, records::batch_key(&batch))
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_end_can_not_be_read_is_left_to_others_and_then_to_a_person() {
    let (world, key) = ended_and_redelivered().await;
    spoil(&world, &key).await;
    let (process, worker) = world.start_worker();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!((world.queue.messages().len(), world.queue.dead_letters().len()), (2, 0), "it is left to others");
    tokio::time::sleep(Duration::from_hours(4)).await;
    let letters = world.queue.dead_letters();
    assert_eq!((world.queue.messages().len(), letters.len()), (0, 2));
    for letter in letters {
        let reason = letter.reason.unwrap();
        assert!(reason.contains("failed to read ledger record run/") && reason.contains(&key.sort), "{reason}");
    }
    assert!(world.destination.write_log(DESTINATION).len() <= 2, "it is not moved at each delivery");
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_can_read_the_end_goes_on_from_it() {
    let (world, key) = ended_and_redelivered().await;
    let end: BatchEnd = world.ledger.get(&key).await.unwrap().unwrap().read().unwrap();
    spoil(&world, &key).await;
    let (process, worker) = world.start_worker();
    tokio::time::sleep(Duration::from_mins(10)).await;
    put(&world, Item::of(key, &end)).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!((world.queue.messages().len(), world.queue.dead_letters().len()), (0, 0));
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_with_failures_waits_for_whoever_can_read_whether_it_counts() {
    let world = World::tiny();
    world.source.insert(SOURCE, "k", content(20, 1));
    world.send("job-1").await.unwrap();
    let batch: Batch = serde_json::from_str(&world.queue.messages()[0].body).unwrap();
    let (process, worker) = world.start_worker();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.queue.messages().len(), 0, "the worker has the run's pairs by now");
    let record: RunRecord = world.run().await.unwrap();
    let key = records::run_key(JOB, &record.run);
    spoil(&world, &key).await;
    let mut failing = Batch { id: BatchId::new(0, 1, 7), ..batch };
    failing.objects[0].key = "x".repeat(1_025);
    let send = || OutgoingMessage { body: failing.body(), delay: Duration::ZERO };
    world.queue.send(&[send()]).await.unwrap();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(world.queue.messages().len(), 1, "it waits");
    assert_eq!((keys(&world, "failure/", "").len(), world.queue.dead_letters().len()), (0, 0));
    put(&world, Item::of(key, &record)).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!((world.queue.messages().len(), keys(&world, "failure/", "").len()), (0, 1));
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

/// Starts copying an object in parts and kills the worker before the end.
async fn killed_under_way(world: World) -> World {
    world.source.insert(SOURCE, "large", content(320, 1));
    let takes_time = Fault::Delay(Duration::from_secs(20));
    world.plan.when(|call| call.operation == Operation::PutPart, takes_time, u32::MAX);
    world.send("job-1").await.unwrap();
    let (_, worker) = world.start_worker();
    while world.plan.count(Operation::PutPart) < 7 {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    worker.abort();
    assert!(worker.await.unwrap_err().is_cancelled());
    world.plan.crash();
    world.plan.restart();
    world
}

#[tokio::test(start_paused = true)]
async fn uploads_whose_records_can_not_be_read_are_counted_and_the_others_aborted() {
    let world = killed_under_way(World::tiny()).await;
    let unknown = records::upload_key(JOB, DESTINATION, "another");
    put(&world, Item::of(unknown.clone(), &json!({"revision": 1, "uploadId": 5}))).await;
    let report = uploads::abort_all(&world.process()).await.unwrap();
    assert_eq!((report.aborted, report.left.len(), report.unreadable.count), (1, 0, 1));
    assert_eq!(report.unreadable.first.unwrap().key, unknown);
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
    assert!(world.ledger.get(&unknown).await.unwrap().is_some(), "it is left for whoever can read it");
}

#[tokio::test(start_paused = true)]
async fn an_upload_record_that_can_not_be_read_holds_up_no_message_of_a_batch_that_ended() {
    let world = killed_under_way(World::tiny()).await;
    let [key] = &keys(&world, "upload/", "")[..] else { panic!("there is no upload") };
    let record: UploadRecord = world.ledger.get(key).await.unwrap().unwrap().read().unwrap();
    spoil(&world, key).await;
    // The operator's reaction to a message in the dead-letter queue.
    let batch: Batch = serde_json::from_str(&world.queue.messages()[0].body).unwrap();
    let end = BatchEnd::new(batch.id.clone(), records::OPERATOR, 0, records::EndCounts::default());
    world.ledger.write(&records::end_writes(&batch, &end)).await.unwrap();
    world.work_until_over("job-1").await;
    assert_eq!(world.queue.messages().len(), 0);
    // The record is kept for the deletion of the job, or for a worker that can read it.
    put(&world, Item::of(key.clone(), &record)).await;
    assert_eq!(uploads::abort_all(&world.process()).await.unwrap().aborted, 1);
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_upload_can_not_be_read_fails_with_the_records_name() {
    let world = killed_under_way(World::tiny()).await;
    let [key] = &keys(&world, "upload/", "")[..] else { panic!("there is no upload") };
    spoil(&world, key).await;
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    let failures = view::failures(&world.ledger, JOB, &world.run().await.unwrap(), 9).await.unwrap().records;
    assert_eq!(failures.len(), 1);
    assert!(failures[0].message.contains(&format!("{} {}", key.partition, key.sort)), "{}", failures[0].message);
}

#[tokio::test(start_paused = true)]
async fn parts_whose_verification_can_not_be_read_are_sent_again() {
    let mut world = without_checksums();
    world.config.transfer.split_threshold = ByteSize::mib(1);
    let world = killed_under_way(world).await;
    let before = world.plan.count(Operation::PutPart);
    spoil_all(&world, "parts/", "verified/").await;
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("after the worker's death");
    let sent = world.plan.count(Operation::PutPart) - before;
    assert_eq!(sent, 10, "none of the parts that stood there is taken for the source's");
}

#[tokio::test(start_paused = true)]
async fn a_range_whose_record_can_not_be_read_is_carried_again() {
    let world = World::tiny();
    world.source.insert(SOURCE, "huge", content(500, 3));
    world.send("job-1").await.unwrap();
    let (process, worker) = world.start_worker();
    let record = loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let uploads = view::uploads(&world.ledger, JOB).await.unwrap().records;
        if let Some(found) = uploads.into_iter().find(|record| record.upload_id.is_some()) {
            break found;
        }
    };
    let key = records::part_range_key(JOB, DESTINATION, "huge", &record.upload_id.unwrap(), 1);
    put(&world, Item::of(key, &Value::Object(serde_json::Map::from_iter([("first".to_owned(), json!("one"))])))).await;
    let end = tokio::time::timeout(Duration::from_hours(3), world.over()).await.expect("it waits for ever");
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("huge");
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_bucket_can_do_is_found_out_again() {
    let mut world = World::with_destination(StoreSettings::default(), BucketSettings::default());
    world.config.transfer.multipart_threshold = ByteSize::mib(5);
    world.source.insert(SOURCE, "a", content(20, 1));
    assert_eq!(done(&world, "job-1").await, 1);
    let key = bucket_key(JOB, DESTINATION);
    spoil(&world, &key).await;
    world.source.insert(SOURCE, "b", content(20, 2));
    assert_eq!(done(&world, "job-2").await, 1);
    assert!(world.ledger.get(&key).await.unwrap().unwrap().read::<records::BucketRecord>().is_ok());
}

#[tokio::test(start_paused = true)]
async fn that_a_sources_etags_are_no_digests_is_found_out_again() {
    let world = World::tiny();
    world.source.insert(SOURCE, "a", content(20, 1));
    world.source_lies.tell(Lie::ETags(ETagStyle::FalseDigest), Scope::always());
    assert_eq!(done(&world, "job-1").await, 1);
    let key = source_bucket_key(JOB, SOURCE);
    spoil(&world, &key).await;
    world.source.insert(SOURCE, "b", content(20, 2));
    assert!(done(&world, "job-2").await > 0);
    world.assert_same("after the second run");
    assert!(world.ledger.get(&key).await.unwrap().unwrap().read::<records::SourceBucketRecord>().is_ok());
}

#[tokio::test(start_paused = true)]
async fn failures_that_can_not_be_read_are_counted_in_the_report_and_leave_the_others() {
    let mut world = World::tiny();
    world.ledger = MemoryLedger::new();
    world.destination.create_bucket("reports");
    let settings = ReportSettings { bucket: "reports".into(), prefix: "r/".into(), scope: ReportScope::AllTasks };
    world.config.report = Some(settings);
    for key in ["good", "bad-1", "bad-2"] {
        world.source.insert(SOURCE, key, content(9, 1));
    }
    let refused =
        |call: &migration_testkit::Call| call.operation == Operation::GetObject && call.subject.contains("bad");
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
    assert_eq!(run(&world, "job-1").await, RunResult::PartiallyFailed);
    spoil(&world, &keys(&world, "failure/", "")[0]).await;
    let record = report::write(&world.process(), None, "2026-01-01T00:00:00Z".into()).await.unwrap();
    assert_eq!((record.succeeded, record.failed, record.unreported), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_summed_up_ends_with_the_name_of_what_can_not_be_read() {
    let world = World::tiny();
    world.source.insert(SOURCE, "k", content(20, 1));
    run(&world, "job-1").await;
    let record = world.run().await.unwrap();
    spoil_all(&world, "run/", "counter/").await;
    let error = view::tally(&world.ledger, JOB, &record).await.unwrap_err().to_string();
    assert!(error.contains("counter/") && error.contains("invalid type"), "{error}");
    // A run is neither reopened nor reported without an end that exists.
    spoil_all(&world, "run/", BATCH_PREFIX).await;
    let asked = migration_core::reopen::ask(&RunRecord { end: None, ..record }, 1);
    put(&world, Item::of(records::run_key(JOB, &asked.run), &asked)).await;
    let error = world.send("job-1").await.unwrap_err().to_string();
    assert!(error.contains(BATCH_PREFIX), "{error}");
}
