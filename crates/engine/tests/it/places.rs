//! A run reads and writes where it began, whatever configuration a worker or a jobsender has, and messages of another
//! job are left to that job.

use std::sync::Arc;
use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, TestProcess, World, content, known, valid};
use migration_core::config::{JobConfig, Versioning};
use migration_core::ports::{Clock, Condition, Item, Ledger, Write};
use migration_core::records::{self, RunEnd, RunRecord, RunResult};
use migration_engine::hash::Hashing;
use migration_engine::run::end::write_end;
use migration_engine::scan::ScanOutcome;
use migration_engine::worker::Worker;
use migration_engine::{Ports, Process, Runtime};
use migration_ledger::view;
use migration_testkit::{Fault, Faulty, Lying, MemoryStore, Operation};
use tokio::task::JoinHandle;

const OBJECTS: u8 = 40;

fn tree() -> World {
    let world = World::new();
    for n in 0..OBJECTS {
        world.source.insert(SOURCE, &format!("k{n:02}"), content(100 + usize::from(n), n));
    }
    world
}

/// Another service with a bucket of the same name.
fn elsewhere(world: &World) -> MemoryStore {
    let store = MemoryStore::new(world.clock.clone(), "writer");
    store.create_bucket(DESTINATION);
    store
}

/// The configuration after an edit of `spec.destination.endpoint`.
fn edited(world: &World) -> JobConfig {
    let mut config = world.config.clone();
    config.destination.service.endpoint = Some("http://elsewhere".into());
    config
}

/// Creates a process with another configuration, whose destination is another store.
fn process(world: &World, config: JobConfig, destination: &MemoryStore, name: &str) -> Arc<TestProcess> {
    let plan = &world.plan;
    let destination = destination.clone().knowing(known(&config));
    let ports = Ports::new(
        Faulty::new(Lying::new(world.source.clone(), &world.source_lies), plan),
        Faulty::new(Lying::new(destination, &world.destination_lies), plan),
        Faulty::new(world.queue.clone(), plan),
        Faulty::new(world.ledger.clone(), plan),
    );
    let process = Process::new(ports, valid(config), Runtime::new(name.to_owned(), Arc::new(world.clock.clone())));
    Arc::new(process.with_hashing(Hashing::inline()))
}

fn start(process: &Arc<TestProcess>) -> JoinHandle<()> {
    tokio::spawn(Worker::new(process.clone()).run())
}

