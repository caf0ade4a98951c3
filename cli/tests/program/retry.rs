//! Objects that failed, and are copied again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use md5::{Digest, Md5};
use migration_core::object::Attributes;
use migration_core::ports::{ObjectStore, PutRequest, WriteCondition};
use serde_json::Value;

use crate::support::{FROM, TO, World};

/// Puts an object that can't be read before it is restored.
async fn archive(world: &World, key: &str) {
    let body = key.as_bytes().to_vec();
    let attributes = Attributes { storage_class: Some("GLACIER".into()), ..Attributes::default() };
    let put = PutRequest {
        bucket: FROM,
        key,
        md5: Md5::digest(&body).into(),
        body: body.into(),
        attributes: &attributes,
        tags: &Vec::new(),
        condition: &WriteCondition::Any,
    };
    world.source.put(put).await.unwrap();
}

/// A source of five small objects and three archived ones, whose run has ended. Returns the keys written from now on.
async fn after_a_run() -> (World, Arc<Mutex<Vec<String>>>) {
    let world = World::start(Duration::ZERO).await;
    for number in 0..5 {
        world.put(&format!("plain/{number}"), vec![number; 100]).await;
    }
    for key in ["old/a b,c", "old/ä", "older/x"] {
        archive(&world, key).await;
    }
    let written = Arc::new(Mutex::new(Vec::new()));
    let end = world.run(&["run", "job.yaml"]).await;
    assert_eq!(end.code, Some(3), "{end:?}");
    let writes = written.clone();
    world.destination.watch(move |_, key, _| writes.lock().unwrap().push(key.to_owned()));
    (world, written)
}

fn taken(written: &Mutex<Vec<String>>) -> Vec<String> {
    let mut keys = std::mem::take(&mut *written.lock().unwrap());
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_copied_again_and_nothing_else() {
    let (world, written) = after_a_run().await;
    let failures = world.run(&["failures", "--output", "csv"]).await;
    assert_eq!(failures.out.matches(",Archived,").count(), 3, "{}", failures.out);
    assert_eq!(world.destination.keys(TO).len(), 5);

    // Something that only a full run would copy.
    world.put("plain/new", b"new".to_vec()).await;
    world.source.restore(FROM, "old/a b,c");
    world.source.restore(FROM, "older/x");
    let end = world.run(&["retry", "job.yaml"]).await;
    assert_eq!(end.code, Some(3), "one is still archived: {end:?}");
    assert!(end.err.contains("retrying 3 objects that failed in run "), "{}", end.err);
    assert_eq!(taken(&written), ["old/a b,c", "older/x"]);
    let failures = world.run(&["failures", "--output", "csv"]).await;
    assert!(failures.out.lines().count() == 2 && failures.out.contains("old/ä"), "{}", failures.out);

    world.source.restore(FROM, "old/ä");
    let end = world.run(&["retry", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(taken(&written), ["old/ä"]);
    let end = world.run(&["retry", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(
        end.err.contains("job: nothing to retry: run ") && end.err.contains("has no failed objects"),
        "{}",
        end.err
    );
    assert_eq!(taken(&written), Vec::<String>::new());
    assert_eq!(world.run(&["runs", "--output", "csv"]).await.out.lines().count(), 4, "three runs");

    // A retry says nothing about other objects: the next run lists everything.
    let end = world.run(&["run", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(taken(&written), ["plain/new"]);
    world.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_failures_can_be_selected() {
    let (world, written) = after_a_run().await;
    for key in ["old/a b,c", "old/ä", "older/x"] {
        world.source.restore(FROM, key);
    }
    let none = world.run(&["retry", "job.yaml", "--class", "Refused"]).await;
    assert_eq!(none.code, Some(0), "{none:?}");
    assert!(none.err.contains("no failed objects that --key and --class select"), "{}", none.err);
    let wrong = world.run(&["retry", "job.yaml", "--key", "[z-a]"]).await;
    assert_eq!((wrong.code, wrong.err.contains("[z-a]")), (Some(2), true), "{wrong:?}");
    let first = world.run(&["runs", "--output", "json"]).await;
    let first: Value = serde_json::from_str(first.out.lines().next().unwrap()).unwrap();
    let key = format!("{FROM}/old/*");
    let end = world.run(&["retry", "job.yaml", "--class", "Archived", "--key", &key]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(taken(&written), ["old/a b,c", "old/ä"]);
    // The last run has no failures, but the first one has.
    let end = world.run(&["retry", "job.yaml", "--run", first["run"].as_str().unwrap()]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(taken(&written), ["older/x"]);
    world.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_was_killed_is_continued_by_a_retry_only() {
    let world = World::start(Duration::from_millis(20)).await;
    let keys: Vec<String> = (0..300).map(|number| format!("old/{number:03}")).collect();
    for key in &keys {
        archive(&world, key).await;
    }
    world.put("plain", b"plain".to_vec()).await;
    assert_eq!(world.run(&["run", "job.yaml"]).await.code, Some(3));
    for key in &keys {
        world.source.restore(FROM, key);
    }
    let key = format!("{FROM}/old/*");
    let mut retry = world.program(&["retry", "job.yaml", "--key", &key]);
    assert!(world.reaches(20, &mut retry).await);
    retry.kill().await.unwrap();
    let run = world.run(&["run", "job.yaml"]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.err.contains("is a retry that has not ended; s3migrate retry, with the same files"), "{}", run.err);
    let other = world.run(&["retry", "job.yaml", "--class", "Refused"]).await;
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.err.contains("s3migrate retry without --key"), "{}", other.err);
    let end = world.run(&["retry", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.err.contains("continuing run"), "{}", end.err);
    world.assert_whole();
    assert_eq!(world.run(&["run", "job.yaml"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_retry_before_a_run_and_during_one() {
    let world = World::start(Duration::from_millis(20)).await;
    for number in 0..300 {
        world.put(&format!("{number:03}"), vec![1; 10]).await;
    }
    let end = world.run(&["retry", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.err.contains("nothing to retry: the job has not run yet"), "{}", end.err);
    let mut run = world.program(&["run", "job.yaml"]);
    assert!(world.reaches(30, &mut run).await);
    run.kill().await.unwrap();
    let end = world.run(&["retry", "job.yaml"]).await;
    assert_eq!(end.code, Some(2), "{end:?}");
    assert!(end.err.contains("has not ended; s3migrate run, with the same files, continues it"), "{}", end.err);
    assert_eq!(world.run(&["run", "job.yaml"]).await.code, Some(0));
    world.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_job_that_mirrors_deletes_nothing_and_reports() {
    let (world, written) = after_a_run().await;
    world.destination.create_bucket("reports", migration_local::store::BucketSettings::default());
    let fields = "spec:\n  mirror: {deleteExtraneous: true, maxDeletes: 9}\n  report: {bucket: reports}\n  verify: \
                  {mode: Full}\n";
    world.write_manifest("job.yaml", &world.manifest(FROM, TO).replace("spec:\n", fields));
    world.source.remove_key(FROM, "plain/0");
    for key in ["old/a b,c", "old/ä", "older/x"] {
        world.source.restore(FROM, key);
    }
    let end = world.run(&["retry", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(world.destination.keys(TO).contains(&"plain/0".to_owned()));
    assert!(end.err.contains("report: s3://reports/"), "{}", end.err);
    assert!(end.err.contains("verified: "), "{}", end.err);
    assert!(world.destination.keys("reports").iter().any(|key| key.ends_with("manifest.json")));
    taken(&written);
}
