//! Runs whose messages are lost: batches without an end are sent again, and nothing is counted twice.

use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, TestProcess, World, content};
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::manifest::{BucketSide, ManifestLocation};
use migration_core::message::{Batch, Message};
use migration_core::ports::{Clock, OutgoingMessage, Queue};
use migration_core::progress::progress;
use migration_core::records::{RunRecord, RunResult};
use migration_engine::scan::{ManifestError, ScanError};
use migration_ledger::view;
use migration_testkit::{Call, Fault, MemoryLedger, Operation};

const DAY: Duration = Duration::from_hours(24);
const QUIET: Duration = Duration::from_hours(7 * 24);
const HOUR: Duration = Duration::from_hours(1);

/// Objects of a world.
const OBJECTS: usize = 24;

/// Small objects, which are one batch, and large ones and a distributed one, which are a batch each.
fn objects() -> Vec<(String, usize)> {
    let small = [("a", 10), ("b", 20), ("e", 30), ("h", 0)].map(|(key, size)| (key.to_owned(), size));
    let large = (4..OBJECTS - 1).map(|n| (format!("large{n:02}"), 200 + n));
    small.into_iter().chain(large).chain([("huge".to_owned(), 500)]).collect()
}

/// A world whose requests have latency, so that work can be stopped halfway.
fn world() -> World {
    let mut world = World::tiny();
    // A ledger whose pages hold everything read here.
    world.ledger = MemoryLedger::new();
    put_all(&world, 1);
    world.plan.latency(Duration::from_millis(50), world.clock.clone());
    world
}

fn put_all(world: &World, seed: u8) {
    for (key, size) in objects() {
        world.source.insert(SOURCE, &key, content(size, seed));
    }
}

/// Every object is counted once, as done or as skipped, and every batch that counts has one end.
async fn assert_counted(world: &World, context: &str) -> RunRecord {
    let run = world.run().await.unwrap();
    let tally = view::tally(&world.ledger, JOB, &run).await.unwrap();
    let (counted, counts) = (tally.counted(), run.scan.counts);
    assert_eq!(counts.batches + counted.remainders, counted.batches, "{context}: {run:?} {tally:?}");
    let ends = counted.counts.done + counted.counts.gone + counted.counts.failed;
    assert_eq!(ends, counts.objects, "{context}: {run:?} {tally:?}");
    let progress = progress(&run, &tally);
    assert_eq!(progress.done + progress.skipped, OBJECTS as u64, "{context}: {run:?} {tally:?}");
    assert_eq!(view::failures(&world.ledger, JOB, &run, 100).await.unwrap().records, [], "{context}");
    run
}

fn writes(world: &World) -> usize {
    world.destination.write_log(DESTINATION).len()
}

async fn stop(worker: (std::sync::Arc<TestProcess>, tokio::task::JoinHandle<()>)) {
    worker.0.runtime.stop.cancel();
    worker.1.await.unwrap();
}

