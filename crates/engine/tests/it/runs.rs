//! Coordination of runs: their end, and batches in the dead-letter queue.

use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content};
use migration_core::error::ErrorClass;
use migration_core::outcome::FailureClass;
use migration_core::ports::{Clock, DeadLetterQueue, MeasuredQueue};
use migration_core::records::{RunEndCause, RunResult};
use migration_engine::run::end::{ScanState, Terms, end_if_over};
use migration_engine::run::look;
use migration_ledger::view;
use migration_testkit::{Fault, MemoryQueue, Operation, QueueSettings};

/// Returns a world whose queue moves a message to the dead-letter queue at its second delivery.
fn impatient() -> World {
    let mut world = World::tiny();
    world.queue = MemoryQueue::new(QueueSettings { max_receives: 1, ..QueueSettings::default() });
    world
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_the_queue_gave_up_becomes_a_failure_and_leaves_no_upload() {
    let world = impatient();
    world.source.insert(SOURCE, "large", content(150, 1));
    world.source.insert(SOURCE, "small", content(5, 1));
    world.send("job-1").await.unwrap();
    world.crash_worker_at(Operation::PutPart, 3).await;
    assert_eq!(world.destination.open_uploads(DESTINATION).len(), 1);
    let (process, worker) = world.start_worker();
    while world.queue.dead_letters().is_empty() {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(world.queue.dead_letter_queue().depth().await.unwrap().visible, 1);
    assert_eq!(world.end_run().await, None, "nobody has ended it yet");
    assert_eq!(world.drain_dead_letters().await, 1);
    let end = world.until_over_and_quiet().await;
    assert_eq!(end.result, RunResult::PartiallyFailed);
    assert_eq!(world.destination.open_uploads(DESTINATION), [], "a worker saw it once more");
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 9).await.unwrap().records;
    let found: Vec<_> = failures.iter().map(|failure| (failure.key.as_str(), failure.class)).collect();
    assert_eq!(found, [("large", FailureClass::DeadLetter)]);
    assert_eq!(world.progress().await.done, 1);
    // The message is kept, because a person may want to redrive it.
    assert_eq!(world.drain_dead_letters().await, 0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let letters = world.queue.dead_letter_queue().receive_dead_letters(10, Duration::ZERO, Duration::ZERO).await;
    assert_eq!(letters.unwrap().len(), 1);
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_failed_ends_its_run_with_its_words() {
    let world = World::tiny();
    world.source.insert(SOURCE, "k", content(5, 1));
    world.plan.at(Operation::ListObjects, 1, Fault::Fail(ErrorClass::Refused));
    let error = world.send("job-1").await.unwrap_err().to_string();
    let look = async |terms| end_if_over(&world.ledger, JOB, terms, world.clock.now()).await.unwrap();
    assert_eq!(look(Terms::default()).await, None, "another sender may go on with it");
    let end = look(Terms { scan: ScanState::Failed(&error), deadline_ms: None }).await.unwrap();
    assert_eq!((end.result, end.message), (RunResult::Failed, Some(error)));
    let view = look::last(&world.ledger, JOB, None).await.unwrap().unwrap();
    assert!(!view.is_live());
    let known = look::last(&world.ledger, JOB, Some(&view.record.run)).await.unwrap().unwrap();
    assert_eq!((known.tally, known.progress()), (None, None), "its sums are known");
    world.plan.clear();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.send("job-2").await.unwrap();
    assert_eq!(world.work_until_over("job-2").await.result, RunResult::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_time_is_up_ends() {
    let world = World::tiny();
    world.source.insert(SOURCE, "k", content(5, 1));
    world.send("job-1").await.unwrap();
    let terms = Terms { deadline_ms: Some(60_000), ..Terms::default() };
    let look = async || end_if_over(&world.ledger, JOB, terms, world.clock.now()).await.unwrap();
    assert_eq!(look().await, None);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let end = look().await.unwrap();
    assert_eq!((end.result, end.cause), (RunResult::Failed, Some(RunEndCause::Deadline)));
}

/// Regression: what was left was copied without a budget, which ended with the run.
#[tokio::test(start_paused = true)]
async fn what_a_run_left_whose_time_is_up_is_not_copied_and_the_next_run_finds_it() {
    let world = World::tiny();
    world.source.insert(SOURCE, "k", content(5, 1));
    world.send("job-1").await.unwrap();
    let terms = Terms { deadline_ms: Some(60_000), ..Terms::default() };
    tokio::time::sleep(Duration::from_mins(1)).await;
    end_if_over(&world.ledger, JOB, terms, world.clock.now()).await.unwrap().unwrap();
    world.drain(1).await;
    let stats = world.queue.stats();
    assert_eq!((world.plan.count(Operation::GetObject), stats.dead_letters), (0, 0), "{stats:?}");
    world.send("job-2").await.unwrap();
    assert_eq!(world.work_until_over("job-2").await.result, RunResult::Complete);
    world.assert_same("the next run");
}

#[tokio::test(start_paused = true)]
async fn a_worker_notices_within_a_minute_that_the_run_it_works_for_was_ended() {
    const OBJECTS: usize = 300;
    let world = World::tiny();
    for number in 0..OBJECTS {
        world.source.insert(SOURCE, &format!("{number:03}"), content(5, 1));
    }
    world.send("job-1").await.unwrap();
    world.plan.when(|call| call.operation == Operation::PutObject, Fault::Delay(Duration::from_mins(1)), 1_000);
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::PutObject) == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let terms = Terms { deadline_ms: Some(1), ..Terms::default() };
    end_if_over(&world.ledger, JOB, terms, world.clock.now()).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_hours(6)).await;
    let (stats, copied) = (world.queue.stats(), world.destination.keys(DESTINATION).len());
    assert_eq!((stats.visible + stats.in_flight + stats.delayed, stats.dead_letters), (0, 0), "{stats:?}");
    assert!((1..OBJECTS).contains(&copied), "{copied} objects were copied");
    process.runtime.stop.cancel();
    worker.await.unwrap();
    world.plan.clear();
    world.send("job-2").await.unwrap();
    assert_eq!(world.work_until_over("job-2").await.result, RunResult::Complete);
    world.assert_same("the next run");
}
