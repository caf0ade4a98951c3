//! What the program prints for other programs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::support::{FROM, TO, World};

/// The documentation of the events.
const DOCUMENT: &str = include_str!("../../../docs/s3migrate.md");

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_an_object_that_the_documentation_has() {
    let world = World::start(Duration::ZERO).await;
    for number in 0..50 {
        world.put(&format!("key \u{1b}[2J {number}"), vec![1; 100]).await;
    }
    let verified = world.manifest(FROM, TO).replace("spec:\n", "spec:\n  verify: {mode: Full, method: Read}\n");
    world.write_manifest("job.yaml", &verified);
    let end = world.run(&["run", "job.yaml", "--json"]).await;
    assert_eq!((end.code, end.err.as_str()), (Some(0), ""));
    let events: Vec<Value> = end.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: BTreeSet<_> = events.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect();
    for name in ["notice", "runStarted", "runEnded", "verifying", "verified"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    for event in &events {
        for name in event.as_object().unwrap().keys().filter(|name| *name != "event") {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "{name} of {event} is not documented");
        }
        assert!(DOCUMENT.contains(&format!("`{}`", event["event"].as_str().unwrap())), "{event}");
    }
    let ended = events.iter().find(|event| event["event"] == "runEnded").unwrap();
    assert_eq!((&ended["result"], &ended["progress"]["done"]), (&Value::from("Complete"), &Value::from(50)));
    let whole = events.iter().find(|event| event["event"] == "verified").unwrap();
    assert_eq!(whole["whole"], true);
    world.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_and_verifications_write_nothing() {
    let world = World::start(Duration::ZERO).await;
    for number in 0..5 {
        world.put(&format!("{number}"), vec![1; 100]).await;
    }
    let plan = world.run(&["plan", "job.yaml", "--output", "json"]).await;
    let numbers: Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!((plan.code, &numbers["transfer"]["objects"]), (Some(0), &Value::from(5)));
    let verified = world.run(&["verify", "job.yaml"]).await;
    assert_eq!(verified.code, Some(4), "{verified:?}");
    assert!(verified.out.contains("5 missing"), "{}", verified.out);
    assert!(world.destination.keys(TO).is_empty());
    assert_eq!(world.run(&["run", "job.yaml", "--quiet"]).await.code, Some(0));
    let verified = world.run(&["verify", "job.yaml", "--method", "read"]).await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let report = world.run(&["report", "--output", "csv"]).await;
    assert!(report.out.contains("copied,5,500,"), "{}", report.out);
}
