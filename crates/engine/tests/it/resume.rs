//! Parts and objects at a destination that are proved to be the source's, and those that are sent again because nothing
//! proves it.

use std::time::Duration;

use crate::scenarios::resume::{only_the_source_was_visible, without_checksums};
use crate::world::{DESTINATION, JOB, SOURCE, World, content, tiny_config, tiny_store};
use migration_core::message::Batch;
use migration_core::outcome::FailureClass;
use migration_core::part::PartSize;
use migration_core::ports::{Attributes, Ledger, Tags};
use migration_core::records::{self, BatchEnd, EndCounts, OPERATOR, RunResult};
use migration_core::size::ByteSize;
use migration_ledger::view;
use migration_testkit::{
    BucketSettings, Call, Checksums, Fault, MemoryLedger, Operation, StoreSettings, StreamedBodies,
};

fn scenario(name: &str) {
    let (_, run) = crate::scenarios::ALL.iter().find(|(found, _)| *found == name).unwrap();
    crate::scenarios::run(*run).unwrap_or_else(|violation| panic!("{name}: {violation}"));
}

#[test]
fn a_damaged_part_is_not_adopted_by_the_next_try() {
    scenario("a damaged part is not adopted by the next try");
}

#[test]
fn somebody_elses_object_of_the_same_size_is_not_taken_for_the_copy() {
    scenario("somebody else's object of the same size is not taken for the copy");
}

#[test]
fn what_was_found_damaged_is_written_again() {
    scenario("what was found damaged is written again");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_replaced_after_it_was_verified_is_sent_again_before_completion() {
    use migration_core::ports::{Body, ObjectStore, PutPart, UploadRef};
    let world = without_checksums();
    world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    // By a worker taken for dead, or by a service that stores it late.
    let (destination, mut parts) = (world.destination.clone(), 0);
    let replace = move |call: &Call| {
        parts += usize::from(call.operation == Operation::PutPart);
        if call.operation == Operation::ListParts && parts == 5 {
            let (key, id) = destination.open_uploads(DESTINATION).remove(0);
            let bytes = bytes::Bytes::from(content(32, 77));
            let body = Body::Held {
                md5: md5::Digest::finalize(md5::Digest::chain_update(md5::Md5::default(), &bytes)).into(),
                bytes,
            };
            let upload = UploadRef { bucket: DESTINATION, key: &key, upload_id: &id };
            let put = destination.put_part(PutPart { upload, number: 2, body, checksum: false });
            futures::FutureExt::now_or_never(put).unwrap().unwrap();
            return true;
        }
        false
    };
    world.plan.when(replace, Fault::Delay(Duration::from_millis(1)), 1);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    only_the_source_was_visible(&world, "large").unwrap();
    assert_eq!(world.plan.count(Operation::PutPart), 6);
}

/// Transfers a large object, with a fault at its completion or after it.
async fn completed_with(
    world: &World,
    applies: impl FnMut(&Call) -> bool + Send + 'static,
    fault: Fault,
) -> (usize, usize) {
    world.source.insert(SOURCE, "large", content(96, 1));
    world.send("job-1").await.unwrap();
    world.plan.when(applies, fault, 1);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.plan.injected(), 1);
    only_the_source_was_visible(world, "large").unwrap();
    assert_eq!(view::uploads(&world.ledger, JOB).await.unwrap().records, [], "the record is gone with the message");
    assert_eq!(world.progress().await.done, 1);
    (world.plan.count(Operation::PutPart), world.plan.count(Operation::CompleteUpload))
}

