//! Limits of requests and bytes, and schedules.

use std::time::Duration;

use tokio::process::Command;
use tokio::time::Instant;

use crate::support::{FROM, TO, World, ended};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_its_limits_and_is_whole() {
    let world = World::start(Duration::ZERO).await;
    for number in 0..20 {
        world.put(&format!("small/{number}"), vec![number; 1_000]).await;
    }
    world.put("large", (0..24_u32 << 20).map(|n| (n / 7).to_le_bytes()[0]).collect()).await;
    let begun = Instant::now();
    let end = world.run(&["run", "job.yaml", "--bandwidth-limit", "8M", "--request-limit", "40"]).await;
    let elapsed = begun.elapsed();
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.err.contains("limited to 8.0 MiB/s, 40 requests/s to each side"), "{}", end.err);
    world.assert_whole();
    // 24 MiB at 8 MiB/s. Without the limit it takes a fraction of a second.
    assert!(elapsed > Duration::from_millis(2_800), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_sets_limits_too() {
    let world = World::start(Duration::ZERO).await;
    world.put("large", (0..12_u32 << 20).map(|n| (n / 7).to_le_bytes()[0]).collect()).await;
    let with = |limits: &str| world.manifest(FROM, TO).replace("spec:\n", &format!("spec:\n  transfer: {limits}\n"));
    world.write_manifest("wrong.yaml", &with("{requestLimit: 1.5M}"));
    let end = world.run(&["run", "wrong.yaml"]).await;
    assert!(end.code == Some(2) && end.err.contains("not a request limit: write requests per second"), "{end:?}");
    world.write_manifest("job.yaml", &with("{bandwidthLimit: 4M, requestLimit: 40}"));
    let begun = Instant::now();
    let end = world.run(&["run", "job.yaml", "--request-limit", "off"]).await;
    let elapsed = begun.elapsed();
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.err.contains("limited to 4.0 MiB/s\n"), "{}", end.err);
    world.assert_whole();
    // 12 MiB at 4 MiB/s.
    assert!(elapsed > Duration::from_millis(2_800), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_limit_is_a_usage_error() {
    let world = World::start(Duration::ZERO).await;
    for (arguments, expected) in [
        (&["run", "job.yaml", "--bandwidth-limit", "10M:1M"][..], "write one number"),
        (&["copy", "s3://a", "s3://b", "--bandwidth-limit", "8:00,1M"], "write HH:MM from 00:00 to 23:59"),
        (&["retry", "job.yaml", "--request-limit", "x"], "write a whole number of requests per second"),
    ] {
        let end = world.run(arguments).await;
        assert_eq!(end.code, Some(2), "{arguments:?}: {end:?}");
        assert!(end.err.contains(expected), "{arguments:?}: {}", end.err);
    }
}

/// Returns the manifest with a trigger.
fn with_trigger(world: &World, trigger: &str) -> String {
    world.manifest(FROM, TO).replace("spec:\n", &format!("spec:\n  trigger: {trigger}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_waited_for_only_when_watched() {
    let world = World::start(Duration::ZERO).await;
    world.put("k", b"bytes".to_vec()).await;
    let without = world.run(&["run", "job.yaml", "--watch"]).await;
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.err.contains("failed to watch job: it has no schedule; set spec.trigger.schedule"), "{without:?}");
    for (trigger, expected) in [
        ("{schedule: '0 0 30 2 *'}", "it is never due"),
        ("{schedule: '61 * * * *'}", "minute 61 is not from 0 to 59"),
        ("{schedule: '@daily', timeZone: Europe/Atlantis}", "failed to find time zone"),
    ] {
        world.write_manifest("wrong.yaml", &with_trigger(&world, trigger));
        let end = world.run(&["run", "wrong.yaml", "--watch"]).await;
        assert_eq!(end.code, Some(2), "{trigger}: {end:?}");
        assert!(end.err.contains(expected), "{trigger}: {}", end.err);
    }
    // Long before it is due.
    world.write_manifest("job.yaml", &with_trigger(&world, "{schedule: '0 0 1 1 *', timeZone: UTC}"));
    let once = world.run(&["run", "job.yaml"]).await;
    assert_eq!(once.code, Some(0), "{once:?}");
    assert!(once.err.contains("job runs once: its schedule, 0 0 1 1 *, is not waited for; --watch"), "{}", once.err);
    world.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_continues_what_was_interrupted_and_ends_with_a_signal() {
    let world = World::start(Duration::from_millis(20)).await;
    for number in 0..200 {
        world.put(&format!("{number:03}"), vec![1; 10]).await;
    }
    world.write_manifest("job.yaml", &with_trigger(&world, "{schedule: '0 0 1 1 *', timeZone: UTC}"));
    let mut run = world.program(&["run", "job.yaml"]);
    assert!(world.reaches(30, &mut run).await);
    run.kill().await.unwrap();
    let mut watch = world.program(&["run", "job.yaml", "--watch"]);
    assert!(world.reaches(200, &mut watch).await);
    // It has ended its run once the state says so.
    let begun = Instant::now();
    while !world.run(&["runs", "--output", "csv"]).await.out.contains(",Complete,") {
        assert!(begun.elapsed() < Duration::from_mins(1), "the run never ended");
    }
    assert_eq!(watch.try_wait().unwrap(), None, "it waits for the next time");
    let id = watch.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let end = ended(watch).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    assert!(end.err.contains("continuing run"), "{}", end.err);
    assert!(end.err.contains("job: the next run is due at ") && end.err.contains("-01-01 00:00 +00:00"), "{}", end.err);
    world.assert_whole();
}
