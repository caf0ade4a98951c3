//! The whole operator over time, with a run that costs more and more.

use migration_core::ports::Write;
use migration_core::records::{Spending, SpendingRecord};

use super::*;

/// Has a worker record that it sent so many million GET requests, which cost 0.40 USD each.
fn spend(world: &World, millions: i64) {
    let source_reads = u64::try_from(millions * 1_000_000).unwrap();
    let spent = Spending { source_reads, ..Spending::default() };
    let record = SpendingRecord { name: "w".to_owned(), at: world.now, spent };
    let Write::Put { item, .. } = record.write("u-0", "r1", "1") else { panic!("{record:?} is not put") };
    world.aws.table(&names::queue_and_table("job-0", "u-0")).insert(item);
}

/// Has it send a million a minute.
fn spend_on(world: &World) {
    spend(world, (world.now - NOW) / MINUTE);
}

fn status(world: &World) -> Value {
    world.server.get("/migrationjobs/job-0").unwrap()["status"].clone()
}

fn workers(world: &World) -> i64 {
    world.server.get("/deployments/job-0-worker").unwrap()["spec"]["replicas"].as_i64().unwrap()
}

fn reason(world: &World, kind: &str) -> String {
    let status = status(world);
    let found = status["conditions"].as_array().unwrap().iter().find(|found| found["type"] == kind).unwrap();
    format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

/// Raises the limit by an edit.
async fn raise(world: &mut World, limit: &str, generation: i64) {
    let mut job = world.server.get("/migrationjobs/job-0").unwrap();
    (job["spec"]["limits"]["cost"], job["metadata"]["generation"]) = (json!(limit), json!(generation));
    world.server.put(&job);
    world.watches.catch_up(&world.server);
    world.reconcile("job-0").await;
}

/// A world with a live run of one job, whose budget is reached after ten minutes.
async fn limited() -> World {
    limited_with(|_| ()).await
}

async fn limited_with(change: impl Fn(&mut migration_api::MigrationJob)) -> World {
    let limited = |job: &mut migration_api::MigrationJob| {
        job.spec.limits.cost = Some("4".parse().unwrap());
        change(job);
    };
    let mut world = World::start(1, limited).await;
    world.record(|record| {
        record.scan.closed = true;
        record.scan.counts.batches = 9;
    });
    world.aws.set_depth(&names::queue_and_table("job-0", "u-0"), 9);
    world.pass(9 * MINUTE, spend_on).await;
    world
}

#[tokio::test]
async fn a_run_is_paused_at_its_budget_and_goes_on_within_a_look_when_it_is_raised() {
    let mut world = limited().await;
    assert!(workers(&world) > 0, "{:#}", status(&world));
    assert_eq!(
        (&status(&world)["phase"], reason(&world, "Suspended").as_str()),
        (&json!("Transferring"), "False NotSuspended")
    );
    assert!(["3.20", "3.60"].map(|total| json!(total)).contains(&status(&world)["cost"]["total"]));
    world.pass(MINUTE + 20_000, spend_on).await;
    assert_eq!((workers(&world), &status(&world)["phase"]), (0, &json!("Suspended")), "{:#}", status(&world));
    for condition in ["Suspended", "Degraded", "Stalled"] {
        assert_eq!(reason(&world, condition), "True OverBudget", "{condition}");
    }
    // What was in flight is paid too. Then nothing changes, however long nobody comes.
    world.pass(15 * MINUTE, |world| spend(world, 11)).await;
    world.aws.take_calls();
    world.server.take_writes();
    world.pass(HOUR, |_| ()).await;
    assert_eq!((workers(&world), world.server.take_writes()), (0, vec![]));
    assert!(world.aws.take_calls().len() < 100, "a paused run is looked at every ten minutes");
    assert_eq!(status(&world)["cost"]["total"], "4.40");
    // Not enough, and enough.
    for (generation, limit, goes_on) in [(4, "4.4", false), (5, "4.41", true)] {
        raise(&mut world, limit, generation).await;
        assert_eq!((workers(&world) > 0, status(&world)["phase"] == "Transferring"), (goes_on, goes_on), "{limit}");
    }
    assert_eq!(reason(&world, "Degraded"), "False AsExpected");
}

#[tokio::test]
async fn the_schedule_sleeps_while_a_run_is_over_its_budget_and_no_time_of_it_is_missed() {
    // Due once an hour: the time comes while the run is paused.
    let mut world = limited_with(|job| job.spec.trigger.schedule = Some("0 * * * *".into())).await;
    let sleeps = |world: &World| {
        let schedule = world.server.get("/cronjobs/job-0-jobsender").unwrap();
        (schedule["spec"]["suspend"].as_bool().unwrap(), status(world)["nextScheduleTime"].is_null())
    };
    assert_eq!(sleeps(&world), (false, false));
    world.pass(2 * MINUTE, spend_on).await;
    assert_eq!(sleeps(&world), (true, true), "{:#}", status(&world));
    world.pass(90 * MINUTE, |_| ()).await;
    raise(&mut world, "9", 4).await;
    assert_eq!(sleeps(&world), (false, false), "{:#}", status(&world));
    world.pass(5 * MINUTE, |_| ()).await;
    let metrics = world.controller.context.metrics.text().unwrap();
    let missed = r#"s3migration_missed_schedules_total{job_namespace="media",job_name="job-0"} 0"#;
    assert!(metrics.lines().any(|line| line == missed), "{metrics}");
}

#[tokio::test]
async fn an_operator_that_restarts_while_the_ledger_is_silent_keeps_a_run_paused() {
    let mut world = limited().await;
    world.pass(2 * MINUTE, spend_on).await;
    assert_eq!(workers(&world), 0);
    world.controller = JobController::new(world.server.context());
    world.server.remove("/secrets/queue");
    world.reconcile("job-0").await;
    assert_eq!((workers(&world), reason(&world, "Suspended").as_str()), (0, "True OverBudget"));
}

#[tokio::test]
async fn the_cost_has_what_was_recorded_after_the_end_and_an_idle_job_still_sends_nothing() {
    let mut world = limited().await;
    world.aws.take_calls();
    world.pass(MINUTE / 2, spend_on).await;
    assert!(most_reads_in_a_minute(&world.aws.take_calls()) <= 12);
    let now = world.now;
    world.record(|record| {
        record.scan.closed = true;
        record.end = Some(RunEnd { at: now, result: RunResult::Complete, message: None, cause: None });
    });
    world.aws.set_depth(&names::queue_and_table("job-0", "u-0"), 0);
    world.pass(5_000, |_| ()).await;
    spend(&world, 13);
    world.pass(MINUTE, |_| ()).await;
    let found = status(&world);
    assert_eq!((&found["cost"]["total"], &found["runs"][0]["cost"]["total"]), (&json!("5.20"), &json!("5.20")));
    assert_eq!(reason(&world, "Suspended"), "False NotSuspended", "what has ended is not paused");
    world.settle().await;
    world.aws.take_calls();
    world.pass(2 * HOUR, |_| ()).await;
    assert_eq!(world.aws.take_calls(), []);
}
