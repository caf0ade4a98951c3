//! Every IO call of a small scenario is broken once in every way; whatever breaks, the run ends, the destination is the
//! source, no upload of ours is left open, and nothing is counted twice.

mod world;

use migration_core::error::ErrorClass;
use migration_core::records::RunResult;
use migration_testkit::Fault;
use world::{SOURCE, World, content};

const OBJECTS: u64 = 4;

fn scenario() -> World {
    let world = World::new();
    world.source.insert(SOURCE, "a", content(1_000, 1));
    world.source.insert(SOURCE, "empty", content(0, 0));
    world.source.insert(SOURCE, "large", content((10 << 20) + 1, 2));
    world.source.insert(SOURCE, "z", content(70_000, 3));
    world
}

/// Runs the scenario with a fault at call `n`. Gives the number of calls.
async fn run_with(n: u64, fault: Fault) -> u64 {
    let world = scenario();
    world.plan.at_call(n, fault);
    let context = format!("{fault:?} at call {n}");
    world.send_until_closed("job-1").await;
    let end = world.work_until_over("job-1").await;
    let log = || world.plan.log().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(end.result, RunResult::Complete, "{context}:\n{}", log());
    world.assert_same(&context);
    let progress = world.progress().await;
    assert_eq!((progress.objects, progress.done, progress.failed), (OBJECTS, OBJECTS, 0), "{context}:\n{}", log());
    assert_eq!((progress.bytes, progress.open_batches), (progress.done_bytes, 0), "{context}");
    assert_eq!(world.plan.calls().min(n), n.min(world.plan.calls()), "{context}");
    world.plan.calls()
}

async fn sweep(fault: Fault) {
    let calls = run_with(u64::MAX, fault).await;
    let mut swept = 0;
    for n in 1..=calls {
        run_with(n, fault).await;
        swept += 1;
    }
    println!("{fault:?}: {swept} points");
    assert!(swept > 20, "the scenario makes {swept} calls only");
}

#[tokio::test(start_paused = true)]
async fn killed_before_any_call() {
    sweep(Fault::Crash).await;
}

#[tokio::test(start_paused = true)]
async fn killed_after_any_call() {
    sweep(Fault::CrashAfter).await;
}

#[tokio::test(start_paused = true)]
async fn any_call_fails() {
    sweep(Fault::Fail(ErrorClass::Transient)).await;
}

#[tokio::test(start_paused = true)]
async fn any_call_is_throttled() {
    sweep(Fault::Fail(ErrorClass::Throttled)).await;
}

#[tokio::test(start_paused = true)]
async fn any_answer_is_lost() {
    sweep(Fault::FailAfter(ErrorClass::Transient)).await;
}

#[tokio::test(start_paused = true)]
async fn any_body_is_cut_short() {
    sweep(Fault::Truncate(100)).await;
}
