//! Compare modes, and the filters on size, time and storage class.

use std::time::Duration;

use crate::world::{DESTINATION, SOURCE, World, content};
use migration_core::compare::CompareMode;
use migration_core::config::Encryption;
use migration_core::config::ObjectFilter;
use migration_core::error::ErrorClass;
use migration_core::message::{Batch, Message};
use migration_core::ports::{Attributes, Clock, Tags};
use migration_core::records::{RunResult, ScanCounts};
use migration_testkit::{Fault, Operation};

/// Scans, and returns the keys to transfer and the counts.
async fn scan(world: &World) -> (Vec<String>, ScanCounts) {
    world.send("job-1").await.unwrap();
    let batch = |body: &str| -> Option<Batch> {
        let Message::Batch(batch) = Message::parse(body).unwrap() else { return None };
        Some(batch)
    };
    let batches = world.queue.messages().into_iter().filter_map(|message| batch(&message.body));
    let mut keys: Vec<String> = batches.flat_map(|batch| batch.objects).map(|entry| entry.key).collect();
    keys.sort();
    (keys, world.run().await.unwrap().scan.counts)
}

/// A source whose objects have other contents of equal size at the destination, except for one.
fn changed(compare: CompareMode) -> World {
    let mut world = World::tiny();
    world.config.compare = compare;
    for key in ["a", "b"] {
        world.source.insert(SOURCE, key, content(50, 1));
        world.destination.insert(DESTINATION, key, content(50, if key == "a" { 1 } else { 2 }));
    }
    world.source.insert(SOURCE, "missing", content(50, 1));
    world
}

#[tokio::test(start_paused = true)]
async fn a_comparison_by_size_sees_no_other_difference() {
    let (keys, counts) = scan(&changed(CompareMode::Size)).await;
    assert_eq!(keys, ["missing"]);
    assert_eq!((counts.in_place, counts.in_place_by_size, counts.in_place_by_time), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_comparison_by_etag_sees_other_contents() {
    for mode in [CompareMode::ETag, CompareMode::Default, CompareMode::Checksum] {
        let (keys, counts) = scan(&changed(mode)).await;
        assert_eq!(keys, ["b", "missing"], "{mode:?}");
        assert_eq!((counts.in_place, counts.in_place_by_size), (1, 0), "{mode:?}");
    }
}

/// Large objects transferred by a run: the ETags of both sides are not comparable. One of the copies is then replaced
/// by another content of equal size, later than the source's.
async fn large(compare: CompareMode) -> World {
    let mut world = World::new();
    world.config.compare = compare;
    for (key, seed) in [("x", 1), ("y", 2)] {
        world.source.insert(SOURCE, key, content((11 << 20) + 3, seed));
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.send("job-0").await.unwrap();
    assert_eq!(world.work_until_over("job-0").await.result, RunResult::Complete);
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.destination.insert(DESTINATION, "y", content((11 << 20) + 3, 9));
    world
}

#[tokio::test(start_paused = true)]
async fn checksums_are_asked_for_where_etags_say_nothing() {
    let world = large(CompareMode::Checksum).await;
    let before = world.plan.count(Operation::HeadObject);
    let (keys, counts) = scan(&world).await;
    // The ETag of x, completed from parts, is not comparable; that of y is.
    assert_eq!(world.plan.count(Operation::HeadObject) - before, 2, "one at each side");
    assert_eq!(keys, ["y"]);
    assert_eq!((counts.in_place, counts.in_place_by_time), (1, 0), "by content");

    let (_, counts) = scan(&large(CompareMode::Default).await).await;
    assert_eq!((counts.in_place, counts.in_place_by_time), (1, 1), "by time");
    let (_, counts) = scan(&large(CompareMode::ETag).await).await;
    assert_eq!((counts.in_place, counts.in_place_by_size), (1, 1), "by size");
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_checksum_is_refused_is_compared_without_and_stops_nothing() {
    let world = large(CompareMode::Checksum).await;
    let refused = |c: &migration_testkit::Call| c.operation == Operation::HeadObject && c.subject.contains('x');
    world.plan.when(refused, Fault::Fail(ErrorClass::AccessDenied), 1_000);
    let (keys, counts) = scan(&world).await;
    assert_eq!((keys.as_slice(), counts.in_place, counts.in_place_by_time), (&["y".to_owned()][..], 1, 1));
}

#[tokio::test(start_paused = true)]
async fn etags_of_copies_under_a_key_of_kms_are_no_digests() {
    for (encryption, moved, by_time) in [
        (None, &["k"][..], 0),
        (Some(Encryption::S3), &["k"], 0),
        (Some(Encryption::Kms { kms_key_id: None }), &[], 1),
        (Some(Encryption::DualKms { kms_key_id: None }), &[], 1),
    ] {
        let mut world = World::tiny();
        world.config.write.encryption = encryption;
        world.source.insert(SOURCE, "k", content(50, 1));
        tokio::time::sleep(Duration::from_mins(1)).await;
        // There, too, the service's ETag has 32 hexadecimal digits.
        world.destination.insert(DESTINATION, "k", content(50, 2));
        let (keys, counts) = scan(&world).await;
        assert_eq!((keys, counts.in_place_by_time), (moved.iter().map(ToString::to_string).collect(), by_time));
    }
}

fn put(world: &World, key: &str, len: usize, class: Option<&str>) {
    let attributes = Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() };
    world.source.insert_with(SOURCE, key, content(len, 1), &attributes, &Tags::new());
}

/// Creates a filter from the time before which the first object was written.
type Make = fn(i64) -> ObjectFilter;

#[tokio::test(start_paused = true)]
async fn filters_hide_objects_by_size_time_and_class() {
    let build = || async {
        let world = World::tiny();
        put(&world, "early", 50, None);
        tokio::time::sleep(Duration::from_secs(100)).await;
        let noon = world.clock.now();
        put(&world, "empty", 0, None);
        put(&world, "infrequent", 50, Some("STANDARD_IA"));
        put(&world, "long", 60, None);
        (world, noon)
    };
    let all = ObjectFilter::default;
    let rows: [(Make, &[&str]); 5] = [
        (|_| ObjectFilter { min_size: Some(1), ..ObjectFilter::default() }, &["early", "infrequent", "long"]),
        (|_| ObjectFilter { max_size: Some(50), ..ObjectFilter::default() }, &["early", "empty", "infrequent"]),
        (
            |noon| ObjectFilter { modified_after: Some(noon - 50_000), ..ObjectFilter::default() },
            &["empty", "infrequent", "long"],
        ),
        (|noon| ObjectFilter { modified_before: Some(noon - 50_000), ..ObjectFilter::default() }, &["early"]),
        (|_| ObjectFilter { storage_classes: vec!["STANDARD_IA".into()], ..ObjectFilter::default() }, &["infrequent"]),
    ];
    for (make, expected) in rows {
        let (mut world, noon) = build().await;
        world.config.filter = make(noon);
        assert_ne!(world.config.filter, all());
        let (keys, counts) = scan(&world).await;
        assert_eq!(keys, expected, "{:?}", world.config.filter);
        assert_eq!(counts.ignored, 4 - expected.len() as u64, "{:?}", world.config.filter);
    }
}
