//! How many objects a worker moves at the same time.

use std::time::Duration;

use migration_core::concurrency::FilesPerWorker;
use migration_core::part::PartSize;
use migration_core::size::ByteSize;
use migration_testkit::{ETagStyle, Lie, MemoryStore, Scope, StoreSettings};
use tokio::time::Instant;

use crate::world::{DESTINATION, SOURCE, World, content};

/// Creates a world whose destination answers after 100 ms.
fn far_world() -> World {
    let mut world = World::new();
    let settings = StoreSettings { latency: Duration::from_millis(100), ..StoreSettings::default() };
    world.destination = MemoryStore::with_settings(world.clock.clone(), "writer", settings);
    world.destination.create_bucket(DESTINATION);
    world.config.transfer.memory_limit = ByteSize::mib(256);
    world
}

/// Moves objects of this size with one worker. Returns the time that it took, and the most requests that were in flight
/// at the destination.
async fn move_all(world: &World, objects: usize, bytes: usize) -> (Duration, usize) {
    for (number, seed) in (0..objects).zip((0..=255).cycle()) {
        world.source.insert(SOURCE, &format!("{number:06}"), content(bytes, seed));
    }
    world.send("job-1").await.unwrap();
    let began = Instant::now();
    let (process, worker) = world.start_worker();
    while world.destination.keys(DESTINATION).len() < objects {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let time = began.elapsed();
    process.runtime.stop.cancel();
    worker.await.unwrap();
    world.assert_same("after the run");
    (time, world.destination.most_in_flight(DESTINATION))
}

#[tokio::test(start_paused = true)]
async fn small_objects_over_a_long_link_are_moved_by_as_many_at_once_as_it_takes() {
    let mut world = far_world();
    world.config.transfer.files_per_worker = 16.into();
    let (before, at_once) = move_all(&world, 2_000, 10).await;
    assert!(at_once == 16 && before >= Duration::from_secs(12), "{at_once} at once took {before:?}");

    let mut world = far_world();
    world.config.transfer.files_per_worker = FilesPerWorker::Auto;
    let (time, at_once) = move_all(&world, 2_000, 10).await;
    assert!((128..=256).contains(&at_once) && time * 5 < before, "{at_once} at once took {time:?}");

    let mut world = far_world();
    world.config.transfer.files_per_worker = 40.into();
    let (time, at_once) = move_all(&world, 2_000, 10).await;
    assert!(at_once == 40 && time * 2 < before, "{at_once} at once took {time:?}");
}

#[tokio::test(start_paused = true)]
async fn it_does_not_grow_when_half_of_the_memory_is_used() {
    let mut world = far_world();
    world.config.transfer.files_per_worker = FilesPerWorker::Auto;
    world.config.transfer.multipart_threshold = ByteSize(64 << 10);
    world.config.transfer.part_size = PartSize::Fixed(ByteSize(64 << 10));
    // Room for 51 objects.
    world.config.transfer.memory_limit = ByteSize::mib(2);
    let (_, at_once) = move_all(&world, 500, 40 << 10).await;
    assert_eq!(at_once, 32);
}

/// They create no upload by which the conditions of completions could be probed, so none may wait for that.
#[tokio::test(start_paused = true)]
async fn objects_whose_source_gives_no_etags_do_not_wait_for_each_other() {
    let mut world = far_world();
    world.config.transfer.files_per_worker = 16.into();
    world.config.destination.service.endpoint = Some("http://destination".into());
    world.source_lies.tell(Lie::ETags(ETagStyle::Missing), Scope::always());
    let (time, at_once) = move_all(&world, 200, 10).await;
    assert!(at_once == 16 && time < Duration::from_secs(10), "{at_once} at once took {time:?}");
}
