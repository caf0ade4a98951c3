//! The predecessor's three switches for versions, in the combinations that it documents.

use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content, tiny_config, tiny_store};
use migration_core::config::Versioning;
use migration_core::records::RunResult;
use migration_ledger::view;
use migration_testkit::{BucketSettings, Fault, MemoryLedger, Operation, StoreSettings};

const INTEGRITY: Versioning =
    Versioning { compare_version_id: false, update_version_id: true, get_object_with_version_id: true };
const CONSISTENCY: Versioning = Versioning { compare_version_id: true, ..INTEGRITY };

fn tree(mut world: World, versioning: Versioning) -> World {
    world.config.versioning = versioning;
    for i in 0..5_u8 {
        world.source.insert(SOURCE, &format!("small/{i}"), content(usize::from(i) * 100, i));
    }
    world.source.insert(SOURCE, "large", content((11 << 20) + 3, 7));
    world
}

async fn run(world: &World, name: &str) -> u64 {
    world.send(name).await.unwrap();
    let end = world.work_until_over(name).await;
    assert_eq!(end.result, RunResult::Complete, "{name}");
    world.assert_same(name);
    world.progress().await.done
}

#[tokio::test(start_paused = true)]
async fn every_combination_moves_versioned_and_unversioned_buckets() {
    for compare_version_id in [false, true] {
        for update_version_id in [false, true] {
            for get_object_with_version_id in [false, true] {
                let versioning = Versioning { compare_version_id, update_version_id, get_object_with_version_id };
                for make in [World::new, World::versioned] {
                    let world = tree(make(), versioning);
                    assert_eq!(run(&world, "job-1").await, 6, "{versioning:?}");
                    assert_eq!(world.queue.dead_letters().len(), 0, "{versioning:?}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn consistency_copies_what_has_another_version_and_nothing_else() {
    let world = tree(World::versioned(), CONSISTENCY);
    run(&world, "job-1").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(run(&world, "job-2").await, 0, "nothing changed");
    // The same content again is another version.
    world.source.insert(SOURCE, "small/3", content(300, 3));
    world.source.insert(SOURCE, "large", content((11 << 20) + 3, 8));
    assert_eq!(run(&world, "job-3").await, 2);
    assert_eq!(run(&world, "job-4").await, 0);
}

#[tokio::test(start_paused = true)]
async fn consistency_survives_buckets_without_versions() {
    let world = tree(World::new(), CONSISTENCY);
    tokio::time::sleep(Duration::from_secs(10)).await;
    run(&world, "job-1").await;
    assert_eq!(run(&world, "job-2").await, 0);
    world.source.insert(SOURCE, "small/3", content(300, 9));
    assert_eq!(run(&world, "job-3").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_comes_during_the_copy_is_copied_too() {
    let world = tree(World::versioned(), INTEGRITY);
    world.send("job-1").await.unwrap();
    let (source, mut changed) = (world.source.clone(), false);
    world.plan.when(
        move |c| {
            if c.operation == Operation::PutObject && c.subject.contains("small/4") && !changed {
                changed = true;
                source.insert(SOURCE, "small/4", content(400, 99));
            }
            false
        },
        Fault::Crash,
        1,
    );
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("the version that came during the copy");
}

#[tokio::test(start_paused = true)]
async fn an_object_deleted_by_a_marker_is_gone() {
    let world = tree(World::versioned(), CONSISTENCY);
    world.send("job-1").await.unwrap();
    world.source.delete(SOURCE, "small/2");
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    assert!(!world.destination.keys(DESTINATION).contains(&"small/2".to_owned()));
    run(&world, "job-2").await;
}

#[tokio::test(start_paused = true)]
async fn consistency_holds_where_the_listing_is_cut_into_ranges() {
    let mut world = World::with(
        &StoreSettings { latency: Duration::from_millis(20), ..tiny_store() },
        MemoryLedger::with_page(3),
        tiny_config(),
    );
    world.config.versioning = CONSISTENCY;
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    world.destination.create_bucket_with(DESTINATION, BucketSettings::versioned());
    let put = |number: usize, seed| world.source.insert(SOURCE, &format!("k/{number:03}"), content(20, seed));
    // Old versions and delete markers take up places in pages, but are not keys.
    for number in 0..150 {
        put(number, 1);
        put(number, 2);
    }
    for number in (0..150).step_by(10) {
        world.source.delete(SOURCE, &format!("k/{number:03}"));
    }
    assert_eq!(run(&world, "job-1").await, 135);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(run(&world, "job-2").await, 0, "nothing changed");
    for number in (1..150).step_by(10) {
        put(number, 2);
    }
    assert_eq!(run(&world, "job-3").await, 15, "the same contents, and other versions");
    let last = world.run().await.unwrap();
    let ranges = view::ranges(&world.ledger, JOB, &last.run).await.unwrap();
    assert!(ranges.len() > 4, "{} ranges", ranges.len());
}
