//! Mirrors: objects that only the destination has are deleted, and nothing else.

use std::time::Duration;

use crate::world::{DESTINATION, SOURCE, World, content, tiny_config, tiny_store};
use migration_core::config::MirrorSettings;
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::ports::{HeadRequest, ObjectStore};
use migration_core::records::MirrorCounts;
use migration_core::records::RunResult;
use migration_engine::scan::ScanError;
use migration_testkit::{BucketSettings, Call, ConditionalWrites, Fault, Operation, StoreSettings};

/// Objects on both sides, and some that only the destination has, all of them old.
async fn mirrored(max_deletes: u64) -> World {
    fill(World::tiny(), max_deletes).await
}

async fn fill(mut world: World, max_deletes: u64) -> World {
    world.config.mirror = Some(MirrorSettings { max_deletes });
    for key in ["a", "c", "e", "m"] {
        world.source.insert(SOURCE, key, content(10, 1));
        world.destination.insert(DESTINATION, key, content(10, 1));
    }
    for key in ["0", "b", "d", "z"] {
        world.destination.insert(DESTINATION, key, content(9, 2));
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    world
}

async fn run(world: &World, name: &str) -> (RunResult, MirrorCounts) {
    world.send(name).await.unwrap();
    let end = world.work_until_over(name).await;
    (end.result, world.run().await.unwrap().mirror.unwrap_or_default())
}

const ALL: [&str; 8] = ["0", "a", "b", "c", "d", "e", "m", "z"];
const KEPT: [&str; 4] = ["a", "c", "e", "m"];

#[tokio::test(start_paused = true)]
async fn what_only_the_destination_has_is_deleted() {
    let world = mirrored(4).await;
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(4, 0)));
    assert_eq!(world.destination.keys(DESTINATION), KEPT);
    // Then there is nothing left to do.
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(run(&world, "job-2").await, (RunResult::Complete, counts(0, 0)));
}

fn counts(deleted: u64, kept: u64) -> MirrorCounts {
    MirrorCounts { deleted, kept, ..MirrorCounts::default() }
}

#[tokio::test(start_paused = true)]
async fn without_a_mirror_nothing_is_deleted() {
    let mut world = mirrored(4).await;
    world.config.mirror = None;
    run(&world, "job-1").await;
    assert_eq!(world.destination.keys(DESTINATION), ALL);
    assert_eq!(world.plan.count(Operation::DeleteObject), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_where_more_is_extra_than_may_be() {
    let world = mirrored(3).await;
    let (result, counts) = run(&world, "job-1").await;
    assert_eq!((result, counts.refused, counts.deleted), (RunResult::PartiallyFailed, true, 0));
    assert_eq!(world.destination.keys(DESTINATION), ALL);
    let message = world.run().await.unwrap().end.unwrap().message.unwrap();
    assert!(message.contains("4 objects are extra"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_the_filters_hide_is_never_deleted() {
    let mut world = mirrored(9).await;
    // By the key that it would have at the source, and by size.
    world.config.ignore = vec!["from/b".into(), "from/m".into()];
    world.destination.insert(DESTINATION, "large", content(50, 1));
    world.config.filter.max_size = Some(40);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(3, 0)));
    assert_eq!(world.destination.keys(DESTINATION), ["a", "b", "c", "e", "large", "m"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_outside_the_pairs_destination_is_deleted() {
    let mut world = mirrored(9).await;
    world.config.buckets[0].destination_prefix = "p/".into();
    world.destination.insert(DESTINATION, "p/old", content(5, 1));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(1, 0)));
    let mut kept = [&ALL[..], &["p/a", "p/c", "p/e", "p/m"]].concat();
    kept.sort_unstable();
    assert_eq!(world.destination.keys(DESTINATION), kept);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_since_the_scan_began_stays() {
    let world = mirrored(9).await;
    world.destination.insert(DESTINATION, "young", content(5, 1));
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(4, 1)));
    assert_eq!(world.destination.keys(DESTINATION), ["a", "c", "e", "m", "young"]);
}

/// Acts as another writer before the first call for which `applies` returns true.
fn before(world: &World, applies: impl Fn(&Call) -> bool + Send + 'static, act: impl FnOnce() + Send + 'static) {
    let mut act = Some(act);
    let never = move |call: &Call| {
        if applies(call)
            && let Some(act) = act.take()
        {
            act();
        }
        false
    };
    world.plan.when(never, Fault::Crash, 1);
}

/// A jobsender killed before its deletions is followed by one with a longer ignore list.
#[tokio::test(start_paused = true)]
async fn what_a_longer_list_hides_by_now_stays() {
    let mut world = mirrored(9).await;
    world.plan.when(|call| call.operation == Operation::HeadObject, Fault::Crash, 1);
    tokio::select! {
        () = world.plan.crashed() => world.plan.restart(),
        sent = world.send("job-1") => panic!("{sent:?}"),
    }
    world.config.ignore = vec!["from/b".into()];
    world.send_until_closed("job-1").await;
    assert_eq!(world.destination.keys(DESTINATION), ["a", "b", "c", "e", "m"]);
}

/// Acts after the listings and before the deletions.
fn before_deletions(world: &World, act: impl FnOnce() + Send + 'static) {
    before(world, |call| call.operation == Operation::HeadObject && call.subject.starts_with(SOURCE), act);
}

#[tokio::test(start_paused = true)]
async fn what_the_source_has_by_now_stays() {
    let world = mirrored(9).await;
    let source = world.source.clone();
    before_deletions(&world, move || ALL.iter().for_each(|key| drop(source.insert(SOURCE, key, content(10, 1)))));
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(0, 4)));
    assert_eq!(world.destination.keys(DESTINATION), ALL);
}

#[tokio::test(start_paused = true)]
async fn what_the_source_has_again_after_a_pause_of_the_destination_stays() {
    let world = mirrored(9).await;
    let is_deletion = |call: &Call| call.operation == Operation::DeleteObject;
    world.plan.when(is_deletion, Fault::Fail(ErrorClass::Service(ServiceFault::CredentialsExpired)), u32::MAX);
    let pause = async {
        while world.plan.count(Operation::DeleteObject) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_hours(1)).await;
        world.source.insert(SOURCE, "b", content(9, 2));
        world.plan.clear();
    };
    let (sent, ()) = tokio::join!(world.send("job-1"), pause);
    sent.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.run().await.unwrap().mirror.unwrap_or_default(), counts(3, 1));
    assert_eq!(world.destination.keys(DESTINATION), ["a", "b", "c", "e", "m"]);
}

