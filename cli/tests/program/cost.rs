//! The cost of a run, and its budget.

use std::sync::Arc;
use std::time::Duration;

use migration_aws::SystemClock;
use migration_ledger::{view, write};
use migration_local::ledger::LocalLedger;
use migration_local::state::State;

use crate::support::{FROM, TO, World};

/// Each object that is written costs 1; nothing else costs anything.
const PRICES: &str = "{currency: CHF, source: {writesPerThousand: 0, readsPerThousand: 0, outPerGigabyte: 0}, \
                      destination: {writesPerThousand: 1000, readsPerThousand: 0, outPerGigabyte: 0}}";

fn manifest(world: &World, limit: &str) -> String {
    let spec = format!("spec:\n  prices: {PRICES}\n  limits: {limit}\n  transfer: {{filesPerWorker: 2}}\n");
    world.manifest(FROM, TO).replace("spec:\n", &spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_pauses_at_its_budget_and_goes_on_when_it_is_raised() {
    // Two requests an object, one after the other, two objects at a time: about 20 s. Listings and tests of the
    // destination cost some of the budget, too, and what was sent is recorded every 5 s.
    let world = World::start(Duration::from_millis(650)).await;
    for number in 0..30 {
        world.put(&format!("small/{number:02}"), vec![number; 1_000]).await;
    }
    world.write_manifest("job.yaml", &manifest(&world, "{cost: '8.50'}"));
    let paused = world.run(&["run", "job.yaml"]).await;
    assert_eq!(paused.code, Some(1), "{paused:?}");
    assert!(paused.err.contains("CHF, and spec.limits.cost is 8.50; raise it"), "{}", paused.err);
    let copied = world.destination.keys(TO).len();
    assert!((3..30).contains(&copied), "{copied} objects were copied");
    // Without a higher limit nothing more is spent on objects.
    let again = world.run(&["run", "job.yaml"]).await;
    assert!(again.code == Some(1) && world.destination.keys(TO).len() <= copied + 2, "{again:?}");
    world.write_manifest("job.yaml", &manifest(&world, "{cost: 1000}"));
    let ended = world.run(&["run", "job.yaml"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    world.assert_whole();
    // All objects, and the pages of listings.
    let cost = ended.err.split("cost of the run: ").nth(1).and_then(|rest| rest.split(' ').next());
    let cost: f64 = cost.unwrap().parse().unwrap();
    assert!((30.0..50.0).contains(&cost), "{}", ended.err);
}

/// Regression: it was paused for its budget each time, though nothing was left that could cost anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_batches_have_all_ended_ends_even_if_it_has_cost_too_much() {
    let world = World::start(Duration::ZERO).await;
    world.put("small", vec![1; 1_000]).await;
    world.write_manifest("job.yaml", &manifest(&world, "{cost: 1000}"));
    let first = world.run(&["run", "job.yaml"]).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    // As a process leaves it that is killed before it writes the end.
    {
        let state = State::open(&world.path("state/default/job"), Arc::new(SystemClock)).unwrap();
        let ledger = LocalLedger::new(&state);
        let resource = std::fs::read_to_string(world.path("state/default/job/job.json")).unwrap();
        let resource: serde_json::Value = serde_json::from_str(&resource).unwrap();
        let uid = resource["metadata"]["uid"].as_str().unwrap();
        let mut run = view::last_run(&ledger, uid).await.unwrap().unwrap();
        (run.end, run.revision) = (None, run.revision + 1);
        write::run(&ledger, uid, &run, 0).await.unwrap();
    }
    world.write_manifest("job.yaml", &manifest(&world, "{cost: '0.50'}"));
    let again = world.run(&["run", "job.yaml"]).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.err.contains("cost of the run"), "{}", again.err);
    world.assert_whole();
}
