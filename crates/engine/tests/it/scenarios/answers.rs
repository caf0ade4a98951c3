//! Misleading answers.

use std::time::Duration;

use bytes::Bytes;
use migration_core::message::EVENTS_RUN;
use migration_core::ports::{OutgoingMessage, Queue};
use migration_core::records::RunResult;
use migration_testkit::{BucketSettings, Call, Fault, Header, Lie, Named, Operation, Scope};

use crate::histories::Violation;
use crate::world::{DESTINATION, SOURCE, World, content};

/// Requests sent for an object that is read.
const ASKED: &[Operation] = &[Operation::HeadObject, Operation::GetObject, Operation::GetTags];

/// For ten minutes a proxy answers all requests for the source's objects with a 404.
pub async fn not_found() -> Result<(), Violation> {
    let mut world = World::tiny();
    world.config.versioning.update_version_id = true;
    for number in 0..52 {
        world.source.insert(SOURCE, &format!("{number:02}"), content(20 + number, 1));
    }
    world.send("job-1").await.unwrap();
    world.source_lies.tell(Lie::Absent, Scope::always().on(ASKED).lasting(Duration::from_mins(10)));
    let end = world.work_until_over("job-1").await;
    let run = world.run().await.unwrap();
    let gone = world.counters(&run.run).await.counts.gone;
    if end.result != RunResult::Complete || gone > 0 {
        return Err(Violation::new("gone", format!("{:?}: {gone} objects are gone", end.result)));
    }
    let missing = world.source.keys(SOURCE).len() - world.destination.keys(DESTINATION).len();
    if missing == 0 { Ok(()) } else { Err(Violation::new("same", format!("{missing} objects are missing"))) }
}

/// The destination honours `If-Match` of a PUT but not `If-None-Match`. While an object is on its way to it, a newer
/// content is written at the source, and transferred by another worker.
pub async fn other_condition() -> Result<(), Violation> {
    let mut world = World::tiny();
    world.config.destination.service.endpoint = Some("http://destination".into());
    world.destination_lies.tell(Lie::ConditionIgnored(Header::IfNoneMatch), Scope::always());
    world.source.insert(SOURCE, "0", content(10, 1));
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    world.source.insert(SOURCE, "a", content(20, 1));
    world.send("job-2").await.unwrap();
    let (source, destination, mut done) = (world.source.clone(), world.destination.clone(), false);
    let overwrite = move |call: &Call| {
        if call.operation == Operation::PutObject && !done {
            done = true;
            source.insert(SOURCE, "a", content(20, 2));
            destination.insert(DESTINATION, "a", content(20, 2));
        }
        false
    };
    world.plan.when(overwrite, Fault::Crash, u32::MAX);
    world.work_until_over("job-2").await;
    let same = world.destination.content(DESTINATION, "a") == world.source.content(SOURCE, "a");
    if same { Ok(()) } else { Err(Violation::new("order", "the older content is left at the destination")) }
}

/// The source ignores `If-Match`, and an object is overwritten by one of the same size while it is read in parts.
pub async fn other_content() -> Result<(), Violation> {
    let world = World::tiny();
    world.source.insert(SOURCE, "large", content(300, 1));
    world.source_lies.tell(Lie::IfMatchIgnored(Named::Own), Scope::always());
    world.send("job-1").await.unwrap();
    let (source, mut parts) = (world.source.clone(), 0);
    let overwrite = move |call: &Call| {
        parts += u32::from(call.operation == Operation::PutPart);
        if call.operation == Operation::PutPart && parts == 4 {
            source.insert(SOURCE, "large", content(300, 2));
        }
        false
    };
    world.plan.when(overwrite, Fault::Crash, u32::MAX);
    world.work_until_over("job-1").await;
    let whole = [Bytes::from(content(300, 1)), Bytes::from(content(300, 2))];
    let log = world.destination.write_log(DESTINATION);
    if log.iter().any(|entry| !whole.contains(&entry.content)) {
        return Err(Violation::new("mixture", "a mixture of two contents became visible"));
    }
    let same = world.destination.content(DESTINATION, "large") == world.source.content(SOURCE, "large");
    if same { Ok(()) } else { Err(Violation::new("same", "another content is left at the destination")) }
}

/// An event names a version; a newer one is written, and copied by another worker, before any of the following calls.
pub async fn older_version() -> Result<(), Violation> {
    for size in [20, 100] {
        let mut call = 1;
        while older_version_at(size, call).await? {
            call += 1;
        }
    }
    Ok(())
}

/// Writes and copies the newer version before the call this many calls after the message arrived. Returns false if
/// there are no more calls.
async fn older_version_at(size: usize, place: u64) -> Result<bool, Violation> {
    let mut world = World::tiny();
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    world.config.versioning.get_object_with_version_id = true;
    world.source.insert(SOURCE, "a", content(size, 1));
    let version = world.source.object(SOURCE, "a").and_then(|object| object.version_id).unwrap();
    let body = format!(
        r#"{{"Records":[{{"eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"{SOURCE}"}},"object":{{"key":"a","size":{size},"versionId":"{version}"}}}}}}]}}"#
    );
    world.queue.send(&[OutgoingMessage { body, delay: Duration::ZERO }]).await.unwrap();
    let (source, destination) = (world.source.clone(), world.destination.clone());
    let mut calls = 0;
    let overwrite = move |call: &Call| {
        calls += u64::from(call.subject.starts_with(SOURCE) || call.subject.starts_with(DESTINATION));
        if calls == place {
            calls += 1;
            source.insert(SOURCE, "a", content(size, 2));
            destination.insert(DESTINATION, "a", content(size, 2));
        }
        false
    };
    world.plan.when(overwrite, Fault::Crash, u32::MAX);
    let (process, worker) = world.start_worker();
    while world.counters(EVENTS_RUN).await.batches == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    process.runtime.stop.cancel();
    worker.await.unwrap();
    let newer = Bytes::from(content(size, 2));
    let log = world.destination.write_log(DESTINATION);
    let Some(at) = log.iter().position(|entry| entry.content == newer) else { return Ok(false) };
    if log[at..].iter().any(|entry| entry.content != newer) {
        return Err(Violation::new("order", format!("at call {place}: the older version replaced the newer one")));
    }
    Ok(true)
}
