//! Services whose answers look otherwise than S3's, each as a row: every object arrives, by its first try.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod world;

use migration_core::ports::Operation;
use migration_core::records::RunResult;
use migration_testkit::{BucketSettings, Call, Checksums, ETagStyle, Lie, Scope, StoreSettings};
use world::{SOURCE, World, content};

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
            // One write may ask for an ETag that nothing has.
            assert!(puts <= usize::from(SMALL) + 1, "{context}: {puts} PUTs of {SMALL} objects");
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
        // While it is read, after the first bytes of it.
        let during = move |call: &Call| call.operation == Operation::GetObject && call.subject.ends_with(key);
        world.plan.during_body(during, 1, move || {
            source.insert(SOURCE, key, content(len, 99));
        });
        world.send("job-1").await.unwrap();
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete, "{key}");
        world.assert_same(key);
    }
}
