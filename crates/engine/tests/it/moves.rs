//! A job from end to end, on in-memory services.

use std::sync::Arc;
use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content};
use migration_core::congestion::{Algorithm, Refusal, RefusedAlgorithm};
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::outcome::FailureClass;
use migration_core::ports::{Attributes, Tags};
use migration_core::records::RunResult;
use migration_engine::scan::ScanOutcome;
use migration_engine::worker::Worker;
use migration_ledger::view;
use migration_testkit::{Fault, Operation};

fn tree() -> World {
    let world = World::new();
    for i in 0..30_u8 {
        world.source.insert(SOURCE, &format!("dir/{i} +%41é"), content(usize::from(i) * 100, i));
    }
    world.source.insert(SOURCE, "large", content((11 << 20) + 3, 7));
    world
}

#[tokio::test(start_paused = true)]
async fn a_run_moves_everything_with_one_get_and_one_put_an_object() {
    let world = tree();
    assert!(matches!(world.send("job-1").await, Ok(ScanOutcome::Sent { .. })));
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("after the run");
    let progress = world.progress().await;
    assert_eq!((progress.objects, progress.done, progress.failed, progress.skipped), (31, 31, 0, 0));
    assert_eq!(progress.done_bytes, progress.bytes);
    let count = |operation| world.plan.count(operation);
    assert_eq!((count(Operation::GetObject), count(Operation::PutObject)), (30 + 3, 30));
    assert_eq!((count(Operation::PutPart), count(Operation::CreateUpload), count(Operation::ListParts)), (3, 1, 1));
    // Before and after at the destination, and the source's checksum.
    assert_eq!((count(Operation::HeadObject), count(Operation::ListUploads)), (3, 0));
    let run = world.run().await.unwrap();
    assert_eq!(view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records, []);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_over_unchanged_buckets_only_lists() {
    let world = tree();
    // The copies must be visibly newer than the originals, for the large one whose ETag is not comparable.
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    let before = world.plan.log().len();
    world.send("job-2").await.unwrap();
    let end = world.work_until_over("job-2").await;
    assert_eq!(end.result, RunResult::Complete);
    let progress = world.progress().await;
    assert_eq!((progress.objects, progress.skipped), (0, 31));
    let s3: Vec<Operation> = world.plan.log()[before..].iter().map(|call| call.operation).collect();
    let listings = s3.iter().filter(|operation| **operation == Operation::ListObjects).count();
    assert_eq!(listings, 2);
    assert!(s3.iter().all(|o| !matches!(o, Operation::GetObject | Operation::HeadObject | Operation::PutObject)));
}

#[tokio::test(start_paused = true)]
async fn a_changed_object_replaces_its_copy() {
    let world = tree();
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    world.source.insert(SOURCE, "dir/3 +%41é", content(300, 99));
    world.source.insert(SOURCE, "large", content((11 << 20) + 3, 8));
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.send("job-2").await.unwrap();
    world.work_until_over("job-2").await;
    world.assert_same("after the second run");
    assert_eq!(world.progress().await.done, 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_sender_finds_the_live_run_and_ends_well() {
    let world = tree();
    world.send("job-1").await.unwrap();
    assert!(matches!(world.send("job-2").await, Ok(ScanOutcome::RunIsLive { .. })));
    assert!(matches!(world.send("job-1").await, Ok(ScanOutcome::AlreadySent { .. })));
}

#[tokio::test(start_paused = true)]
async fn wrong_destination_keys_pause_the_job_and_use_nothing_up() {
    let world = tree();
    world.send("job-1").await.unwrap();
    let wrong = ErrorClass::Service(ServiceFault::CredentialsInvalid);
    world.destination.denials().deny_all(wrong, "InvalidAccessKeyId");
    let (process, worker) = world.start_worker();
    let refused = RefusedAlgorithm { algorithm: Algorithm::Bbr, refusal: Refusal::NotLoaded };
    process.runtime.activity.refused(refused);
    tokio::time::sleep(Duration::from_hours(3)).await;
    assert!(world.queue.messages().iter().all(|message| message.receives <= 1), "{:?}", world.queue.stats());
    let beats =
        view::heartbeats(&world.ledger, JOB, migration_core::ports::Clock::now(&world.clock)).await.unwrap().records;
    let blocked = &beats[0].blocked[0];
    assert_eq!((blocked.resource.as_str(), blocked.fault), (DESTINATION, ServiceFault::CredentialsInvalid));
    assert!(blocked.message.contains("InvalidAccessKeyId"));
    assert_eq!(beats[0].refused_algorithm, Some(refused));
    world.destination.denials().heal();
    assert!(!process.runtime.stop.is_cancelled());
    let end = tokio::select! {
        end = async { loop {
            if let Some(end) = world.end_run().await { break end; }
            tokio::time::sleep(Duration::from_secs(1)).await;
        } } => end,
        _ = worker => panic!("the worker ended"),
    };
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("after the keys were mended");
}

#[tokio::test(start_paused = true)]
async fn one_denied_object_is_a_failure_and_the_others_arrive() {
    let world = tree();
    let denied = Fault::Fail(ErrorClass::AccessDenied);
    world.plan.when(|c| c.operation == Operation::GetObject && c.subject.contains("dir/17 "), denied, 1_000);
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::PartiallyFailed);
    let progress = world.progress().await;
    assert_eq!((progress.done, progress.failed), (30, 1));
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records;
    assert_eq!(failures.iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), ["dir/17 +%41é"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_never_works_is_tried_so_often_and_then_a_failure() {
    let world = tree();
    let broken = Fault::Fail(ErrorClass::Refused);
    world.plan.when(|c| c.operation == Operation::PutObject && c.subject.contains("dir/17 "), broken, 1_000);
    let slow = Fault::Truncate(10);
    world.plan.when(|c| c.operation == Operation::GetObject && c.subject.contains("dir/18 "), slow, 1_000);
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::PartiallyFailed);
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records;
    let attempts: Vec<(&str, u32)> = failures.iter().map(|f| (f.key.as_str(), f.attempts)).collect();
    assert_eq!(attempts, [("dir/17 +%41é", 1), ("dir/18 +%41é", 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_told_to_end_finishes_what_is_in_flight_and_gives_the_rest_back() {
    let world = tree();
    world.send("job-1").await.unwrap();
    let slow = Fault::Delay(Duration::from_secs(5));
    world.plan.when(|c| c.operation == Operation::PutPart, slow, 1_000);
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::PutPart) == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let begun = world.plan.count(Operation::PutPart);
    process.runtime.stop.cancel();
    tokio::time::timeout(Duration::from_secs(30), worker).await.expect("ends within its grace").unwrap();
    let stats = world.queue.stats();
    assert_eq!((stats.in_flight, stats.dead_letters), (0, 0), "{stats:?}");
    assert!(world.plan.count(Operation::PutPart) <= begun + 1, "no new parts were begun");
    world.plan.clear();
    world.work_until_over("job-1").await;
    world.assert_same("after another worker went on");
    assert_eq!(world.plan.count(Operation::PutPart), 3, "no part was sent twice");
}

#[tokio::test(start_paused = true)]
async fn the_time_to_finish_is_what_the_worker_is_given() {
    for (grace, finished) in [(Duration::from_secs(10), false), (Duration::from_mins(5), true)] {
        let world = tree();
        world.send("job-1").await.unwrap();
        let slow = Fault::Delay(Duration::from_secs(200));
        world.plan.when(|c| c.operation == Operation::PutPart, slow, 1_000);
        let mut process = world.process();
        Arc::get_mut(&mut process).unwrap().runtime.grace = grace;
        let worker = tokio::spawn(Worker::new(process.clone()).run());
        while world.plan.count(Operation::PutPart) == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let told = tokio::time::Instant::now();
        process.runtime.stop.cancel();
        worker.await.unwrap();
        assert_eq!(told.elapsed() > Duration::from_secs(150), finished, "{grace:?}: {:?}", told.elapsed());
        let stats = world.queue.stats();
        assert_eq!((stats.in_flight, stats.dead_letters), (0, 0), "{stats:?}");
        world.plan.clear();
        world.work_until_over("job-1").await;
        world.assert_same("after another worker went on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_arrives_while_the_worker_is_ending_is_given_back() {
    let world = tree();
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::ReceiveMessages) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.runtime.stop.cancel();
    world.send("job-1").await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), worker).await.expect("ends within its grace").unwrap();
    let stats = world.queue.stats();
    assert_eq!((stats.visible, stats.in_flight), (2, 0), "{stats:?}");
    assert!(world.queue.messages().iter().any(|message| message.receives == 1), "the long poll got one of them");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_ours_goes_to_the_dead_letters_with_the_reason() {
    use migration_core::ports::{OutgoingMessage, Queue};
    let world = tree();
    let strange = OutgoingMessage { body: r#"{"hello":1}"#.into(), delay: Duration::ZERO };
    world.queue.send(&[strange]).await.unwrap();
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    let dead = world.queue.dead_letters();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].reason.as_deref().unwrap().contains("neither a batch"), "{dead:?}");
    world.assert_same("the strange message stops nothing");
}

#[tokio::test(start_paused = true)]
async fn changed_part_size_carries_on_with_the_old_cut() {
    let mut world = tree();
    world.send("job-1").await.unwrap();
    world.crash_worker_at(Operation::PutPart, 3).await;
    world.config.transfer.part_size = migration_core::part::PartSize::Fixed(migration_core::size::ByteSize::mib(6));
    world.work_until_over("job-1").await;
    world.assert_same("after the part size changed");
    let run = world.run().await.unwrap();
    assert!(run.end.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changes_under_way_is_never_mixed() {
    let world = tree();
    world.send("job-1").await.unwrap();
    let (source, mut changed) = (world.source.clone(), false);
    world.plan.when(
        move |c| {
            if c.operation == Operation::PutPart && !changed {
                changed = true;
                source.insert(SOURCE, "large", content(12 << 20, 50));
            }
            false
        },
        Fault::Crash,
        1,
    );
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("after the change");
}

#[tokio::test(start_paused = true)]
async fn an_object_written_at_the_destination_meanwhile_is_looked_at_again() {
    let world = tree();
    world.send("job-1").await.unwrap();
    // Others write another content, and the same content.
    world.destination.insert(DESTINATION, "dir/3 +%41é", content(5, 1));
    world.destination.insert(DESTINATION, "dir/4 +%41é", content(400, 4));
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("the source's content wins");
    assert_eq!(world.progress().await.done, 31);
}

#[tokio::test(start_paused = true)]
async fn archived_objects_are_failures_until_they_are_restored() {
    let world = World::tiny();
    let archived = Attributes { storage_class: Some("GLACIER".into()), ..Attributes::default() };
    for (key, len) in [("small", 20), ("large", 200), ("huge", 900)] {
        world.source.insert_with(SOURCE, key, content(len, 1), &archived, &Tags::new());
    }
    world.source.insert(SOURCE, "warm", content(20, 2));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records;
    let found: Vec<(&str, FailureClass)> = failures.iter().map(|f| (f.key.as_str(), f.class)).collect();
    assert_eq!(found, ["huge", "large", "small"].map(|key| (key, FailureClass::Archived)));
    for key in ["small", "large", "huge"] {
        world.source.restore(SOURCE, key);
    }
    world.send("job-2").await.unwrap();
    assert_eq!(world.work_until_over("job-2").await.result, RunResult::Complete);
    world.assert_same("after they were restored");
}

/// A worker that slept through a run may write the source's earlier content. If the newer one could not be transferred,
/// nothing at the destination shows that.
#[tokio::test(start_paused = true)]
async fn an_object_that_failed_is_moved_although_its_copy_looks_newer() {
    let world = World::tiny();
    let archived = Attributes { storage_class: Some("GLACIER".into()), ..Attributes::default() };
    let newer = bytes::Bytes::from(content(200, 2));
    let parts = [newer.slice(..100), newer.slice(100..)];
    world.source.insert_parts(SOURCE, "k", &parts, &archived, &Tags::new());
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.destination.insert(DESTINATION, "k", content(200, 1));
    world.source.restore(SOURCE, "k");
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.send("job-2").await.unwrap();
    assert_eq!(world.work_until_over("job-2").await.result, RunResult::Complete);
    world.assert_same("after the second run");
}
