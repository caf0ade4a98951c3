//! Services that lack something: each is found out, and the safe other way is taken.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod world;

use migration_core::ports::Ledger;
use migration_core::records::{BucketRecord, RunResult, Support, bucket_key};
use migration_testkit::{
    BucketSettings, Checksums, ConditionalWrites, Fault, Operation, StoreSettings, StreamedBodies,
};
use world::{DESTINATION, JOB, SOURCE, World, content};

fn tree(settings: StoreSettings, bucket: BucketSettings) -> World {
    let world = World::with_destination(settings, bucket);
    for i in 0..10_u8 {
        world.source.insert(SOURCE, &format!("small/{i}"), content(usize::from(i) * 100, i));
    }
    for i in 0..3_u8 {
        world.source.insert(SOURCE, &format!("large/{i}"), content((11 << 20) + usize::from(i), i));
    }
    world
}

async fn found_out(world: &World) -> BucketRecord {
    let item = world.ledger.get(&bucket_key(JOB, DESTINATION)).await.unwrap();
    item.map(|item| item.read().unwrap()).unwrap_or_default()
}

async fn arrives(world: &World, context: &str) -> BucketRecord {
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete, "{context}");
    world.assert_same(context);
    assert_eq!(world.progress().await.done, 13, "{context}");
    found_out(world).await
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_everything_is_found_out_by_one_request_more() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    let found = arrives(&world, "everything").await;
    let all =
        BucketRecord { conditional_writes: Support::Yes, checksums: Support::Unknown, streamed_parts: Support::Yes };
    assert_eq!(found, all);
    let puts = world.plan.count(Operation::PutObject) + world.plan.count(Operation::CompleteUpload);
    assert_eq!(puts, 13 + 1, "one write asked for what nothing has");
}

#[tokio::test(start_paused = true)]
async fn without_conditional_writes_both_sides_are_looked_at_after_each_write() {
    for kind in [ConditionalWrites::Ignored, ConditionalWrites::Refused] {
        let settings = StoreSettings { conditional_writes: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings::default());
        let found = arrives(&world, &format!("{kind:?}")).await;
        assert_eq!(found.conditional_writes, Support::No, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_checksums_parts_are_proved_by_their_etags() {
    for kind in [Checksums::Ignored, Checksums::Refused] {
        let settings = StoreSettings { checksums: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings::default());
        let found = arrives(&world, &format!("{kind:?}")).await;
        assert_eq!(
            found.checksums,
            if kind == Checksums::Refused { Support::No } else { Support::Unknown },
            "{kind:?}"
        );
        assert_eq!(found.streamed_parts, Support::Yes, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_streamed_bodies_parts_are_held() {
    for kind in [StreamedBodies::Refused, StreamedBodies::Mangled] {
        let settings = StoreSettings { streamed_bodies: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings::default());
        let found = arrives(&world, &format!("{kind:?}")).await;
        assert_eq!(found.streamed_parts, Support::No, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_encryption_hides_the_md5_checksums_prove_the_parts() {
    let world = tree(StoreSettings::default(), BucketSettings { opaque_etags: true, ..BucketSettings::default() });
    let found = arrives(&world, "opaque").await;
    assert_eq!(found.streamed_parts, Support::Yes);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_proves_a_part_it_is_held_and_sent_with_its_md5() {
    for kind in [Checksums::Ignored, Checksums::Refused] {
        let settings = StoreSettings { checksums: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings { opaque_etags: true, ..BucketSettings::default() });
        let found = arrives(&world, &format!("opaque, {kind:?}")).await;
        assert_eq!(found.streamed_parts, Support::No, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_damaged_on_the_way_is_sent_again() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    world.plan.at(Operation::PutPart, 4, Fault::Corrupt);
    world.plan.at(Operation::GetObject, 2, Fault::Corrupt);
    arrives(&world, "damaged").await;
    assert_eq!(world.plan.injected(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_storage_class_that_the_destination_does_not_have_is_counted() {
    use migration_core::ports::Attributes;
    let known: &'static [&'static str] = &["STANDARD_IA"];
    let bucket = BucketSettings { storage_classes: Some(known), ..BucketSettings::default() };
    let world = World::with_destination(StoreSettings::default(), bucket);
    for (key, class) in [("a", "STANDARD_IA"), ("b", "ONEZONE_IA")] {
        let attributes = Attributes { storage_class: Some(class.into()), ..Attributes::default() };
        world.source.insert_with(SOURCE, key, content(10, 1), &attributes, &vec![]);
        world.source.insert_with(SOURCE, &format!("{key}-large"), content(11 << 20, 1), &attributes, &vec![]);
    }
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    world.assert_same("classes");
    let class = |key| world.destination.object(DESTINATION, key).unwrap().attributes.storage_class;
    assert_eq!(class("a").as_deref(), Some("STANDARD_IA"));
    assert_eq!((class("b"), class("b-large")), (None, None));
    assert_eq!(world.losses().await.lost_classes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_throttles_gets_fewer_requests_at_once_and_everything_arrives() {
    let settings = StoreSettings {
        throttle_over: Some(3),
        latency: std::time::Duration::from_millis(50),
        ..StoreSettings::default()
    };
    let mut world = World::with_destination(settings, BucketSettings::default());
    world.config.transfer.files_per_worker = 16;
    for i in 0..200_u8 {
        world.source.insert(SOURCE, &format!("small/{i:03}"), content(100, i));
    }
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("throttled");
    let throttled = world.destination.throttled(DESTINATION);
    // 16 at once without a bound would have some 400 throttled, each tried again.
    assert!(throttled > 0 && throttled < 100, "{throttled} requests beside some 200 were throttled");
}
