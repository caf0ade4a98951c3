//! Services whose answers differ in form from S3's, each as a row: every object arrives at its first try.

use crate::world::{DESTINATION, SOURCE, World, content};
use migration_core::config::OnLoss;
use migration_core::error::ErrorClass;
use migration_core::outcome::NotPreserved;
use migration_core::ports::{Attributes, Operation};
use migration_core::records::RunResult;
use migration_testkit::{
    BucketSettings, Call, Carried, Checksums, ETagStyle, Fault, Lie, Scope, StoreSettings, StreamedBodies, Told,
};

const SMALL: u8 = 5;
const LARGE: u8 = 2;

fn tree(settings: StoreSettings) -> World {
    let world = World::with_destination(settings, BucketSettings::default());
    for i in 0..SMALL {
        world.source.insert(SOURCE, &format!("small/{i}"), content(usize::from(i) * 100, i));
    }
    for i in 0..LARGE {
        world.source.insert(SOURCE, &format!("large/{i}"), content((11 << 20) + usize::from(i), i));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn etags_of_any_look_move_every_object_by_its_first_try() {
    use ETagStyle::{NoDigest, Quoted, UpperCase, Weak};
    for (at_source, at_destination) in [
        (Some(UpperCase), None),
        (None, Some(UpperCase)),
        (Some(UpperCase), Some(UpperCase)),
        (Some(Weak), None),
        (None, Some(Weak)),
        (Some(NoDigest), Some(NoDigest)),
        (Some(Quoted), Some(Quoted)),
    ] {
        for checksums in [Checksums::Kept, Checksums::Ignored] {
            let world = tree(StoreSettings { checksums, ..StoreSettings::default() });
            for (style, lies) in [(at_source, &world.source_lies), (at_destination, &world.destination_lies)] {
                if let Some(style) = style {
                    lies.tell(Lie::ETags(style), Scope::always());
                }
            }
            world.send("job-1").await.unwrap();
            let end = world.work_until_over("job-1").await;
            let context = format!("{at_source:?} {at_destination:?} {checksums:?}");
            assert_eq!((end.result, world.progress().await.done), (RunResult::Complete, 7), "{context}");
            world.assert_same(&context);
            let puts = world.plan.count(Operation::PutObject);
            // Two more probe conditions that do not hold, to detect which are honoured.
            assert!(puts <= usize::from(SMALL) + 2, "{context}: {puts} PUTs of {SMALL} objects");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_under_a_weak_etag_is_never_mixed_with_another() {
    for key in ["small/1", "large/0"] {
        let world = tree(StoreSettings::default());
        world.source_lies.tell(Lie::ETags(ETagStyle::Weak), Scope::always());
        let source = world.source.clone();
        let len = world.source.object(SOURCE, key).unwrap().content.len();
        // While it is read, after its first bytes.
        let during = move |call: &Call| call.operation == Operation::GetObject && call.subject.ends_with(key);
        world.plan.during_body(during, 1, move || {
            source.insert(SOURCE, key, content(len, 99));
        });
        world.send("job-1").await.unwrap();
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete, "{key}");
        world.assert_same(key);
    }
}

/// A large and a small object with all attributes, on a destination that silently drops something.
fn laden(dropped: Carried) -> World {
    let world = World::with_destination(StoreSettings::default(), BucketSettings::default());
    let attributes = Attributes {
        metadata: [("a".to_owned(), "1".to_owned())].into(),
        storage_class: Some("STANDARD_IA".into()),
        ..Attributes::default()
    };
    let tags = vec![("t".to_owned(), "v".to_owned())];
    world.source.insert_with(SOURCE, "large", content(11 << 20, 1), &attributes, &tags);
    world.destination_lies.tell(Lie::Dropped(dropped), Scope::always().on(&[Operation::CreateUpload]));
    world
}

#[tokio::test(start_paused = true)]
async fn what_a_destination_drops_without_a_word_is_given_again_or_counted() {
    let none = NotPreserved::default();
    for (dropped, on_loss, result, lost, put_tags) in [
        (Carried::Tags, OnLoss::Fail, RunResult::Complete, none, 1),
        (Carried::Metadata, OnLoss::Count, RunResult::Complete, NotPreserved { lost_metadata: 1, ..none }, 0),
        (Carried::Metadata, OnLoss::Fail, RunResult::PartiallyFailed, none, 0),
        (Carried::StorageClass, OnLoss::Count, RunResult::Complete, NotPreserved { lost_classes: 1, ..none }, 0),
    ] {
        let mut world = laden(dropped);
        world.config.transfer.preserve.on_loss = on_loss;
        world.send("job-1").await.unwrap();
        let end = world.work_until_over("job-1").await;
        let context = format!("{dropped:?} {on_loss:?}");
        assert_eq!((end.result, world.losses().await), (result, lost), "{context}");
        assert_eq!(world.plan.count(Operation::PutTags), put_tags, "{context}");
        let object = world.destination.object(DESTINATION, "large").unwrap();
        assert_eq!(object.tags, [("t".to_owned(), "v".to_owned())], "{context}");
        assert_eq!(object.content, content(11 << 20, 1), "{context}");
        assert_eq!(world.destination.open_uploads(DESTINATION), [], "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn tags_of_an_upload_that_another_worker_began_are_asked_for_though_head_tells_nothing_of_them() {
    let world = laden(Carried::Tags);
    let object = world.source.object(SOURCE, "large").unwrap();
    world.source.create_bucket_with(SOURCE, BucketSettings { quiet_of_tags: true, ..BucketSettings::default() });
    world.source.insert_with(SOURCE, "large", object.content, &object.attributes, &object.tags);
    world.plan.when(|call| call.operation == Operation::PutPart, Fault::CrashAfter, 1);
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.plan.count(Operation::CreateUpload), 1, "the upload was not carried on");
    world.assert_same("tags of a carried upload");
    assert_eq!(world.losses().await, NotPreserved::default());
}

#[tokio::test(start_paused = true)]
async fn tags_that_are_dropped_and_not_taken_afterwards_either_are_counted() {
    let world = laden(Carried::Tags);
    let denied = Fault::Fail(ErrorClass::AccessDenied);
    world.plan.when(|call| call.operation == Operation::PutTags, denied, u32::MAX);
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    assert_eq!(world.losses().await, NotPreserved { lost_tags: 1, ..NotPreserved::default() });
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_again_where_nothing_was_dropped() {
    let world = laden(Carried::Tags);
    world.destination_lies.clear();
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("nothing dropped");
    let counts = [Operation::PutTags, Operation::GetTags, Operation::CreateUpload].map(|op| world.plan.count(op));
    assert_eq!((counts, world.losses().await), ([0, 1, 1], NotPreserved::default()));
}

#[tokio::test(start_paused = true)]
async fn a_small_object_whose_etag_only_looks_like_a_digest_is_read_back() {
    let world = tree(StoreSettings::default());
    for i in 0..LARGE {
        world.source.remove(SOURCE, &format!("large/{i}"));
    }
    world.destination_lies.tell(Lie::ETags(ETagStyle::FalseDigest), Scope::always());
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("false digests");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_stored_damaged_twice_is_no_proof_that_etags_are_no_digests() {
    let (checksums, streamed_bodies) = (Checksums::Ignored, StreamedBodies::Refused);
    let settings = StoreSettings { checksums, streamed_bodies, ..StoreSettings::default() };
    let mut world = World::with_destination(settings, BucketSettings::default());
    world.config.transfer.parts_per_file = 1;
    world.source.insert(SOURCE, "large", content(11 << 20, 1));
    // The first request is streamed and refused, five have a wrong digest: the second and the eighth send the same part.
    let (lies, mut parts) = (world.destination_lies.clone(), 0);
    let damages = move |call: &Call| {
        parts += u32::from(call.operation == Operation::PutPart);
        if call.operation == Operation::PutPart && [2, 8].contains(&parts) {
            lies.tell(Lie::Damaged(Told::Stored), Scope::always().on(&[Operation::PutPart]).first(1));
        }
        false
    };
    world.plan.when(damages, Fault::Crash, 1);
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("large");
    assert_eq!(world.destination_lies.told(), 2);
    assert_eq!(world.plan.count(Operation::CreateUpload), 1, "the upload was given up");
}

#[tokio::test(start_paused = true)]
async fn a_completed_object_may_have_an_etag_of_its_services_own() {
    let world = tree(StoreSettings::default());
    let shown = &[Operation::CompleteUpload, Operation::HeadObject, Operation::GetObject, Operation::ListObjects];
    world.destination_lies.tell(Lie::ETags(ETagStyle::NoDigest), Scope::always().under("large/").on(shown));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("ETags of completed objects");
    // Small objects are completed too, to detect which conditions the service honours.
    let is_large = |call: &&Call| call.operation == Operation::CompleteUpload && call.subject.contains("large/");
    let completions = world.plan.log().iter().filter(is_large).count();
    assert!(completions <= usize::from(LARGE) + 1, "{completions} completions of {LARGE} objects");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_tells_head_nothing_of_tags_is_asked_for_them_once() {
    let bucket = BucketSettings { quiet_of_tags: true, ..BucketSettings::default() };
    let world = World::with_destination(StoreSettings::default(), bucket);
    let tags = vec![("t".to_owned(), "v".to_owned())];
    for key in ["large/0", "large/1", "large/2"] {
        world.source.insert_with(SOURCE, key, content(11 << 20, 1), &Attributes::default(), &tags);
    }
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    world.assert_same("quiet of tags");
    let (read, put) = (world.plan.count(Operation::GetTags), world.plan.count(Operation::PutTags));
    // One of each object at the source; objects completed together may all ask.
    assert!((4..=6).contains(&read) && put == 0, "tags were read {read} times and put {put} times");
    assert_eq!(world.losses().await, NotPreserved::default());
}
