//! Short histories, each for one behaviour.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod answers;
mod mirror;
pub mod resume;
mod trouble;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};
use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::object::SourceIdentity;
use migration_core::outcome::NotPreserved;
use migration_core::part::PartLayout;
use migration_core::ports::{
    Attributes, Body, Condition, CreateUpload, Item, Ledger, ObjectStore, PutPart, Tags, UploadRef, Write,
};
use migration_core::records::{RunResult, UploadRecord, upload_key};
use migration_engine::worker::Worker;
use migration_ledger::view;
use migration_testkit::{Fault, MemoryLedger, Operation, StoreSettings};

use crate::histories::Violation;
use crate::world::{DESTINATION, JOB, SOURCE, World, content, tiny_config, tiny_store};

type Outcome = Pin<Box<dyn Future<Output = Result<(), Violation>>>>;
type Scenario = fn() -> Outcome;

/// All scenarios.
pub const ALL: [(&str, Scenario); 22] = [
    ("a part of another size is sent anew", || Box::pin(part_of_another_size())),
    ("a worker that wakes up late writes nothing over a newer content", || Box::pin(late_worker())),
    ("a huge object waits for its last range", || Box::pin(last_range())),
    ("memory of parts that fail comes back", || Box::pin(memory_comes_back())),
    ("what the queue did not take is sent again", || Box::pin(refused_entries_are_sent_again())),
    ("a version that appears during the copy is copied in the same run", || Box::pin(versions_are_checked_again())),
    ("a listing that breaks does not close the scan", || Box::pin(broken_listing())),
    ("a killed sender's checkpoints leave nothing out", || Box::pin(killed_sender())),
    ("a listing that is cut leaves nothing out", || Box::pin(cut_listing())),
    ("a damaged part is not adopted by the next try", || Box::pin(resume::damaged_part())),
    ("somebody else's object of the same size is not taken for the copy", || {
        Box::pin(resume::foreign_object_of_the_same_size())
    }),
    ("what was found damaged is written again", || Box::pin(resume::found_damaged())),
    ("a mirror takes a denial for no absence", || Box::pin(mirror::denial())),
    ("thirty objects that are denied end a run", || Box::pin(trouble::denied_objects())),
    ("an object that moves on is not given up", || Box::pin(trouble::throttled_object())),
    ("a mirror deletes no more than it may", || Box::pin(mirror::too_many())),
    ("a mirror takes a 404 of somebody else for no absence", || Box::pin(mirror::not_found())),
    ("a HEAD that finds nothing makes no object gone", || Box::pin(answers::not_found())),
    ("a condition that one request keeps is not taken for kept by others", || Box::pin(answers::other_condition())),
    ("an answer of another content is no part of an object", || Box::pin(answers::other_content())),
    ("a version that is read by its name replaces no newer one", || Box::pin(answers::older_version())),
    ("a worker that slept through the end of its upload leaves the next one alone", || {
        Box::pin(crate::frozen::large_object())
    }),
];

/// Runs a scenario in its own runtime.
pub fn run(scenario: Scenario) -> Result<(), Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let ended = tokio::time::timeout(Duration::from_hours(72), scenario()).await;
            ended.unwrap_or_else(|_| Err(Violation::new("ends", "the scenario does not end")))
        })
    }));
    played.unwrap_or_else(|_| Err(Violation::new("panics", "a check of the scenario failed")))
}

/// Parts fail while others are in flight; when all is over no memory is in use.
async fn memory_comes_back() -> Result<(), Violation> {
    let world = World::tiny();
    world.source.insert(SOURCE, "large", content(300, 1));
    world.send("job-1").await.unwrap();
    world.plan.when(|c| c.operation == Operation::PutPart, Fault::Fail(ErrorClass::Transient), 12);
    let (consumer, process) = world.consumer();
    let budget = consumer.limits().budget.clone();
    let worker = tokio::spawn(consumer.run());
    world.until_over_and_quiet().await;
    process.runtime.stop.cancel();
    worker.await.unwrap();
    world.assert_same("after parts failed");
    let used = budget.used();
    if used == 0 { Ok(()) } else { Err(Violation::new("budget", format!("{used} bytes are in use"))) }
}

