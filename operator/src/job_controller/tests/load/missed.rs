//! The whole operator over time, where the next run begins before the status shows the end of the one before.

use migration_core::outcome::FailureClass;
use migration_core::ports::{Item, Write};
use migration_core::records::FailureRecord;

use super::*;

const UID: &str = "u-0";

/// A world with one job, whose notifications wait since their receiver may not be sent to, and its live run `r1`.
async fn live() -> World {
    let notify = json!({"webhook": {
        "url": "https://127.0.0.1/", "signingKey": {"secretKeyRef": {"name": "none", "key": "key"}},
    }});
    let mut world =
        World::start(1, |job| job.spec.notify = Some(serde_json::from_value(notify.clone()).unwrap())).await;
    world.record(|record| {
        record.scan.closed = true;
        record.scan.counts.batches = 1;
    });
    world.aws.set_depth(&names::queue_and_table("job-0", UID), 9);
    world.pass(MINUTE, |_| ()).await;
    assert_eq!(status(&world)["currentRun"], "r1", "{:#}", status(&world));
    world
}

fn status(world: &World) -> Value {
    world.server.get("/migrationjobs/job-0").unwrap()["status"].clone()
}

/// Records that runs ended in which two objects failed each, and that another run took their place.
fn replace(world: &World, ended: &[&str], next: &str) {
    let ledger = world.aws.table(&names::queue_and_table("job-0", UID));
    let insert = |id: &str, end: Option<RunEnd>| {
        let mut record = RunRecord { run: id.to_owned(), ..run(true, None) };
        (record.started, record.lease_until, record.end) = (world.now, world.now + HOUR, end);
        (record.scan.counts.batches, record.pairs) = (1, vec![bucket_pair("photos")]);
        ledger.insert(Item::of(records::run_key(UID, id), &record));
    };
    for id in ended {
        insert(id, Some(RunEnd { at: world.now, result: RunResult::PartiallyFailed, message: None, cause: None }));
        let counts = EndCounts { done: 7, done_bytes: 70, failed: 2, ..EndCounts::default() };
        let counters = Counters { batches: 1, counts, ..Counters::default() };
        ledger.insert(Item::of(records::counter_key(UID, id, "w", 1), &counters));
        let failure = FailureRecord {
            pair: 0,
            key: format!("of-{id}"),
            size: 1,
            class: FailureClass::Refused,
            message: "no".into(),
            batch: None,
            attempts: 1,
            request_ids: vec![],
            at: 0,
        };
        let Write::Put { item, .. } = records::failure_write(UID, id, &failure) else { panic!("a failure is put") };
        ledger.insert(item);
    }
    insert(next, None);
    ledger.insert(Item::of(records::current_key(UID), &json!({"run": next, "revision": 2})));
}

fn texts<'a>(list: &'a Value, path: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|one| one.pointer(path).unwrap().as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_end_of_a_run_is_kept_and_announced_though_the_next_one_has_begun() {
    for (ended, is_restarted) in [(&["r1"][..], false), (&["r1"], true), (&["r1", "r2", "r3"], true)] {
        let mut world = live().await;
        replace(&world, ended, "r4");
        if is_restarted {
            world.controller = JobController::new(world.server.context());
        }
        let shown = std::cell::Cell::new(0);
        world
            .pass(MINUTE, |world| {
                let status = status(world);
                let is_next_shown = status["currentRun"] == "r4";
                assert!(!is_next_shown || status["lastRun"]["id"] == *ended.last().unwrap(), "{status:#}");
                shown.set(shown.get() + u32::from(is_next_shown));
            })
            .await;
        let newest_first: Vec<_> = ended.iter().rev().copied().collect();
        let found = status(&world);
        assert!(shown.get() > 0, "{found:#}");
        assert_eq!(texts(&found["runs"], "/id"), newest_first);
        for (field, expected) in [("result", json!("PartiallyFailed")), ("objects", json!(7)), ("failed", json!(2))] {
            assert_eq!(found["runs"][0][field], expected, "{field}");
        }
        let pending = &found["notifications"]["pending"];
        assert_eq!(texts(pending, "/run/id"), ended, "each is announced once");
        assert!(texts(pending, "/event").iter().all(|event| *event == "PartiallyFailed"), "{pending:#}");
        // Those of the others are counted with it: Kubernetes' events of one reason are one series.
        let events = world.server.events();
        let told: Vec<_> = events.iter().filter(|(reason, _)| reason == "ObjectsFailed").collect();
        assert!(
            matches!(told[..], [(_, note)] if note.contains("run r1") && note.ends_with("(photos/of-r1)")),
            "{told:?}"
        );
    }
}
