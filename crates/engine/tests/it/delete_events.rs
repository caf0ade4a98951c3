//! Removals at the source that events report: the destination ends as the source is, whatever the order of events.

use std::time::Duration;

use migration_core::config::{EventSettings, ObjectFilter};
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::events::EventTypes;
use migration_core::message::EVENTS_RUN;
use migration_core::ports::{OutgoingMessage, Queue};
use migration_testkit::{BucketSettings, Call, Fault, Lie, Operation, Scope};

use crate::histories::Chance;
use crate::world::{DESTINATION, SOURCE, TINY_LARGE, World, content};

/// Keys of a history: few, so that writes and removals of one key meet.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Returns a world whose events delete at most so many objects in a day.
fn world(max_deletes: u64) -> World {
    let mut world = World::versioned();
    let types = EventTypes::CreatedAndRemoved;
    world.config.events = Some(EventSettings { queue_arn: None, types, max_deletes: Some(max_deletes) });
    world
}

fn event(name: &str, key: &str, sequencer: usize) -> String {
    event_of_version(name, key, "", sequencer)
}

fn event_of_version(name: &str, key: &str, version: &str, sequencer: usize) -> String {
    format!(
        r#"{{"Records":[{{"eventName":"{name}","s3":{{"bucket":{{"name":"{SOURCE}"}},"object":{{"key":"{key}","versionId":"{version}","sequencer":"{sequencer:04}"}}}}}}]}}"#
    )
}

fn created(key: &str, sequencer: usize) -> String {
    event("ObjectCreated:Put", key, sequencer)
}

fn removed(key: &str, sequencer: usize) -> String {
    event("ObjectRemoved:DeleteMarkerCreated", key, sequencer)
}