/// The queue accepts only some messages of a request.
async fn refused_entries_are_sent_again() -> Result<(), Violation> {
    let world = World::tiny();
    for number in 0..4 {
        world.source.insert(SOURCE, &format!("large-{number}"), content(100 + number, 1));
    }
    world.queue.refuse_entries(3);
    world.send("job-1").await.unwrap();
    let queued = world.queue.messages().len();
    if queued == 4 { Ok(()) } else { Err(Violation::new("queue", format!("{queued} of 4 messages are in the queue"))) }
}

/// In integrity mode a new version that appears between the read and the end of the write is detected.
async fn versions_are_checked_again() -> Result<(), Violation> {
    let mut world = World::tiny();
    world.source.create_bucket_with(SOURCE, migration_testkit::BucketSettings::versioned());
    world.config.versioning.get_object_with_version_id = true;
    world.config.versioning.update_version_id = true;
    world.source.insert(SOURCE, "a", content(20, 1));
    world.send("job-1").await.unwrap();
    let source = world.source.clone();
    let overwrite = move |call: &migration_testkit::Call| {
        let now = call.operation == Operation::PutObject;
        now.then(|| source.insert(SOURCE, "a", content(20, 2)));
        now
    };
    world.plan.when(overwrite, Fault::Delay(Duration::from_millis(1)), 1);
    world.work_until_over("job-1").await;
    let same = world.destination.content(DESTINATION, "a") == world.source.content(SOURCE, "a");
    if same { Ok(()) } else { Err(Violation::new("versions", "the older version is left at the destination")) }
}

/// A listing fails at its second page, at either side.
async fn broken_listing() -> Result<(), Violation> {
    for bucket in [SOURCE, DESTINATION] {
        let world = Arc::new(World::tiny());
        for number in 0..9 {
            world.source.insert(SOURCE, &format!("{number}"), content(20, 1));
            world.destination.insert(DESTINATION, &format!("{number}"), content(20, 1));
        }
        let mut pages = 0;
        let second = move |call: &migration_testkit::Call| {
            let listing = call.operation == Operation::ListObjects && call.subject.starts_with(bucket);
            pages += u32::from(listing);
            listing && pages >= 2
        };
        world.plan.when(second, Fault::Fail(ErrorClass::Refused), 1_000);
        let sent = world.send("job-1").await;
        let closed = world.run().await.is_some_and(|run| run.scan.closed);
        if sent.is_ok() || closed {
            return Err(Violation::new("listing", format!("the scan is closed without all of {bucket}")));
        }
        if !world.queue.messages().is_empty() {
            return Err(Violation::new("listing", "objects were taken for missing"));
        }
    }
    Ok(())
}

/// Short keys, so that ranges are split at some of them, in pages that take time.
fn many_pages(latency: Duration) -> World {
    let settings = StoreSettings { latency, ..tiny_store() };
    let world = World::with(&settings, MemoryLedger::with_page(3), tiny_config());
    for number in 0..300_u32 {
        let digits = std::iter::successors(Some(number), |n| (*n >= 7).then_some(n / 7)).map(|n| n % 7);
        let key = digits.map(|digit| char::from_u32(u32::from('a') + digit).unwrap());
        world.source.insert(SOURCE, &key.collect::<String>(), content(20, 1));
    }
    world
}

async fn all_copied(world: &World) -> Result<(), Violation> {
    let end = world.work_until_over("job-1").await;
    let (expected, found) = (world.source.keys(SOURCE).len(), world.destination.keys(DESTINATION).len());
    let run = world.run().await.unwrap();
    let ranges = view::ranges(&world.ledger, JOB, &run.run).await.unwrap().len();
    if (end.result, found) == (RunResult::Complete, expected) && ranges > 4 {
        return Ok(());
    }
    Err(Violation::new("same", format!("{found} of {expected} objects are there, {ranges} ranges: {:?}", end.result)))
}

/// The jobsender dies after its first checkpoints.
async fn killed_sender() -> Result<(), Violation> {
    let world = many_pages(Duration::from_secs(3));
    let sender = world.plan.process();
    let process = world.process_of(sender, world.config.clone());
    let sent = tokio::time::timeout(Duration::from_secs(38), world.send_as(process, "job-1")).await;
    world.plan.kill(sender);
    if sent.is_ok() {
        return Err(Violation::new("sent", "the scan was over before its sender was killed"));
    }
    world.send_until_closed("job-1").await;
    all_copied(&world).await
}

async fn cut_listing() -> Result<(), Violation> {
    let world = many_pages(Duration::from_millis(20));
    world.send("job-1").await.unwrap();
    all_copied(&world).await
}

