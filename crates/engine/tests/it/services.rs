//! Services that lack an ability: each is detected, and the safe alternative is used.

use crate::world::{DESTINATION, JOB, SOURCE, World, content};
use migration_core::config::OnLoss;
use migration_core::error::ErrorClass;
use migration_core::outcome::{FailureClass, NotPreserved};
use migration_core::ports::{Ability, Attributes, Clock, Condition, Item, Ledger, ObjectLock, Support, Write};
use migration_core::records::{BucketRecord, MOST_PROBES, NO_STANDS_MS, RunResult, bucket_key};
use migration_ledger::view;
use migration_testkit::{
    BucketSettings, Checksums, ConditionalWrites, Fault, Header, Lie, Operation, Refusal, Scope, StoreSettings,
    StreamedBodies, Told,
};

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

fn support(world: &World, record: &BucketRecord, ability: Ability) -> Support {
    record.support(ability, world.clock.now())
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_everything_is_found_out_by_seven_requests_more() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    let found = arrives(&world, "everything").await;
    for ability in Ability::CONDITIONS.into_iter().chain([Ability::StreamedParts]) {
        assert_eq!(support(&world, &found, ability), Support::Yes, "{ability:?}");
    }
    assert_eq!(support(&world, &found, Ability::Checksums), Support::Unknown);
    let count = |operation| world.plan.count(operation);
    assert_eq!((count(Operation::PutObject), count(Operation::CompleteUpload)), (10 + 2, 3 + 2));
    assert_eq!((count(Operation::CreateUpload), count(Operation::AbortUpload)), (3 + 1, 1));
    assert_eq!(found.probes, 7);
}

#[tokio::test(start_paused = true)]
async fn workers_that_start_at_once_ask_once_for_all() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    for i in 0..100_u8 {
        world.source.insert(SOURCE, &format!("more/{i}"), content(100, i));
    }
    world.send("job-1").await.unwrap();
    let others: Vec<_> = (0..5).map(|_| world.start_worker()).collect();
    world.work_until_over("job-1").await;
    for (process, worker) in others {
        process.runtime.stop.cancel();
        worker.await.unwrap();
    }
    assert_eq!(found_out(&world).await.probes, 7);
    assert_eq!(world.plan.count(Operation::CreateUpload), 3 + 1);
}

#[tokio::test(start_paused = true)]
async fn without_conditional_writes_both_sides_are_looked_at_after_each_write() {
    for kind in [ConditionalWrites::Ignored, ConditionalWrites::Refused] {
        let settings = StoreSettings { conditional_writes: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings::default());
        let found = arrives(&world, &format!("{kind:?}")).await;
        for ability in Ability::CONDITIONS {
            assert_ne!(support(&world, &found, ability), Support::Yes, "{kind:?} {ability:?}");
        }
        assert_eq!(support(&world, &found, Ability::PutIfNoneMatch), Support::No, "{kind:?}");
        assert!(found.probes <= MOST_PROBES, "{kind:?}: {found:?}");
        // The upload that detected something is aborted once, even if its completion was done.
        assert_eq!(world.plan.count(Operation::AbortUpload), 1, "{kind:?}");
        let etags = world.destination.keys(DESTINATION).into_iter().filter(|key| key.starts_with("small"));
        for key in etags {
            let etag = world.destination.object(DESTINATION, &key).unwrap().etag;
            assert!(etag.md5().is_some(), "{kind:?}: {key} has the ETag of an upload");
        }
    }
}

const PUTS: &[Operation] = &[Operation::PutObject];
const COMPLETIONS: &[Operation] = &[Operation::CompleteUpload];