/// Works until this many objects have arrived, and stops.
async fn work_until(world: &World, objects: usize) {
    let worker = world.start_worker();
    while writes(world) < objects {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop(worker).await;
}

/// Acts periodically as the operator and restarts jobsenders until the run is over. Workers poll all that time.
async fn until_over(world: &World, resumed: Option<i64>) -> RunResult {
    let worker = world.start_worker();
    for job in 2.. {
        if let Some(end) = world.end_run().await {
            stop(worker).await;
            return end.result;
        }
        // A scan left open is taken over by a new Job, whether it is reopened or not.
        world.reopen_run(QUIET, resumed).await;
        let run = world.run().await.unwrap();
        if !run.scan.closed && run.lease_until < world.clock.now() {
            world.send_until_closed(&format!("job-{job}")).await;
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    unreachable!()
}

fn batches(world: &World) -> Vec<Batch> {
    let batch = |body: &str| match Message::parse(body) {
        Ok(Message::Batch(batch)) => Some(batch),
        _ => None,
    };
    world.queue.messages().iter().filter_map(|message| batch(&message.body)).collect()
}

async fn deliver(world: &World, bodies: Vec<String>) {
    for body in bodies {
        let message = OutgoingMessage { body, delay: Duration::ZERO };
        assert!(world.queue.send(&[message]).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_suspended_for_14_days_ends_complete() {
    let world = world();
    // Copies of large objects are recognised by being newer than their sources.
    tokio::time::sleep(HOUR).await;
    world.send("job-1").await.unwrap();
    work_until(&world, 2).await;
    let there = writes(&world);
    assert!(there < OBJECTS, "nothing is left to lose");
    tokio::time::sleep(14 * DAY + HOUR).await;
    assert_eq!(world.queue.messages(), [], "the queue has forgotten what was left");
    assert_eq!(until_over(&world, Some(world.clock.now())).await, RunResult::Complete);
    world.assert_same("after 14 days");
    assert_eq!(writes(&world), OBJECTS, "what was in place was not written again");
    let run = assert_counted(&world, "after 14 days").await;
    assert_eq!((run.reopened.len(), run.epoch), (1, 2));
    let ended = world.clock.now() - run.started;
    assert!(ended < i64::try_from((15 * DAY).as_millis()).unwrap(), "it went on at once: {ended}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_suspended_for_8_days_goes_on_with_what_the_queue_has() {
    let world = world();
    world.send("job-1").await.unwrap();
    work_until(&world, 2).await;
    let left = world.queue.messages().len();
    tokio::time::sleep(8 * DAY).await;
    assert_eq!(world.queue.messages().len(), left);
    assert_eq!(until_over(&world, Some(world.clock.now())).await, RunResult::Complete);
    let run = assert_counted(&world, "after 8 days").await;
    assert_eq!(run.reopened, []);
}

#[tokio::test(start_paused = true)]
async fn time_of_a_paused_side_is_no_time_without_progress() {
    let world = world();
    world.send("job-1").await.unwrap();
    let denied = |call: &Call| matches!(call.operation, Operation::GetObject | Operation::HeadObject);
    world.plan.when(denied, Fault::Fail(ErrorClass::Service(ServiceFault::CredentialsExpired)), u32::MAX);
    let worker = world.start_worker();
    tokio::time::sleep(9 * DAY).await;
    assert!(!world.reopen_run(QUIET, None).await, "a side is paused");
    // The pod ends, and the messages are lost; the side is fixed.
    worker.1.abort();
    world.plan.clear();
    world.queue.forget();
    tokio::time::sleep(6 * DAY).await;
    assert!(!world.reopen_run(QUIET, None).await, "it was paused until 6 days ago");
    tokio::time::sleep(DAY + HOUR).await;
    assert!(world.reopen_run(QUIET, None).await);
    world.send("job-2").await.unwrap();
    assert_eq!(until_over(&world, None).await, RunResult::Complete);
    assert_counted(&world, "after a pause").await;
}

/// Messages that were taken for lost return: they are worked on, and count for nothing.
#[tokio::test(start_paused = true)]
async fn what_was_sent_before_a_reopening_does_not_count_when_it_ends_late() {
    for late in [false, true] {
        let world = world();
        world.send("job-1").await.unwrap();
        let old: Vec<String> = batches(&world).iter().map(Batch::body).collect();
        work_until(&world, 1).await;
        world.queue.forget();
        tokio::time::sleep(QUIET + HOUR).await;
        assert!(world.reopen_run(QUIET, None).await);
        if !late {
            deliver(&world, old.clone()).await;
        }
        world.send("job-2").await.unwrap();
        assert_eq!(until_over(&world, None).await, RunResult::Complete);
        if late {
            deliver(&world, old).await;
            let worker = world.start_worker();
            tokio::time::sleep(HOUR).await;
            stop(worker).await;
        }
        assert_counted(&world, &format!("late: {late}")).await;
        assert_eq!(world.queue.dead_letters(), []);
        world.assert_same("whenever they end");
    }
}

/// An object that failed before and is present now does not count as failed.
#[tokio::test(start_paused = true)]
async fn a_failure_before_a_reopening_says_nothing_after_it() {
    let world = world();
    world.send("job-1").await.unwrap();
    let old = batches(&world).into_iter().find(|batch| batch.objects.iter().any(|entry| entry.key == "a")).unwrap();
    world.queue.forget();
    deliver(&world, vec![old.body()]).await;
    let refused = |call: &Call| call.operation == Operation::GetObject && call.subject.ends_with("/a");
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
    work_until(&world, 1).await;
    tokio::time::sleep(HOUR).await;
    let worker = world.start_worker();
    tokio::time::sleep(HOUR).await;
    stop(worker).await;
    let run = world.run().await.unwrap();
    assert_eq!(view::failures(&world.ledger, JOB, &run, 9).await.unwrap().records.len(), 1, "it has failed");
    world.plan.clear();
    tokio::time::sleep(QUIET + HOUR).await;
    assert!(world.reopen_run(QUIET, None).await);
    world.send("job-2").await.unwrap();
    assert_eq!(until_over(&world, None).await, RunResult::Complete);
    assert_counted(&world, "it failed once").await;
    world.assert_same("it failed once");
}

/// A late failure in a batch that does not count must neither replace a record nor create one.
#[tokio::test(start_paused = true)]
async fn a_late_failure_of_a_batch_that_does_not_count_is_not_recorded() {
    let world = world();
    world.send("job-1").await.unwrap();
    let old: Vec<String> = batches(&world).iter().map(Batch::body).collect();
    world.queue.forget();
    tokio::time::sleep(QUIET + HOUR).await;
    assert!(world.reopen_run(QUIET, None).await);
    world.send("job-2").await.unwrap();
    assert_eq!(until_over(&world, None).await, RunResult::Complete);
    put_all(&world, 2);
    let refused = |call: &Call| matches!(call.operation, Operation::GetObject | Operation::HeadObject);
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
    deliver(&world, old).await;
    let worker = world.start_worker();
    tokio::time::sleep(HOUR).await;
    stop(worker).await;
    assert_eq!(world.queue.messages(), []);
    assert_counted(&world, "they failed late").await;
}

/// Whenever the reopening jobsender dies, the next one reaches the same result.
#[tokio::test(start_paused = true)]
async fn a_sender_that_reopens_may_die_at_any_call() {
    for call in 1.. {
        let world = world();
        world.send("job-1").await.unwrap();
        work_until(&world, 2).await;
        world.queue.forget();
        tokio::time::sleep(QUIET + HOUR).await;
        assert!(world.reopen_run(QUIET, None).await);
        world.plan.at_call(world.plan.calls() + call, Fault::Crash);
        world.send_until_closed("job-2").await;
        world.plan.clear();
        assert_eq!(until_over(&world, None).await, RunResult::Complete, "call {call}");
        world.assert_same(&format!("call {call}"));
        assert_counted(&world, &format!("call {call}")).await;
        if world.plan.injected() == 0 {
            assert!(call > 10, "{call} calls only");
            return;
        }
    }
}

/// Also for a run whose first jobsender was killed, so that its scan is open when the messages are lost.
#[tokio::test(start_paused = true)]
async fn a_run_whose_scan_was_open_is_reopened_too() {
    let mut reopened = 0;
    for call in 1..40 {
        let world = world();
        world.plan.at_call(world.plan.calls() + call, Fault::Crash);
        tokio::select! {
            biased;
            () = world.plan.crashed() => world.plan.restart(),
            sent = world.send("job-1") => drop(sent),
        }
        world.plan.clear();
        if world.run().await.is_none() {
            continue;
        }
        world.queue.forget();
        tokio::time::sleep(QUIET + HOUR).await;
        reopened += u32::from(world.reopen_run(QUIET, None).await);
        world.send_until_closed("job-2").await;
        assert_eq!(until_over(&world, None).await, RunResult::Complete, "call {call}");
        world.assert_same(&format!("call {call}"));
        assert_counted(&world, &format!("call {call}")).await;
    }
    assert!(reopened > 0, "no run was reopened");
}

#[tokio::test(start_paused = true)]
async fn a_run_may_be_reopened_more_than_once() {
    let world = world();
    tokio::time::sleep(HOUR).await;
    world.send("job-1").await.unwrap();
    for round in 1..=3_usize {
        work_until(&world, round).await;
        world.queue.forget();
        tokio::time::sleep(QUIET + HOUR).await;
        assert!(world.reopen_run(QUIET, None).await, "round {round}");
        assert!(!world.reopen_run(QUIET, None).await, "it is asked for once");
        world.send(&format!("job-{}", round + 1)).await.unwrap();
    }
    assert_eq!(until_over(&world, None).await, RunResult::Complete);
    let run = assert_counted(&world, "after three").await;
    assert_eq!(run.epoch, 4);
    assert_eq!(writes(&world), OBJECTS);
}

#[tokio::test(start_paused = true)]
async fn a_work_list_begins_again_if_it_is_the_same() {
    for replaced in [false, true] {
        let mut world = world();
        let rows: Vec<String> = objects().iter().map(|(key, _)| format!("from,{key}")).collect();
        let list = rows.join("\n");
        world.source.create_bucket("lists");
        world.source.insert("lists", "l.csv", list);
        world.config.manifest =
            Some(ManifestLocation { side: BucketSide::Source, bucket: "lists".into(), key: "l.csv".into() });
        world.send("job-1").await.unwrap();
        work_until(&world, 2).await;
        world.queue.forget();
        tokio::time::sleep(QUIET + HOUR).await;
        assert!(world.reopen_run(QUIET, None).await);
        if replaced {
            world.source.insert("lists", "l.csv", "from,a\n");
            let error = world.send("job-2").await.unwrap_err();
            let expected = ManifestError::Replaced { bucket: "lists".into(), key: "l.csv".into() };
            assert_eq!(error, ScanError::from(expected));
            continue;
        }
        world.send("job-2").await.unwrap();
        assert_eq!(until_over(&world, None).await, RunResult::Complete);
        assert_counted(&world, "a work list").await;
        world.assert_same("a work list");
    }
}