#[tokio::test(start_paused = true)]
async fn what_changed_at_the_destination_stays() {
    let world = mirrored(9).await;
    let destination = world.destination.clone();
    before_deletions(&world, move || drop(destination.insert(DESTINATION, "b", content(9, 3))));
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(3, 1)));
    assert_eq!(world.destination.keys(DESTINATION), ["a", "b", "c", "e", "m"]);
}

/// Between the check and the deletion, the condition of the request protects the object.
#[tokio::test(start_paused = true)]
async fn what_changes_at_the_last_moment_stays() {
    let world = mirrored(9).await;
    let destination = world.destination.clone();
    let is_deletion = |call: &Call| call.operation == Operation::DeleteObject && call.subject.ends_with("/b");
    before(&world, is_deletion, move || drop(destination.insert(DESTINATION, "b", content(9, 3))));
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(3, 1)));
    assert_eq!(world.destination.keys(DESTINATION), ["a", "b", "c", "e", "m"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_source_refuses_to_say_is_no_absence() {
    let world = mirrored(9).await;
    let is_look = |call: &Call| call.operation == Operation::HeadObject && call.subject == format!("{SOURCE}/b");
    world.plan.when(is_look, Fault::Fail(ErrorClass::AccessDenied), u32::MAX);
    assert_eq!(run(&world, "job-1").await, (RunResult::Complete, counts(3, 1)));
    assert_eq!(world.destination.keys(DESTINATION), ["a", "b", "c", "e", "m"]);
}

#[tokio::test(start_paused = true)]
async fn versions_stay_behind_a_delete_marker() {
    let world = World::tiny();
    world.destination.create_bucket_with(DESTINATION, BucketSettings::versioned());
    let world = fill(world, 9).await;
    let version = world.destination.object(DESTINATION, "b").unwrap().version_id.unwrap();
    assert_eq!(run(&world, "job-1").await.1, counts(4, 0));
    assert_eq!(world.destination.keys(DESTINATION), KEPT);
    let request = HeadRequest { version_id: Some(&version), ..HeadRequest::new(DESTINATION, "b") };
    assert_eq!(world.destination.head(request).await.unwrap().map(|head| head.size), Some(9));
}

#[tokio::test(start_paused = true)]
async fn a_service_without_conditions_of_deletions_is_looked_at_before() {
    for conditional_writes in [ConditionalWrites::Refused, ConditionalWrites::Ignored] {
        let settings = StoreSettings { conditional_writes, ..tiny_store() };
        let world = World::with(&settings, migration_testkit::MemoryLedger::with_page(3), tiny_config());
        let world = fill(world, 9).await;
        assert_eq!(run(&world, "job-1").await.1, counts(4, 0), "{conditional_writes:?}");
        assert_eq!(world.destination.keys(DESTINATION), KEPT);
    }
}

/// If a listing fails at any page, at either side, nothing is deleted.
#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_deletes_nothing() {
    for bucket in [SOURCE, DESTINATION] {
        for failing in 1.. {
            let world = mirrored(9).await;
            let mut seen = 0;
            let is_failing = move |call: &Call| {
                let here = call.operation == Operation::ListObjects && call.subject.starts_with(bucket);
                seen += u32::from(here);
                here && seen >= failing
            };
            world.plan.when(is_failing, Fault::Fail(ErrorClass::Refused), u32::MAX);
            let sent = world.send("job-1").await;
            if world.plan.injected() == 0 {
                assert!(sent.is_ok() && failing > 2, "{bucket} {failing}");
                break;
            }
            assert!(matches!(sent, Err(ScanError::Interruption(_))), "{bucket} {failing}: {sent:?}");
            assert_eq!(world.destination.keys(DESTINATION), ALL, "{bucket} {failing}");
            assert_eq!(world.plan.count(Operation::DeleteObject), 0, "{bucket} {failing}");
        }
    }
}

/// Killed before and after every call: the next jobsender continues, and everything is deleted and counted once.
#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_killed_at_any_call_goes_on() {
    let calls = {
        let world = mirrored(4).await;
        world.send("job-1").await.unwrap();
        world.plan.calls()
    };
    for death in 0..calls {
        for fault in [Fault::Crash, Fault::CrashAfter] {
            let world = mirrored(4).await;
            world.plan.at_call(world.plan.calls() + death, fault);
            world.send_until_closed("job-1").await;
            let end = world.work_until_over("job-1").await;
            let context = format!("{fault:?} at call {death} of {calls}");
            assert_eq!(end.result, RunResult::Complete, "{context}");
            assert_eq!(world.destination.keys(DESTINATION), KEPT, "{context}");
            assert_eq!(world.run().await.unwrap().mirror, Some(counts(4, 0)), "{context}");
        }
    }
}