async fn deliver(world: &World, body: String, delay: Duration) {
    assert!(world.queue.send(&[OutgoingMessage { body, delay }]).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removed_object_is_deleted_and_counts_as_gone() {
    let world = world(10);
    for key in KEYS {
        world.source.insert(SOURCE, key, content(10, 1));
        deliver(&world, created(key, 1), Duration::ZERO).await;
    }
    world.drain(1).await;
    world.source.delete(SOURCE, "b");
    deliver(&world, removed("b", 2), Duration::ZERO).await;
    world.drain(1).await;
    assert_eq!(world.destination.keys(DESTINATION), ["a", "c"]);
    let counts = world.counters(EVENTS_RUN).await.counts;
    assert_eq!((counts.done, counts.gone, counts.failed), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn removals_are_not_followed_unless_that_is_wanted() {
    let mut world = world(10);
    world.config.events = None;
    world.destination.insert(DESTINATION, "a", content(10, 1));
    deliver(&world, removed("a", 1), Duration::ZERO).await;
    world.drain(1).await;
    assert_eq!(world.destination.keys(DESTINATION), ["a"]);
    assert_eq!(world.plan.count(Operation::DeleteObject), 0);
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_comes_after_the_next_write_deletes_nothing() {
    let world = world(10);
    world.source.insert(SOURCE, "a", content(10, 2));
    deliver(&world, created("a", 3), Duration::ZERO).await;
    world.drain(1).await;
    deliver(&world, removed("a", 2), Duration::ZERO).await;
    world.drain(1).await;
    world.assert_same("the source has the object");
    assert_eq!(world.plan.count(Operation::DeleteObject), 0);
}

#[tokio::test(start_paused = true)]
async fn a_denial_or_a_proxys_answer_is_no_absence() {
    for class in [ErrorClass::AccessDenied, ErrorClass::NoAnswer] {
        let mut world = world(10);
        world.config.transfer.max_attempts = 2;
        world.destination.insert(DESTINATION, "a", content(10, 1));
        let of_source = |call: &Call| {
            matches!(call.operation, Operation::HeadObject | Operation::GetObject) && call.subject.starts_with(SOURCE)
        };
        world.plan.when(of_source, Fault::Fail(class), 6);
        deliver(&world, removed("a", 1), Duration::ZERO).await;
        let before = tokio::time::Instant::now();
        let (process, worker) = world.start_worker();
        while world.plan.injected() < 4 && before.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(world.plan.injected() > 0, "{class:?}: the source was not asked");
        assert_eq!(world.plan.count(Operation::DeleteObject), 0, "{class:?}");
        assert_eq!(world.destination.keys(DESTINATION), ["a"], "{class:?}");
        process.runtime.stop.cancel();
        worker.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_days_deletions_are_made_and_the_others_fail() {
    for workers in [1, 3] {
        let world = world(2);
        for (number, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            world.destination.insert(DESTINATION, key, content(10, 1));
            deliver(&world, removed(key, number), Duration::ZERO).await;
        }
        world.drain(workers).await;
        assert_eq!(world.destination.keys(DESTINATION).len(), 2);
        let counts = world.counters(EVENTS_RUN).await.counts;
        assert_eq!((counts.gone, counts.failed), (2, 2));
        let failure = world.ledger.items().into_iter().find(|item| item.key.partition.starts_with("failure/")).unwrap();
        assert_eq!(failure.attributes["class"], "TooManyDeletes");
        // The next day has as many again.
        tokio::time::sleep(Duration::from_hours(24)).await;
        let left = world.destination.keys(DESTINATION);
        deliver(&world, removed(&left[0], 9), Duration::ZERO).await;
        world.drain(workers).await;
        assert_eq!(world.destination.keys(DESTINATION).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn objects_that_the_filters_exclude_stay() {
    let mut world = world(10);
    world.config.filter = ObjectFilter { min_size: Some(10), ..ObjectFilter::default() };
    world.config.ignore = vec!["from/*.tmp".into()];
    for (key, size) in [("small", 9), ("large", 10), ("x.tmp", 10)] {
        world.destination.insert(DESTINATION, key, content(size, 1));
        deliver(&world, removed(key, 1), Duration::ZERO).await;
    }
    world.drain(1).await;
    assert_eq!(world.destination.keys(DESTINATION), ["small", "x.tmp"]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_written_after_the_removal_was_followed_does_not_stay() {
    let world = world(10);
    world.source.insert(SOURCE, "a", content(10, 1));
    // The copy is read before the removal, and arrives after the removal's event is done.
    world.plan.at(Operation::PutObject, 1, Fault::Delay(Duration::from_secs(20)));
    deliver(&world, created("a", 1), Duration::ZERO).await;
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::PutObject) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.source.delete(SOURCE, "a");
    deliver(&world, removed("a", 2), Duration::ZERO).await;
    world.drain(1).await;
    process.runtime.stop.cancel();
    worker.await.unwrap();
    assert_eq!(world.destination.keys(DESTINATION), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_same_content_written_again_while_it_is_deleted_is_copied_again() {
    let world = world(10);
    world.destination.insert(DESTINATION, "a", content(10, 1));
    world.plan.at(Operation::DeleteObject, 1, Fault::Delay(Duration::from_secs(20)));
    deliver(&world, removed("a", 1), Duration::ZERO).await;
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::DeleteObject) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Its event finds the copy in place, which is deleted afterwards.
    world.source.insert(SOURCE, "a", content(10, 1));
    deliver(&world, created("a", 2), Duration::ZERO).await;
    world.drain(1).await;
    process.runtime.stop.cancel();
    worker.await.unwrap();
    world.assert_same("after the deletion");
}

/// Returns the requests to the stores since the call number `from`, each with its side. Sets `from` to the next call.
fn requests(world: &World, from: &mut usize) -> Vec<(Operation, &'static str)> {
    let side =
        |call: &Call| [SOURCE, DESTINATION].into_iter().find(|side| call.subject.starts_with(&format!("{side}/")));
    let log = world.plan.log();
    let since = log.iter().skip(std::mem::replace(from, log.len()));
    since.filter_map(|call| Some((call.operation, side(call)?))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_removal_takes_no_more_requests_than_its_proof_needs() {
    use Operation::{DeleteObject, GetObject, HeadObject, PutObject};
    let (world, mut from) = (world(10), 0);
    world.source.insert(SOURCE, "a", content(10, 1));
    deliver(&world, created("a", 1), Duration::ZERO).await;
    world.drain(1).await;
    let compared = [(HeadObject, DESTINATION), (HeadObject, SOURCE)];
    let copied = [(GetObject, SOURCE), (PutObject, DESTINATION)];
    let looked = [(HeadObject, SOURCE)];
    assert_eq!(requests(&world, &mut from), [&compared[..], &copied, &looked].concat(), "a copy");

    deliver(&world, removed("a", 0), Duration::ZERO).await;
    world.drain(1).await;
    let asked = [(GetObject, SOURCE)];
    let stale = [&asked[..], &compared, &looked].concat();
    assert_eq!(requests(&world, &mut from), stale, "a removal that a later write has made stale");
    world.assert_same("after a stale removal");

    world.source.delete(SOURCE, "a");
    deliver(&world, removed("a", 2), Duration::ZERO).await;
    world.drain(1).await;
    let proven = [(GetObject, SOURCE), (HeadObject, DESTINATION), (GetObject, SOURCE), (DeleteObject, DESTINATION)];
    assert_eq!(requests(&world, &mut from), [&proven[..], &[(GetObject, SOURCE)]].concat(), "a removal");
    assert_eq!(world.destination.keys(DESTINATION), Vec::<String>::new());

    deliver(&world, removed("a", 3), Duration::ZERO).await;
    world.drain(1).await;
    let absent = [(GetObject, SOURCE), (HeadObject, DESTINATION), (GetObject, DESTINATION)];
    assert_eq!(requests(&world, &mut from), absent, "a removal of what the destination lacks");
    let counts = world.counters(EVENTS_RUN).await.counts;
    assert_eq!((counts.done, counts.gone, counts.failed), (2, 2, 0));
}

/// Names that services give to the permanent removal of a version or marker.
const PERMANENT: [&str; 2] = ["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated"];

#[tokio::test(start_paused = true)]
async fn an_object_whose_delete_marker_was_removed_is_copied_again() {
    for (name, lying) in [(PERMANENT[0], false), (PERMANENT[1], false), (PERMANENT[0], true)] {
        let world = world(10);
        world.source.insert(SOURCE, "a", content(10, 1));
        deliver(&world, created("a", 1), Duration::ZERO).await;
        world.drain(1).await;
        let marker = world.source.delete(SOURCE, "a").unwrap();
        deliver(&world, removed("a", 2), Duration::ZERO).await;
        world.drain(1).await;
        assert_eq!(world.destination.keys(DESTINATION), Vec::<String>::new());
        world.source.delete_version(SOURCE, "a", &marker);
        if lying {
            world.source_lies.tell(Lie::Absent, Scope::always().on(&[Operation::HeadObject]));
        }
        deliver(&world, event_of_version(name, "a", &marker, 3), Duration::ZERO).await;
        world.drain(1).await;
        world.assert_same(&format!("{name}, behind a proxy: {lying}"));
        assert_eq!(world.source.keys(SOURCE), ["a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_below_a_removed_one_is_copied() {
    for name in PERMANENT {
        for copied_before in [true, false] {
            let world = world(10);
            world.source.insert(SOURCE, "a", content(10, 1));
            world.source.insert(SOURCE, "a", content(10, 2));
            if copied_before {
                deliver(&world, created("a", 2), Duration::ZERO).await;
                world.drain(1).await;
            }
            let newest = world.source.object(SOURCE, "a").unwrap().version_id.unwrap();
            world.source.delete_version(SOURCE, "a", &newest);
            deliver(&world, event_of_version(name, "a", &newest, 3), Duration::ZERO).await;
            world.drain(1).await;
            world.assert_same(&format!("{name}, the removed version was copied: {copied_before}"));
            assert_eq!(world.source.content(SOURCE, "a").unwrap(), content(10, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_a_paused_side_kept_waiting_is_proven_again() {
    type Applies = fn(&Call) -> bool;
    let expired = Fault::Fail(ErrorClass::Service(ServiceFault::CredentialsExpired));
    let of_destination: Applies = |call| call.operation == Operation::DeleteObject;
    let of_ledger: Applies = |call| call.operation == Operation::GetItem && call.subject.contains("deletions");
    for (applies, fault) in [(of_destination, expired), (of_ledger, expired)] {
        let world = world(10);
        world.destination.insert(DESTINATION, "a", content(10, 1));
        let copy = world.destination.object(DESTINATION, "a").unwrap().version_id;
        world.plan.when(applies, fault, u32::MAX);
        deliver(&world, removed("a", 1), Duration::ZERO).await;
        let (process, worker) = world.start_worker();
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert!(world.plan.injected() > 0, "nothing is paused");
        // What the source said before the pause is over.
        world.source.insert(SOURCE, "a", content(10, 1));
        world.plan.clear();
        let deletions = world.plan.count(Operation::DeleteObject);
        world.drain(1).await;
        process.runtime.stop.cancel();
        worker.await.unwrap();
        world.assert_same("after the pause");
        assert_eq!(world.plan.count(Operation::DeleteObject), deletions, "a deletion was sent");
        assert_eq!(world.destination.object(DESTINATION, "a").unwrap().version_id, copy);
    }
}

#[tokio::test(start_paused = true)]
async fn many_deletions_that_a_paused_destination_kept_waiting_are_made_when_it_works_again() {
    let world = world(100);
    for number in 0..30 {
        let key = format!("{number:02}");
        world.destination.insert(DESTINATION, &key, content(10, 1));
        deliver(&world, removed(&key, number), Duration::ZERO).await;
    }
    let deletes = |call: &Call| call.operation == Operation::DeleteObject;
    world.plan.when(deletes, Fault::Fail(ErrorClass::Service(ServiceFault::CredentialsExpired)), 500);
    tokio::time::timeout(Duration::from_hours(4), world.drain(2)).await.unwrap();
    assert_eq!(world.destination.keys(DESTINATION), Vec::<String>::new());
    assert_eq!(world.counters(EVENTS_RUN).await.counts.gone, 30);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_a_proxy_answers_is_no_proof_of_a_removal() {
    let world = world(10);
    for (key, seed) in [("a", 1), ("b", 2)] {
        world.source.insert(SOURCE, key, content(10, seed));
        world.destination.insert(DESTINATION, key, content(10, seed));
        deliver(&world, removed(key, 1), Duration::ZERO).await;
    }
    world.source_lies.tell(Lie::Absent, Scope::always().on(&[Operation::HeadObject]));
    world.drain(1).await;
    world.assert_same("the source has the objects");
    assert_eq!(world.plan.count(Operation::DeleteObject), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_while_the_deleting_worker_died_is_copied_again() {
    for ended_by_a_duplicate in [false, true] {
        let world = world(10);
        world.destination.insert(DESTINATION, "a", content(10, 1));
        world.plan.at(Operation::DeleteObject, 1, Fault::CrashAfter);
        deliver(&world, removed("a", 1), Duration::ZERO).await;
        let (_, worker) = world.start_worker();
        world.plan.crashed().await;
        worker.abort();
        world.plan.restart();
        // Its event found the copy in place, before that was deleted.
        world.source.insert(SOURCE, "a", content(10, 1));
        if ended_by_a_duplicate {
            deliver(&world, removed("a", 1), Duration::ZERO).await;
        }
        world.drain(1).await;
        world.assert_same(&format!("ended by a duplicate: {ended_by_a_duplicate}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_a_missing_permission_interrupted_is_looked_at_in_full_again() {
    let world = world(10);
    world.source.insert(SOURCE, "first", content(10, 1));
    deliver(&world, created("first", 1), Duration::ZERO).await;
    let (process, worker) = world.start_worker();
    while world.plan.count(Operation::DeleteMessage) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The source is readable until the copy is deleted, then nothing of it is, not even what was read before.
    world.destination.insert(DESTINATION, "a", content(10, 1));
    let mut is_deleted = false;
    let reads_after = move |call: &Call| {
        is_deleted |= call.operation == Operation::DeleteObject;
        is_deleted && call.subject.starts_with(&format!("{SOURCE}/"))
    };
    world.plan.when(reads_after, Fault::Fail(ErrorClass::AccessDenied), u32::MAX);
    deliver(&world, removed("a", 1), Duration::ZERO).await;
    let sent_anew = async {
        while world.plan.count(Operation::SendMessages) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(10), sent_anew).await.unwrap();
    // Its event found the copy in place, before that was deleted.
    world.source.insert(SOURCE, "a", content(10, 1));
    world.plan.clear();
    world.drain(1).await;
    process.runtime.stop.cancel();
    worker.await.unwrap();
    world.assert_same("once the source can be read again");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_copied_in_parts_and_removed_leaves_no_record_of_its_upload() {
    let mut world = World::tiny();
    let types = EventTypes::CreatedAndRemoved;
    world.config.events = Some(EventSettings { queue_arn: None, types, max_deletes: Some(1) });
    let records = |world: &World| {
        let of_uploads = |item: &migration_core::ports::Item| item.key.partition.starts_with("upload/");
        world.ledger.items().into_iter().filter(of_uploads).count()
    };
    // The second is one more than may be deleted today.
    for (number, key, deleted) in [(1, "a", true), (2, "b", false)] {
        world.source.insert(SOURCE, key, content(usize::try_from(TINY_LARGE).unwrap() + 40, 1));
        let completes = |call: &Call| call.operation == Operation::CompleteUpload;
        world.plan.when(completes, Fault::Delay(Duration::from_secs(1)), 1);
        deliver(&world, created(key, 1), Duration::ZERO).await;
        let (process, worker) = world.start_worker();
        while world.plan.count(Operation::CompleteUpload) < number {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(records(&world), 1, "{key} is copied in parts");
        world.source.delete(SOURCE, key);
        world.drain(1).await;
        process.runtime.stop.cancel();
        worker.await.unwrap();
        assert_eq!(world.destination.keys(DESTINATION).is_empty(), deleted, "{key}");
        assert_eq!(records(&world), 0, "{key}");
        assert_eq!(world.destination.open_uploads(DESTINATION), [], "{key}");
    }
}

/// Changes a key of the source as clients do, and returns the event of that change. `stack` has the ids of the versions
/// and delete markers of the key.
fn change(world: &World, chance: &mut Chance, key: &str, stack: &mut Vec<String>, step: usize) -> String {
    // A third of the changes removes a version or a marker for good, mostly the newest one.
    if !stack.is_empty() && chance.once_in(3) {
        let newest = stack.len() - 1;
        let place = if chance.once_in(4) { usize::try_from(chance.below(stack.len() as u64)).unwrap() } else { newest };
        let id = stack.remove(place);
        world.source.delete_version(SOURCE, key, &id);
        return event_of_version(PERMANENT[usize::from(chance.once_in(4))], key, &id, step);
    }
    let (name, id) = if chance.once_in(2) {
        (PERMANENT[1], world.source.delete(SOURCE, key))
    } else {
        // Few contents, so that the same one comes again.
        world.source.insert(SOURCE, key, content(10, 1 + u8::try_from(chance.below(2)).unwrap()));
        ("ObjectCreated:Put", world.source.object(SOURCE, key).unwrap().version_id)
    };
    let event = event_of_version(name, key, id.as_deref().unwrap_or_default(), step);
    stack.extend(id);
    event
}

/// Plays a history of writes and removals, of objects, versions and delete markers, whose events come late, twice and in
/// any order, to workers that meet faults.
async fn play(seed: u64) {
    const FAULTS: [Fault; 5] = [
        Fault::Crash,
        Fault::CrashAfter,
        Fault::FailAfter(ErrorClass::NoAnswer),
        Fault::Fail(ErrorClass::Transient),
        Fault::Delay(Duration::from_secs(15)),
    ];
    let mut chance = Chance::new(seed);
    let world = world(1_000);
    if chance.once_in(2) {
        world.source.create_bucket_with(SOURCE, BucketSettings::default());
        world.destination.create_bucket_with(DESTINATION, BucketSettings::default());
    }
    world.plan.latency(Duration::from_millis(200), world.clock.clone());
    for _ in 0..chance.below(3) {
        let fault = FAULTS[usize::try_from(chance.below(5)).unwrap()];
        world.plan.at_call(chance.below(150) + 1, fault);
    }
    let history = async {
        let mut stacks = KEYS.map(|_| Vec::new());
        for step in 0..14 {
            let place = usize::try_from(chance.below(3)).unwrap();
            let body = change(&world, &mut chance, KEYS[place], &mut stacks[place], step);
            for _ in 0..=chance.below(2) {
                deliver(&world, body.clone(), Duration::from_millis(chance.below(2_000))).await;
            }
            tokio::time::sleep(Duration::from_millis(chance.below(600))).await;
        }
    };
    let workers = async {
        // One event is always in the queue until the history is over.
        world.drain(2).await;
    };
    deliver(&world, created("a", 99), Duration::from_secs(10)).await;
    tokio::join!(history, workers);
    world.drain(2).await;
    world.assert_same(&format!("history {seed}"));
    assert_eq!(world.queue.dead_letters().len(), 0, "history {seed}");
}

#[tokio::test(start_paused = true)]
async fn the_destination_ends_as_the_source_is_in_any_history() {
    let first = std::env::var("MODEL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(1..=400, |seed| seed..=seed);
    for seed in seeds {
        play(seed).await;
    }
}