async fn stop(process: &TestProcess, worker: JoinHandle<()>) {
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

/// Ends the run as the operator does when another run is requested instead.
async fn end_for_another(world: &World) {
    let (run, now) = (world.run().await.unwrap(), world.clock.now());
    let end = RunEnd { at: now, result: RunResult::Failed, message: None, cause: None };
    write_end(&world.ledger, JOB, &run, end, now).await.unwrap();
}

/// Regression: half of the objects went to each service, and the run ended Complete.
#[tokio::test(start_paused = true)]
async fn a_worker_with_another_destination_leaves_a_runs_batches_to_those_of_its_own() {
    let world = tree();
    let other = elsewhere(&world);
    world.send("job-1").await.unwrap();
    let process = process(&world, edited(&world), &other, "pod-elsewhere");
    let worker = start(&process);
    tokio::time::sleep(Duration::from_hours(3)).await;
    stop(&process, worker).await;
    assert_eq!(other.keys(DESTINATION), Vec::<String>::new(), "a run's objects went to another service");
    let stats = world.queue.stats();
    assert_eq!((stats.dead_letters, world.end_run().await), (0, None), "{stats:?}");
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("where the run began");
}

#[tokio::test(start_paused = true)]
async fn an_edit_in_the_middle_of_a_run_moves_none_of_its_objects_elsewhere() {
    let world = tree();
    let other = elsewhere(&world);
    world.send("job-1").await.unwrap();
    world.plan.when(|call| call.operation == Operation::PutObject, Fault::Delay(Duration::from_secs(1)), 1_000);
    let (first, worker) = world.start_worker();
    while world.plan.count(Operation::PutObject) < usize::from(OBJECTS) / 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    worker.abort();
    drop(first);
    world.plan.clear();
    let process = process(&world, edited(&world), &other, "pod-elsewhere");
    let worker = start(&process);
    tokio::time::sleep(Duration::from_hours(1)).await;
    stop(&process, worker).await;
    assert_eq!(other.keys(DESTINATION), Vec::<String>::new());
    assert_eq!(world.end_run().await, None, "the run is not over");
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("where the run began");
}

#[tokio::test(start_paused = true)]
async fn rotated_keys_another_way_and_new_settings_redirect_nothing() {
    let world = tree();
    world.send("job-1").await.unwrap();
    let mut config = world.config.clone();
    config.destination.path_style = false;
    config.destination.proxy = Some("http://proxy:3128".into());
    config.destination.requester_pays = true;
    config.transfer.max_attempts = 9;
    let process = process(&world, config, &world.destination, "pod-later");
    let worker = start(&process);
    assert_eq!(world.over().await.result, RunResult::Complete);
    stop(&process, worker).await;
    world.assert_same("by another way to the same place");
}

#[tokio::test(start_paused = true)]
async fn the_next_run_works_where_the_edit_says_and_what_the_last_one_left_is_removed() {
    let world = tree();
    let other = elsewhere(&world);
    world.send("job-1").await.unwrap();
    end_for_another(&world).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let process = process(&world, edited(&world), &other, "pod-elsewhere");
    let sent = world.send_as(process.clone(), "job-2").await.unwrap();
    assert!(matches!(sent, ScanOutcome::Sent { .. }), "{sent:?}");
    let worker = start(&process);
    assert_eq!(world.over().await.result, RunResult::Complete);
    while world.queue.stats().visible + world.queue.stats().in_flight > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stop(&process, worker).await;
    assert_eq!(other.keys(DESTINATION), world.source.keys(SOURCE), "all of it is at the new place");
    assert_eq!(world.destination.keys(DESTINATION), Vec::<String>::new(), "and nothing went to the old one any more");
    assert_eq!(world.queue.stats().dead_letters, 0);
}

/// Regression: an object with the version last copied counted as in place at any destination.
#[tokio::test(start_paused = true)]
async fn a_version_that_was_copied_to_one_place_is_not_at_another() {
    let mut world = World::versioned();
    world.config.versioning = Versioning { compare_version_id: true, ..Versioning::default() };
    for n in 0..5 {
        world.source.insert(SOURCE, &format!("k{n:02}"), content(100, n));
    }
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    let other = elsewhere(&world);
    for n in 0..5 {
        other.insert(DESTINATION, &format!("k{n:02}"), content(100, 77));
    }
    let process = process(&world, edited(&world), &other, "pod-elsewhere");
    world.send_as(process.clone(), "job-2").await.unwrap();
    let worker = start(&process);
    assert_eq!(world.over().await.result, RunResult::Complete);
    stop(&process, worker).await;
    for key in world.source.keys(SOURCE) {
        let (a, b) = (world.source.object(SOURCE, &key).unwrap(), other.object(DESTINATION, &key).unwrap());
        assert!(a.content == b.content, "{key} was taken as moved");
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_scan_is_gone_on_with_only_where_it_began() {
    let world = tree();
    let other = elsewhere(&world);
    let process_of_run = world.process();
    world.plan.at(Operation::SendMessages, 1, Fault::Crash);
    tokio::select! {
        () = world.plan.crashed() => {}
        sent = world.send_as(process_of_run, "job-1") => assert!(sent.is_err(), "{sent:?}"),
    }
    world.plan.restart();
    tokio::time::sleep(Duration::from_mins(2)).await;
    let run = world.run().await.unwrap();
    assert!(!run.scan.closed, "its sender was killed before the end");
    let process = process(&world, edited(&world), &other, "sender-elsewhere");
    let sent = world.send_as(process, "job-2").await.unwrap();
    assert_eq!(sent, ScanOutcome::OtherSides { run: run.run.clone() });
    assert_eq!(world.run().await.unwrap().revision, run.revision, "the run is as it was");
    world.send("job-3").await.unwrap();
    assert_eq!(world.work_until_over("job-3").await.result, RunResult::Complete);
    world.assert_same("where the run began");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_a_version_without_sides_is_worked_on_by_any_worker() {
    let world = tree();
    world.send("job-1").await.unwrap();
    let run = world.run().await.unwrap();
    let old = RunRecord { sides: None, revision: run.revision + 1, ..run.clone() };
    let item = Item::of(records::run_key(JOB, &run.run), &old);
    world.ledger.write(&[Write::Put { item, condition: Condition::Revision(run.revision) }]).await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("as before");
}

/// The configuration of another job with the same queue.
fn of_other_job(world: &World) -> JobConfig {
    let mut config = world.config.clone();
    config.job.uid = "uid-2".into();
    config
}

/// Regression: the messages of the other job went to the dead letters immediately.
#[tokio::test(start_paused = true)]
async fn messages_of_another_job_are_left_to_it() {
    let world = tree();
    world.send("job-1").await.unwrap();
    let process = process(&world, of_other_job(&world), &elsewhere(&world), "pod-of-other-job");
    let other = start(&process);
    let mut looks = 0;
    while world.queue.messages().iter().all(|message| message.receives < 4) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        looks += 1;
    }
    assert!(looks > 30, "a message was turned over every {looks} s / 3");
    assert_eq!(world.queue.stats().dead_letters, 0);
    // With both at work, the job's own workers get them.
    let end = world.work_until_over("job-1").await;
    stop(&process, other).await;
    assert_eq!((end.result, world.queue.stats().dead_letters), (RunResult::Complete, 0));
    world.assert_same("with another job's workers at the same queue");
    let run = world.run().await.unwrap();
    assert!(view::failures(&world.ledger, JOB, &run, 1).await.unwrap().records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_job_that_is_gone_become_dead_letters_after_hours() {
    let world = tree();
    world.send("job-1").await.unwrap();
    let process = process(&world, of_other_job(&world), &elsewhere(&world), "pod-of-other-job");
    let began = tokio::time::Instant::now();
    let other = start(&process);
    while world.queue.dead_letters().is_empty() {
        assert!(began.elapsed() < Duration::from_hours(24), "{:?}", world.queue.stats());
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    stop(&process, other).await;
    assert!(began.elapsed() > Duration::from_hours(2), "after {:?}", began.elapsed());
    let dead = world.queue.dead_letters();
    assert!(dead[0].reason.as_deref().unwrap().contains("it belongs to job uid-1"), "{dead:?}");
}
