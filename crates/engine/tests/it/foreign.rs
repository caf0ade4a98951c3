//! Messages that were not made by a scan of ours.

use std::time::Duration;

use crate::world::{DESTINATION, SOURCE, World, content};
use migration_core::config::ObjectFilter;
use migration_core::message::EVENTS_RUN;
use migration_core::ports::{OutgoingMessage, Queue};
use migration_testkit::Operation;

async fn deliver(world: &World, body: &str) {
    let message = OutgoingMessage { body: body.to_owned(), delay: Duration::ZERO };
    assert!(world.queue.send(&[message]).await.unwrap().is_empty());
}

/// Works until the queue is empty.
async fn drain(world: &World) {
    let (process, worker) = world.start_worker();
    loop {
        let stats = world.queue.stats();
        if stats.visible + stats.in_flight + stats.delayed == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

fn record(name: &str, bucket: &str, key: &str, more: &str) -> String {
    format!(r#"{{"eventName":"{name}","s3":{{"bucket":{{"name":"{bucket}"}},"object":{{"key":"{key}"{more}}}}}}}"#)
}

fn event(records: &[String]) -> String {
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

#[tokio::test(start_paused = true)]
async fn every_record_of_an_event_is_moved() {
    let mut world = World::new();
    world.config.ignore = vec!["from/*.tmp".into()];
    world.source.insert(SOURCE, "a b+c", content(10, 1));
    world.source.insert(SOURCE, "large", content(11 << 20, 2));
    world.source.insert(SOURCE, "x.tmp", content(10, 3));
    let records = [
        record("ObjectCreated:Put", SOURCE, "a+b%2Bc", r#","size":10,"sequencer":"1""#),
        record("ObjectCreated:CompleteMultipartUpload", SOURCE, "large", r#","size":11534336,"sequencer":"1""#),
        record("ObjectCreated:Put", SOURCE, "x.tmp", r#","size":10,"sequencer":"1""#),
        record("ObjectCreated:Put", "elsewhere", "y", r#","size":10"#),
        record("ObjectRemoved:Delete", SOURCE, "z", ""),
    ];
    deliver(&world, &event(&records)).await;
    drain(&world).await;
    assert_eq!(world.destination.keys(DESTINATION), ["a b+c", "large"]);
    assert_eq!(world.queue.dead_letters().len(), 0);
    let counted = world.counters(EVENTS_RUN).await;
    assert_eq!((counted.batches, counted.counts.done), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn filters_hide_objects_of_events_too() {
    let mut world = World::new();
    world.config.filter = ObjectFilter { min_size: Some(10), ..ObjectFilter::default() };
    world.source.insert(SOURCE, "long", content(10, 1));
    world.source.insert(SOURCE, "short", content(9, 2));
    // An event need not contain the size.
    let records = ["long", "short"].map(|key| record("ObjectCreated:Put", SOURCE, key, r#","sequencer":"1""#));
    deliver(&world, &event(&records)).await;
    drain(&world).await;
    assert_eq!(world.destination.keys(DESTINATION), ["long"]);
    let counted = world.counters(EVENTS_RUN).await.counts;
    assert_eq!((counted.done, counted.failed), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_told_twice_counts_once_and_an_event_of_a_newer_content_moves_it() {
    let world = World::new();
    world.source.insert(SOURCE, "k", content(10, 1));
    let first = event(&[record("ObjectCreated:Put", SOURCE, "k", r#","size":10,"sequencer":"1""#)]);
    deliver(&world, &first).await;
    deliver(&world, &first).await;
    drain(&world).await;
    assert_eq!(world.counters(EVENTS_RUN).await.counts.done, 1);
    world.source.insert(SOURCE, "k", content(10, 2));
    deliver(&world, &event(&[record("ObjectCreated:Put", SOURCE, "k", r#","size":10,"sequencer":"2""#)])).await;
    drain(&world).await;
    world.assert_same("after the second event");
    assert_eq!(world.counters(EVENTS_RUN).await.counts.done, 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_size_at_the_destination_does_not_hide_an_event() {
    let world = World::new();
    world.source.insert(SOURCE, "large", content(11 << 20, 1));
    deliver(&world, &event(&[record("ObjectCreated:Put", SOURCE, "large", r#","size":11534336,"sequencer":"1""#)]))
        .await;
    drain(&world).await;
    world.source.insert(SOURCE, "large", content(11 << 20, 2));
    deliver(&world, &event(&[record("ObjectCreated:Put", SOURCE, "large", r#","size":11534336,"sequencer":"2""#)]))
        .await;
    drain(&world).await;
    world.assert_same("after the second event");
}

#[tokio::test(start_paused = true)]
async fn the_predecessors_job_message_is_carried_out() {
    let world = World::new();
    world.source.insert(SOURCE, "dir/a +", content(10, 1));
    deliver(
        &world,
        r#"{"Src_bucket":"from","Src_key":"dir/a +","Des_bucket":"to","Des_key":"dir/a +","Size":99,"versionId":"null"}"#,
    )
    .await;
    drain(&world).await;
    world.assert_same("the size of the message is not believed");
    assert_eq!(world.counters(EVENTS_RUN).await.counts.done, 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_for_another_pair_goes_to_the_dead_letters_and_a_test_event_away() {
    let world = World::new();
    deliver(&world, r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"from"}"#).await;
    deliver(&world, r#"{"Src_bucket":"from","Src_key":"a","Des_bucket":"other","Des_key":"a","Size":1}"#).await;
    deliver(&world, r#"{"Event":"s3:Unheard"}"#).await;
    drain(&world).await;
    let dead = world.queue.dead_letters();
    let reasons: Vec<_> = dead.iter().filter_map(|letter| letter.reason.as_deref()).collect();
    assert_eq!(reasons.len(), 2, "{dead:?}");
    assert!(reasons[0].contains("no pair of the job maps from/a to other/a"), "{reasons:?}");
    assert!(reasons[1].contains("s3:Unheard"), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_an_older_version_is_left_to_the_newer_one() {
    let mut world = World::versioned();
    world.config.versioning.get_object_with_version_id = true;
    world.source.insert(SOURCE, "k", content(10, 1));
    let old = world.source.object(SOURCE, "k").unwrap().version_id.unwrap();
    world.source.insert(SOURCE, "k", content(10, 2));
    let new = world.source.object(SOURCE, "k").unwrap().version_id.unwrap();
    let of = |version: &str| {
        event(&[record("ObjectCreated:Put", SOURCE, "k", &format!(r#","size":10,"versionId":"{version}""#))])
    };
    deliver(&world, &of(&old)).await;
    drain(&world).await;
    assert_eq!(world.destination.keys(DESTINATION), Vec::<String>::new());
    deliver(&world, &of(&new)).await;
    drain(&world).await;
    world.assert_same("the newest version");
    let counted = world.counters(EVENTS_RUN).await.counts;
    assert_eq!((counted.gone, counted.done), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn events_that_differ_in_their_sequencer_only_are_two_moves() {
    let world = World::new();
    for (sequencer, seed) in [("1", 1), ("2", 2)] {
        world.source.insert(SOURCE, "k", content(10, seed));
        let more = format!(r#","size":"10","versionId":"","sequencer":"{sequencer}""#);
        deliver(&world, &event(&[record("ObjectCreated:Put", SOURCE, "k", &more)])).await;
        drain(&world).await;
    }
    assert_eq!(world.destination.content(DESTINATION, "k").unwrap(), content(10, 2));
    let counted = world.counters(EVENTS_RUN).await;
    assert_eq!((counted.batches, counted.counts.done), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_object_without_a_key_goes_to_the_dead_letters_at_once() {
    let world = World::new();
    deliver(&world, &event(&[record("ObjectCreated:Put", SOURCE, "", "")])).await;
    let job = r#"{"Src_bucket":"from","Src_key":"","Des_bucket":"to","Des_key":"","Size":7}"#;
    deliver(&world, job).await;
    drain(&world).await;
    let letters = world.queue.dead_letters();
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|letter| letter.reason.as_deref().unwrap().contains("empty key")), "{letters:?}");
    assert_eq!(world.plan.count(Operation::ReceiveMessages), 3, "each was delivered once");
}

#[tokio::test(start_paused = true)]
async fn an_event_is_moved_whichever_way_it_came() {
    let world = World::new();
    for key in ["a b", "c+d", "e"] {
        world.source.insert(SOURCE, key, content(10, 1));
    }
    let direct = event(&[record("ObjectCreated:Put", SOURCE, "a+b", r#","sequencer":"1""#)]);
    let message = serde_json::to_string(&direct).unwrap();
    deliver(&world, &format!(r#"{{"Type":"Notification","TopicArn":"t","Message":{message}}}"#)).await;
    let bridged = |kind: &str, key: &str| {
        format!(
            r#"{{"source":"aws.s3","detail-type":"{kind}","detail":{{"bucket":{{"name":"{SOURCE}"}},"object":{{"key":"{key}","sequencer":"1"}}}}}}"#
        )
    };
    deliver(&world, &bridged("Object Created", "c+d")).await;
    deliver(&world, &bridged("Object Deleted", "e")).await;
    drain(&world).await;
    assert_eq!(world.destination.keys(DESTINATION), ["a b", "c+d"]);
    assert_eq!(world.queue.dead_letters().len(), 0);
}