/// Returns a condition for the first call of an operation after the completion.
fn after_completion(operation: Operation) -> impl FnMut(&Call) -> bool + Send + 'static {
    let mut completed = false;
    move |call| {
        completed |= call.operation == Operation::CompleteUpload;
        completed && call.operation == operation && !call.subject.contains("heartbeat/")
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_behind_the_completion_costs_no_part() {
    for opaque in [false, true] {
        for (operation, fault) in [
            (Operation::CompleteUpload, Fault::CrashAfter),
            (Operation::HeadObject, Fault::Crash),
            (Operation::HeadObject, Fault::CrashAfter),
            (Operation::WriteItems, Fault::Crash),
            (Operation::WriteItems, Fault::CrashAfter),
        ] {
            let world = World::tiny();
            if opaque {
                world.destination.create_bucket_with(DESTINATION, crate::scenarios::resume::opaque());
            }
            let sent = completed_with(&world, after_completion(operation), fault).await;
            assert_eq!(sent, (3, 1), "opaque {opaque}, {operation} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_can_be_compared_the_object_is_written_again() {
    let opaque = || {
        let world = without_checksums();
        world.destination.create_bucket_with(DESTINATION, crate::scenarios::resume::opaque());
        world
    };
    let lost = after_completion(Operation::CompleteUpload);
    let world = opaque();
    let (sent, _) = completed_with(&world, lost, Fault::CrashAfter).await;
    // Three parts twice, and the first two in addition: streamed parts have no proof.
    assert_eq!((sent, world.destination.write_log(DESTINATION).len()), (8, 2));
    // After the last check, the ledger has the ETag that was shown: the second write after it ends the batch.
    let (mut seen, mut behind) = (0, after_completion(Operation::WriteItems));
    let second = move |call: &Call| {
        let is_behind = behind(call);
        seen += u32::from(is_behind && call.subject.contains(" batch/"));
        seen == 1
    };
    let world = opaque();
    completed_with(&world, second, Fault::Crash).await;
    let writes = world.destination.write_log(DESTINATION);
    assert_eq!(writes.len(), 1, "it became visible once");
}

#[tokio::test(start_paused = true)]
async fn what_replaces_the_copy_before_the_last_look_is_not_taken_for_it() {
    let world = World::tiny();
    let destination = world.destination.clone();
    let mut look = after_completion(Operation::HeadObject);
    world.source.insert(SOURCE, "large", content(96, 1));
    world.send("job-1").await.unwrap();
    let replace = move |call: &Call| {
        let now = look(call);
        if now {
            let (attributes, tags) = crate::world::foreign::dressed(0);
            let bytes = bytes::Bytes::from(content(96, 9));
            crate::world::foreign::put_in_parts(&destination, (DESTINATION, "large"), &bytes, (&attributes, &tags));
        }
        now
    };
    world.plan.when(replace, Fault::Delay(Duration::from_millis(1)), 1);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.destination.content(DESTINATION, "large"), world.source.content(SOURCE, "large"));
}

#[tokio::test(start_paused = true)]
async fn parts_longer_than_memory_are_cut_anew_where_the_service_may_want_them_held() {
    for streamed_bodies in [StreamedBodies::Refused, StreamedBodies::Mangled] {
        let settings = StoreSettings { streamed_bodies, ..StoreSettings::default() };
        let mut world = World::with_destination(settings, BucketSettings::default());
        world.config.transfer.part_size = PartSize::Auto;
        let parts = [content(20 << 20, 1).into(), content(20 << 20, 2).into()];
        world.source.insert_parts(SOURCE, "large", &parts, &Attributes::default(), &Tags::new());
        world.send("job-1").await.unwrap();
        let (consumer, process) = world.consumer();
        let budget = consumer.limits().budget.clone();
        let worker = tokio::spawn(consumer.run());
        assert_eq!(world.until_over_and_quiet().await.result, RunResult::Complete);
        process.runtime.stop.cancel();
        worker.await.unwrap();
        only_the_source_was_visible(&world, "large").unwrap();
        let most = budget.most_used();
        let limit = world.config.transfer.memory_limit.bytes();
        assert!(most > 0 && most <= limit, "{most} bytes were held of {limit}");
        assert_eq!(world.destination.object(DESTINATION, "large").unwrap().parts, [16 << 20, 16 << 20, 8 << 20]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_can_neither_be_streamed_nor_held_is_refused_with_the_reason() {
    let settings = StoreSettings { streamed_bodies: StreamedBodies::Refused, ..tiny_store() };
    let mut config = tiny_config();
    config.destination.service.endpoint = Some("http://destination".into());
    config.transfer.split_threshold = ByteSize::mib(64);
    config.transfer.memory_limit = ByteSize(1 << 10);
    let world = World::with(&settings, MemoryLedger::with_page(3), config);
    // Parts have to be longer than configured: an upload has at most 10,000.
    world.source.insert(SOURCE, "large", content(12 << 20, 1));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    let run = world.run().await.unwrap();
    let failure = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records.remove(0);
    assert_eq!(failure.class, FailureClass::Refused);
    assert!(failure.message.contains("transfer.memoryLimit"), "{}", failure.message);
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_ends_exhausted_leaves_no_upload() {
    for checksums in [Checksums::Kept, Checksums::Refused] {
        let settings = StoreSettings { checksums, ..StoreSettings::default() };
        let world = World::with_destination(settings, BucketSettings::default());
        world.source.insert(SOURCE, "large", content(11 << 20, 1));
        world.send("job-1").await.unwrap();
        let second = |call: &Call| call.operation == Operation::GetObject;
        world.plan.when(second, Fault::Truncate(1 << 20), u32::MAX);
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
        let run = world.run().await.unwrap();
        let failure = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records.remove(0);
        assert_eq!(failure.class, FailureClass::Exhausted);
        assert_eq!(world.destination.open_uploads(DESTINATION), []);
        assert_eq!(view::uploads(&world.ledger, JOB).await.unwrap().records, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_given_up_leaves_no_upload() {
    let mut world = World::tiny();
    world.config.transfer.max_attempts = 1;
    world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    // Its workers die at every delivery, in the middle of the upload.
    let dies = |call: &Call| call.operation == Operation::PutPart && call.subject.ends_with("part 3");
    world.plan.when(dies, Fault::Crash, u32::MAX);
    let given_up = async {
        while world.queue.dead_letters().is_empty() {
            let (process, worker) = world.start_worker();
            tokio::select! {
                () = world.plan.crashed() => {
                    worker.abort();
                    world.plan.restart();
                }
                () = async {
                    while world.queue.dead_letters().is_empty() {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                } => {
                    process.runtime.stop.cancel();
                    worker.await.unwrap();
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_hours(12), given_up).await.unwrap();
    let letters = world.queue.dead_letters();
    assert!(letters.iter().all(|letter| serde_json::from_str::<Batch>(&letter.body).is_ok()));
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
    assert_eq!(view::uploads(&world.ledger, JOB).await.unwrap().records, []);
}

/// An upload that a pod created as this session of a role before it died, without recording it.
async fn unrecorded(world: &World, session: &str) -> String {
    use migration_core::ports::{CreateUpload, ObjectStore};
    let store = world.destination.as_principal(session);
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let request =
        CreateUpload { bucket: DESTINATION, key: "large", attributes: &attributes, tags: &tags, checksum: true };
    store.create_upload(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_no_record_holds_is_aborted_only_if_its_session_is_ours() {
    const OURS: &str = "arn:aws:sts::123456789012:assumed-role/mover/s3-migration-uid-1";
    const POD: &str = "arn:aws:sts::123456789012:assumed-role/mover/eks-cluster-pod-1";
    for (session, aborted) in [(OURS, true), (POD, false)] {
        let mut world = World::tiny();
        world.destination = world.destination.as_principal(OURS);
        let etag = world.source.insert(SOURCE, "large", content(96, 1));
        let upload = unrecorded(&world, session).await;
        crate::scenarios::put_record(&world, &crate::scenarios::record_of("large", etag.clone(), 96)).await;
        world.send("job-1").await.unwrap();
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
        let open = world.destination.open_uploads(DESTINATION);
        assert_eq!(open.is_empty(), aborted, "{session}");
        // Also when the job is deleted.
        crate::scenarios::put_record(&world, &crate::scenarios::record_of("large", etag, 96)).await;
        let report = migration_engine::uploads::abort_all(&world.process()).await.unwrap();
        assert_eq!(report.left.is_empty(), aborted, "{session}");
        if !aborted {
            assert_eq!(report.left[0].command, format!("abort {DESTINATION}/large {upload}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_ended_among_the_dead_letters_leaves_no_upload_once_it_is_seen_again() {
    let world = World::tiny();
    world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    world.crash_worker_at(Operation::PutPart, 3).await;
    assert_eq!(world.destination.open_uploads(DESTINATION).len(), 1);
    // The operator's reaction when the queue has given up on the message.
    let batch: Batch = serde_json::from_str(&world.queue.messages()[0].body).unwrap();
    let counts = EndCounts { failed: 1, failed_bytes: 150, ..EndCounts::default() };
    let end = BatchEnd::new(batch.id.clone(), OPERATOR, 0, counts);
    world.ledger.write(&records::end_writes(&batch, &end)).await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
    assert_eq!(view::uploads(&world.ledger, JOB).await.unwrap().records, []);
    assert_eq!(world.plan.count(Operation::PutPart), 3, "nothing is sent any more");
}