/// Takes one ability away by a lie, on a service with all others.
#[tokio::test(start_paused = true)]
async fn each_condition_of_each_request_is_found_out_by_itself() {
    for (ability, operations, header) in [
        (Ability::PutIfNoneMatch, PUTS, Header::IfNoneMatch),
        (Ability::PutIfMatch, PUTS, Header::IfMatch),
        (Ability::CompleteIfNoneMatch, COMPLETIONS, Header::IfNoneMatch),
        (Ability::CompleteIfMatch, COMPLETIONS, Header::IfMatch),
    ] {
        for lie in [Lie::ConditionIgnored(header), Lie::ConditionRefused(header)] {
            let world = tree(StoreSettings::default(), BucketSettings::default());
            world.destination_lies.tell(lie, Scope::always().on(operations));
            let found = arrives(&world, &format!("{lie:?} {operations:?}")).await;
            assert!(found.probes <= MOST_PROBES, "{found:?}");
            for other in Ability::CONDITIONS {
                let support = support(&world, &found, other);
                // A completion that was done leaves no upload for the next probe.
                let unasked = ability == Ability::CompleteIfNoneMatch && other == Ability::CompleteIfMatch;
                match (other == ability, unasked && lie == Lie::ConditionIgnored(header)) {
                    (true, _) => assert_eq!(support, Support::No, "{lie:?} {operations:?}: {other:?}"),
                    (false, true) => assert_ne!(support, Support::No, "{lie:?} {operations:?}: {other:?}"),
                    (false, false) => assert_eq!(support, Support::Yes, "{lie:?} {operations:?}: {other:?}"),
                }
            }
            assert_eq!(world.destination.open_uploads(DESTINATION), [], "{lie:?} {operations:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn empty_objects_find_out_what_puts_keep_and_cost_no_looks_after_that() {
    let world = World::with_destination(StoreSettings::default(), BucketSettings::default());
    (0..40).for_each(|number| drop(world.source.insert(SOURCE, &format!("empty/{number}"), content(0, 1))));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("empty objects");
    let found = found_out(&world).await;
    for ability in Ability::CONDITIONS {
        let expected = if Ability::PUTS.contains(&ability) { Support::Yes } else { Support::Unknown };
        assert_eq!(support(&world, &found, ability), expected, "{ability:?}");
    }
    let count = |operation| world.plan.count(operation);
    // The first probes twice, and its content is checked before it is written.
    assert_eq!((count(Operation::PutObject), count(Operation::CreateUpload)), (42, 0));
    assert!(count(Operation::HeadObject) <= 2, "{} looks", count(Operation::HeadObject));
}

#[tokio::test(start_paused = true)]
async fn a_part_that_finds_something_out_and_is_stored_damaged_never_becomes_visible() {
    let settings = StoreSettings { conditional_writes: ConditionalWrites::Ignored, ..StoreSettings::default() };
    let world = World::with_destination(settings, BucketSettings::default());
    world.source.insert(SOURCE, "small", content(300, 1));
    world.destination_lies.tell(Lie::Damaged(Told::Stored), Scope::always().on(&[Operation::PutPart]));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.plan.count(Operation::PutPart), 1);
    let source = world.source.content(SOURCE, "small").unwrap();
    assert!(world.destination.write_log(DESTINATION).iter().all(|entry| entry.content == source));
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_stored_damaged_after_a_probe_is_written_again() {
    let settings = StoreSettings { conditional_writes: ConditionalWrites::Ignored, ..StoreSettings::default() };
    let world = World::with_destination(settings, BucketSettings::default());
    world.source.insert(SOURCE, "small", content(300, 1));
    // The PUTs: the object, two probes that are performed, and the one that restores the object after a completion.
    let fourth = Scope::always().on(&[Operation::PutObject]).every(4);
    let damaged = world.destination_lies.tell(Lie::Damaged(Told::Stored), fourth);
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!((world.destination_lies.times(damaged), world.plan.count(Operation::PutObject)), (1, 5));
    world.assert_same("small");
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_adapter_knows_what_it_has_is_not_asked() {
    let mut world = tree(StoreSettings::default(), BucketSettings::default());
    world.config.destination.service.endpoint = None;
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await;
    let count = |operation| world.plan.count(operation);
    assert_eq!((count(Operation::PutObject), count(Operation::CompleteUpload)), (10, 3));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_version_found_out_is_found_out_anew() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    let old = serde_json::json!({"conditionalWrites": "No", "checksums": "No", "streamedParts": "No"});
    let serde_json::Value::Object(attributes) = old else { return };
    let item = Item { key: bucket_key(JOB, DESTINATION), attributes, expires_at: None };
    world.ledger.write(&[Write::Put { item, condition: Condition::Always }]).await.unwrap();
    let found = arrives(&world, "an old record").await;
    for ability in Ability::CONDITIONS.into_iter().chain([Ability::StreamedParts]) {
        assert_eq!(support(&world, &found, ability), Support::Yes, "{ability:?}");
    }
}

/// A proxy that fails for one request refuses it like a service without the ability: that is believed for a week.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_believed_after_the_same_bytes_went_through_and_for_seven_days() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    world
        .destination_lies
        .tell(Lie::Refuse(Refusal::NOT_IMPLEMENTED), Scope::always().on(&[Operation::PutPart]).first(1));
    let large = |key: &str| world.source.insert(SOURCE, key, content(11 << 20, 9));
    let found = arrives(&world, "refused once").await;
    let streamed = found.streamed_parts;
    assert_eq!((streamed.support, streamed.at > 0), (Support::No, true), "{found:?}");
    assert_eq!(found.service, "http://destination");
    tokio::time::sleep(std::time::Duration::from_millis(u64::try_from(NO_STANDS_MS).unwrap())).await;
    large("large/later");
    world.send("job-2").await.unwrap();
    world.work_until_over("job-2").await;
    assert_eq!(support(&world, &found_out(&world).await, Ability::StreamedParts), Support::Yes);
}

/// A service that was seen to accept streamed parts refuses one now: its object still arrives.
#[tokio::test(start_paused = true)]
async fn a_part_that_is_refused_by_a_service_that_took_others_is_held() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    arrives(&world, "before").await;
    world
        .destination_lies
        .tell(Lie::Refuse(Refusal::NOT_IMPLEMENTED), Scope::always().on(&[Operation::PutPart]).first(1));
    world.source.insert(SOURCE, "large/later", content(11 << 20, 9));
    world.send("job-2").await.unwrap();
    let end = world.work_until_over("job-2").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("after a refused part");
}

/// A request refused in every form is this object's failure, and says nothing about the service.
#[tokio::test(start_paused = true)]
async fn what_is_refused_however_it_is_sent_says_nothing_of_the_service() {
    let world = tree(StoreSettings::default(), BucketSettings::default());
    let scope = Scope::always().on(&[Operation::PutPart]).under("large/");
    world.destination_lies.tell(Lie::Refuse(Refusal::NOT_IMPLEMENTED), scope);
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!((end.result, world.progress().await.failed), (RunResult::PartiallyFailed, 3));
    let found = found_out(&world).await;
    for ability in [Ability::Checksums, Ability::StreamedParts] {
        assert_eq!(support(&world, &found, ability), Support::Unknown, "{ability:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_checksums_parts_are_proved_by_their_etags() {
    for kind in [Checksums::Ignored, Checksums::Refused] {
        let settings = StoreSettings { checksums: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings::default());
        let found = arrives(&world, &format!("{kind:?}")).await;
        let expected = if kind == Checksums::Refused { Support::No } else { Support::Unknown };
        assert_eq!(support(&world, &found, Ability::Checksums), expected, "{kind:?}");
        assert_eq!(support(&world, &found, Ability::StreamedParts), Support::Yes, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_streamed_bodies_parts_are_held() {
    for kind in [StreamedBodies::Refused, StreamedBodies::Mangled] {
        let settings = StoreSettings { streamed_bodies: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings::default());
        let found = arrives(&world, &format!("{kind:?}")).await;
        assert_eq!(support(&world, &found, Ability::StreamedParts), Support::No, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_encryption_hides_the_md5_checksums_prove_the_parts() {
    let world = tree(StoreSettings::default(), BucketSettings { opaque_etags: true, ..BucketSettings::default() });
    let found = arrives(&world, "opaque").await;
    assert_eq!(support(&world, &found, Ability::StreamedParts), Support::Yes);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_proves_a_part_it_is_held_and_sent_with_its_md5() {
    for kind in [Checksums::Ignored, Checksums::Refused] {
        let settings = StoreSettings { checksums: kind, ..StoreSettings::default() };
        let world = tree(settings, BucketSettings { opaque_etags: true, ..BucketSettings::default() });
        let found = arrives(&world, &format!("opaque, {kind:?}")).await;
        assert_eq!(support(&world, &found, Ability::StreamedParts), Support::No, "{kind:?}");
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
    world.config.transfer.files_per_worker = 16.into();
    for i in 0..200_u8 {
        world.source.insert(SOURCE, &format!("small/{i:03}"), content(100, i));
    }
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!(end.result, RunResult::Complete);
    world.assert_same("throttled");
    let throttled = world.destination.throttled(DESTINATION);
    // 16 at once without a limiter would have some 400 throttled, each retried.
    assert!(throttled > 0 && throttled < 100, "{throttled} requests beside some 200 were throttled");
}

/// An object in one part and one in many, with all attributes that can be preserved.
fn laden(bucket: BucketSettings, keys: &[&str]) -> World {
    let mut world = World::with_destination(StoreSettings::default(), bucket);
    world.source.create_bucket_with(SOURCE, BucketSettings { object_lock: true, ..BucketSettings::default() });
    let attributes = Attributes {
        metadata: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into(),
        storage_class: Some("STANDARD_IA".into()),
        lock: ObjectLock { retention: None, legal_hold: true },
        ..Attributes::default()
    };
    let tags = vec![("t".to_owned(), "v".to_owned())];
    for key in keys {
        let len = if key.starts_with("large") { 11 << 20 } else { 10 };
        world.source.insert_with(SOURCE, key, content(len, 1), &attributes, &tags);
    }
    world.config.transfer.preserve.object_lock = true;
    world
}

#[tokio::test(start_paused = true)]
async fn what_a_destination_does_not_take_is_left_behind_and_counted() {
    let lost = NotPreserved::default();
    for (header, expected) in [
        ("x-amz-tagging", NotPreserved { lost_tags: 2, ..lost }),
        ("x-amz-storage-class", NotPreserved { lost_classes: 2, ..lost }),
        ("x-amz-meta", NotPreserved { lost_metadata: 2, ..lost }),
        ("x-amz-object-lock", NotPreserved { lost_locks: 2, ..lost }),
    ] {
        let unknown_headers = Vec::leak(vec![header]);
        let bucket = BucketSettings { object_lock: true, unknown_headers, ..BucketSettings::default() };
        let world = laden(bucket, &["small", "large"]);
        world.send("job-1").await.unwrap();
        let end = world.work_until_over("job-1").await;
        assert_eq!((end.result, world.losses().await), (RunResult::Complete, expected), "{header}");
        for key in ["small", "large"] {
            let (from, to) =
                (world.source.object(SOURCE, key).unwrap(), world.destination.object(DESTINATION, key).unwrap());
            assert!(from.content == to.content, "{header}: {key}");
            assert_eq!(to.tags.is_empty(), header == "x-amz-tagging", "{header}: {key}");
            assert_eq!(to.attributes.metadata.is_empty(), header == "x-amz-meta", "{header}: {key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_fails_where_the_job_wants_everything_taken_along() {
    let bucket = BucketSettings { object_lock: true, unknown_headers: &["x-amz-tagging"], ..BucketSettings::default() };
    let mut world = laden(bucket, &["small", "large"]);
    world.config.transfer.preserve.on_loss = OnLoss::Fail;
    world.source.insert(SOURCE, "bare", content(10, 2));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    assert_eq!(world.destination.keys(DESTINATION), ["bare"]);
    assert_eq!(world.destination.open_uploads(DESTINATION), []);
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 10).await.unwrap().records;
    assert_eq!(failures.len(), 2);
    for failure in failures {
        assert_eq!((failure.class, failure.attempts), (FailureClass::NotPreserved, 1), "{}", failure.message);
        assert!(failure.message.contains("tags") && failure.message.contains("x-amz-tagging"), "{}", failure.message);
    }
}

#[tokio::test(start_paused = true)]
async fn objects_whose_tags_the_source_does_not_give_are_moved_without() {
    let keys: Vec<String> = (0..20).map(|number| format!("small/{number:02}")).chain(["large".to_owned()]).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for on_loss in [OnLoss::Count, OnLoss::Fail] {
        let bucket = BucketSettings { object_lock: true, ..BucketSettings::default() };
        let mut world = laden(bucket, &keys);
        world.config.transfer.preserve.on_loss = on_loss;
        let denied = Fault::Fail(ErrorClass::AccessDenied);
        world.plan.when(|call| call.operation == Operation::GetTags, denied, u32::MAX);
        world.send("job-1").await.unwrap();
        let end = world.work_until_over("job-1").await;
        let progress = world.progress().await;
        if on_loss == OnLoss::Fail {
            assert_eq!((end.result, progress.done, progress.failed), (RunResult::PartiallyFailed, 0, 21));
        } else {
            assert_eq!((end.result, progress.done, progress.failed), (RunResult::Complete, 21, 0));
            assert_eq!(world.losses().await, NotPreserved { lost_tags: 21, ..NotPreserved::default() });
        }
    }
}