/// The recorded upload of the same content has a part that is longer than in the layout.
async fn part_of_another_size() -> Result<(), Violation> {
    let world = World::tiny();
    let etag = world.source.insert(SOURCE, "large", content(100, 1));
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let request =
        CreateUpload { bucket: DESTINATION, key: "large", attributes: &attributes, tags: &tags, checksum: true };
    let upload_id = world.destination.create_upload(request).await.unwrap();
    let upload = UploadRef { bucket: DESTINATION, key: "large", upload_id: &upload_id };
    let bytes = Bytes::from(content(40, 9));
    let body = Body::Held { md5: Md5::digest(&bytes).into(), bytes };
    world.destination.put_part(PutPart { upload, number: 1, body, checksum: true }).await.unwrap();
    let mut record = record_of("large", etag, 100);
    record.upload_id = Some(upload_id);
    put_record(&world, &record).await;
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    world.assert_same("after the part was sent anew");
    let visible = world.destination.write_log(DESTINATION);
    let mixed = visible.iter().find(|entry| entry.content != content(100, 1));
    if let Some(entry) = mixed {
        return Err(Violation::new("mixture", format!("{} bytes were visible", entry.content.len())));
    }
    // All four, on a new upload: an engine that trusts part numbers notices only when it compares whole contents.
    let sent = world.plan.count(Operation::PutPart);
    if sent == 4 { Ok(()) } else { Err(Violation::new("resume", format!("{sent} parts were sent, not 4"))) }
}

/// The ledger's record of an upload of an object of this size, before it is created.
pub fn record_of(key: &str, etag: ETag, size: u64) -> UploadRecord {
    UploadRecord {
        revision: 1,
        destination_bucket: DESTINATION.into(),
        destination_key: key.into(),
        source: SourceIdentity { bucket: SOURCE.into(), key: key.into(), etag, version_id: None },
        layout: PartLayout { size, part_size: 32 },
        by: "pod-before".into(),
        intended: 0,
        checksum: true,
        wait_until: 0,
        contested: false,
        losses: NotPreserved::default(),
        expected: None,
        damaged: None,
        upload_id: None,
    }
}

pub async fn put_record(world: &World, record: &UploadRecord) {
    let item = Item::of(upload_key(JOB, DESTINATION, &record.destination_key), record);
    world.ledger.write(&[Write::Put { item, condition: Condition::Always }]).await.unwrap();
}

/// A worker freezes before its write, as on a suspended machine; meanwhile another one transfers a newer content.
async fn late_worker() -> Result<(), Violation> {
    let world = World::tiny();
    world.source.insert(SOURCE, "a", content(20, 1));
    world.send("job-1").await.unwrap();
    world.plan.when(|call| call.operation == Operation::PutObject, Fault::Delay(Duration::from_secs(1)), 1);
    let late = world.plan.process();
    let process = world.process_of(late, world.config.clone());
    let worker = tokio::spawn(Worker::new(process).run());
    while world.plan.count(Operation::PutObject) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.plan.freeze(late, Duration::from_mins(10));
    world.source.insert(SOURCE, "a", content(20, 2));
    world.work_until_over("job-1").await;
    world.assert_same("before the late worker goes on");
    tokio::time::sleep(Duration::from_mins(15)).await;
    worker.abort();
    world.assert_same("after the late worker went on");
    Ok(())
}

/// The last range takes long.
async fn last_range() -> Result<(), Violation> {
    let world = World::tiny();
    let size = usize::try_from(world.config.transfer.split_threshold.bytes()).unwrap() + 100;
    world.source.insert(SOURCE, "huge", content(size, 1));
    world.send("job-1").await.unwrap();
    let last = format!(" part {}", size.div_ceil(32));
    let is_last =
        move |call: &migration_testkit::Call| call.operation == Operation::PutPart && call.subject.ends_with(&last);
    world.plan.when(is_last, Fault::Delay(Duration::from_mins(1)), 1);
    let end = world.work_until_over("job-1").await;
    world.assert_same("after the last range");
    let completions = world.plan.count(Operation::CompleteUpload);
    let created = world.plan.count(Operation::CreateUpload);
    if (end.result, created, completions) == (RunResult::Complete, 1, 1) {
        return Ok(());
    }
    Err(Violation::new("completed", format!("{:?}: {created} uploads, {completions} completions", end.result)))
}
