//! Misleading answers of services and of proxies in front of them, each as its own scenario.

use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content, tiny_store};
use migration_core::ports::{Ability, Ledger, Support};
use migration_core::records::{BucketRecord, RunResult, SourceBucketRecord, bucket_key, source_bucket_key, upload_key};
use migration_testkit::{Checksums, ETagStyle, Fault, Lie, MemoryStore, Operation, Refusal, Scope, StoreSettings};

/// Every scenario that catches mutants passes without one.
#[test]
fn all_scenarios_hold() {
    for (name, scenario) in crate::scenarios::ALL {
        crate::scenarios::run(scenario).unwrap_or_else(|violation| panic!("{name}: {violation}"));
    }
}

/// Returns the objects of the last run that were counted as gone.
async fn gone(world: &World) -> u64 {
    let run = world.run().await.unwrap();
    world.counters(&run.run).await.counts.gone
}

async fn complete(world: &World, job: &str) {
    world.send(job).await.unwrap();
    let end = world.work_until_over(job).await;
    assert_eq!(end.result, RunResult::Complete, "{job}");
    world.assert_same(job);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_a_head_does_not_find_is_asked_for_by_a_get() {
    let mut world = World::tiny();
    world.config.versioning.update_version_id = true;
    for (key, size) in [("empty", 0), ("small", 20), ("large", 100)] {
        world.source.insert(SOURCE, key, content(size, 1));
    }
    world.send("job-1").await.unwrap();
    // An ingress that does not support HEAD, for a while, for some of the requests.
    world.source_lies.tell(Lie::Absent, Scope::always().on(&[Operation::HeadObject]).first(4));
    let end = world.work_until_over("job-1").await;
    assert_eq!((end.result, gone(&world).await), (RunResult::Complete, 0));
    world.assert_same("behind an ingress without HEAD");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_costs_one_request_more_and_is_counted() {
    let mut world = World::tiny();
    world.config.versioning.update_version_id = true;
    world.source.insert(SOURCE, "a", content(20, 1));
    world.send("job-1").await.unwrap();
    world.source.remove(SOURCE, "a");
    world.work_until_over("job-1").await;
    assert_eq!(gone(&world).await, 1);
    assert_eq!((world.plan.count(Operation::HeadObject), world.plan.count(Operation::GetObject)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_keeps_no_conditions_is_asked_twice_for_what_it_does_not_find() {
    let mut world = World::tiny();
    world.config.destination.service.endpoint = Some("http://destination".into());
    world.destination_lies.tell(Lie::ConditionIgnored(migration_testkit::Header::IfNoneMatch), Scope::always());
    world.source.insert(SOURCE, "0", content(10, 1));
    complete(&world, "job-1").await;
    // An object of another writer, which the listing did not show yet.
    world.source.insert(SOURCE, "large", content(100, 1));
    world.send("job-2").await.unwrap();
    world.destination.insert(DESTINATION, "large", content(100, 1));
    world.destination_lies.tell(Lie::Absent, Scope::always().on(&[Operation::HeadObject]).key("large").first(1));
    let before = world.destination.write_log(DESTINATION).len();
    world.work_until_over("job-2").await;
    assert_eq!(world.destination.write_log(DESTINATION)[before..].len(), 0, "it is in place by its ETag or size");
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_etags_are_no_digests_is_found_out_by_one_object() {
    let world = World::tiny();
    for number in 0..6_u8 {
        world.source.insert(SOURCE, &format!("{number}"), content(20, number));
    }
    world.source_lies.tell(Lie::ETags(ETagStyle::FalseDigest), Scope::always());
    // If ETags are not comparable, a copy must be clearly newer than its original.
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    complete(&world, "job-1").await;
    let item = world.ledger.get(&source_bucket_key(JOB, SOURCE)).await.unwrap().unwrap();
    let record: SourceBucketRecord = item.read().unwrap();
    assert!(!record.has_digests("", record.etags_are_digests.at));
    let gets = world.plan.count(Operation::GetObject);
    // The requests that were in flight together.
    assert!((7..=6 + 4).contains(&gets), "{gets} GETs");
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    world.send("job-2").await.unwrap();
    assert_eq!(world.run().await.unwrap().scan.counts.objects, 0, "nothing is moved again for its ETag");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_contradict_their_etag_once_are_read_again() {
    let world = World::tiny();
    world.source.insert(SOURCE, "a", content(20, 1));
    world.plan.at(Operation::GetObject, 1, Fault::Corrupt);
    complete(&world, "job-1").await;
    assert_eq!(world.plan.count(Operation::GetObject), 2);
    assert!(world.ledger.get(&source_bucket_key(JOB, SOURCE)).await.unwrap().is_none(), "its ETags are digests");
    assert_eq!(world.destination.write_log(DESTINATION).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_change_under_one_etag_are_not_written() {
    let world = World::tiny();
    world.source.insert(SOURCE, "a", content(20, 1));
    for get in 1..=2 {
        world.plan.at(Operation::GetObject, get, if get == 1 { Fault::Corrupt } else { Fault::Truncate(0) });
    }
    complete(&world, "job-1").await;
    let log = world.destination.write_log(DESTINATION);
    assert!(log.iter().all(|entry| entry.content == content(20, 1)), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_destination_does_not_find_makes_no_object_gone() {
    const WRITES: &[Operation] =
        &[Operation::PutObject, Operation::CreateUpload, Operation::PutPart, Operation::ListParts];
    let world = World::tiny();
    world.source.insert(SOURCE, "a", content(20, 1));
    world.source.insert(SOURCE, "large", content(100, 1));
    world.destination_lies.tell(Lie::Refuse(Refusal::NO_SUCH_KEY), Scope::always().on(WRITES).first(2));
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    assert_eq!((end.result, gone(&world).await), (RunResult::Complete, 0));
    world.assert_same("after writes that found nothing");
}

/// A world whose worker copies one object after the other, in the order of their keys, from a source without checksums.
fn one_by_one(objects: u8) -> World {
    let mut world = World::tiny();
    world.config.transfer.files_per_worker = 1.into();
    let settings = StoreSettings { checksums: Checksums::Ignored, ..tiny_store() };
    world.source = MemoryStore::with_settings(world.clock.clone(), "reader", settings);
    world.source.create_bucket(SOURCE);
    for number in 0..objects {
        world.source.insert(SOURCE, &format!("{number}"), content(20, number));
    }
    world
}

/// A run of a few objects takes less, unless a side is paused.
const PAUSED: Duration = Duration::from_secs(6);

/// Returns what is known of the destination's look at Content-MD5.
async fn checks_md5(world: &World) -> Support {
    let item = world.ledger.get(&bucket_key(JOB, DESTINATION)).await.unwrap().unwrap();
    item.read::<BucketRecord>().unwrap().support(Ability::ChecksMd5, 0)
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_not_those_of_the_md5_that_their_etag_names_are_refused_and_read_again() {
    let world = one_by_one(3);
    // The MD5 of the first is computed.
    world.plan.at(Operation::GetObject, 2, Fault::Corrupt);
    let began = tokio::time::Instant::now();
    complete(&world, "job-1").await;
    assert!(began.elapsed() < PAUSED, "a side was paused for {:?}", began.elapsed());
    assert_eq!((world.plan.count(Operation::GetObject), world.plan.count(Operation::PutObject)), (4, 4));
    assert_eq!(world.destination.write_log(DESTINATION).len(), 3, "one was refused");
    assert!(world.ledger.get(&source_bucket_key(JOB, SOURCE)).await.unwrap().is_none(), "its ETags are digests");
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_etags_are_no_md5s_any_more_is_found_out_by_one_refusal() {
    let world = one_by_one(8);
    world.source_lies.tell(Lie::ETags(ETagStyle::FalseDigest), Scope::always().keys(|key| key >= "3"));
    let began = tokio::time::Instant::now();
    complete(&world, "job-1").await;
    assert!(began.elapsed() < PAUSED, "a side was paused for {:?}", began.elapsed());
    assert_eq!(world.plan.count(Operation::PutObject), 9);
    assert_eq!(world.destination.write_log(DESTINATION).len(), 8, "one was refused");
}

#[tokio::test(start_paused = true)]
async fn whether_a_destination_checks_content_md5_is_found_out_by_one_put() {
    for (lie, expected) in [(None, Support::Yes), (Some(Lie::Md5Ignored), Support::No)] {
        let mut world = one_by_one(4);
        world.config.destination.service.endpoint = Some("http://destination".into());
        if let Some(lie) = lie {
            world.destination_lies.tell(lie, Scope::always());
        }
        complete(&world, "job-1").await;
        assert_eq!(checks_md5(&world).await, expected, "{lie:?}");
        // Two test the conditions of PUT. One that is not rejected is the object's own.
        let rejected = usize::from(expected == Support::Yes);
        assert_eq!(world.plan.count(Operation::PutObject), 4 + 2 + rejected, "{lie:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_stopped_to_check_content_md5_is_found_out_by_its_answer() {
    let mut world = one_by_one(4);
    world.config.destination.service.endpoint = Some("http://destination".into());
    world.destination_lies.tell(Lie::Md5Ignored, Scope::always().keys(|key| key >= "2"));
    // The GET of the third object: the first one is read back after the tests of conditions.
    world.plan.at(Operation::GetObject, 4, Fault::Corrupt);
    complete(&world, "job-1").await;
    assert_eq!(checks_md5(&world).await, Support::No);
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_only_said_to_check_content_md5_is_found_out_by_its_answer() {
    let world = one_by_one(4);
    world.destination_lies.tell(Lie::Md5Ignored, Scope::always());
    world.plan.at(Operation::GetObject, 3, Fault::Corrupt);
    complete(&world, "job-1").await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_a_test_of_content_md5_damaged_is_moved_again() {
    let mut world = one_by_one(2);
    world.config.destination.service.endpoint = Some("http://destination".into());
    // The fourth PUT, after the first object's own and two that test its conditions.
    let damaged = Lie::Damaged(migration_testkit::Told::Stored);
    world.destination_lies.tell(damaged, Scope::always().on(&[Operation::PutObject]).every(4));
    complete(&world, "job-1").await;
    assert_eq!(checks_md5(&world).await, Support::No);
}

/// Returns a destination that loses the bytes of an object when it rejects a PUT, and shows it as before.
fn spoiling(world: &World) -> MemoryStore {
    let destination = MemoryStore::with_settings(world.clock.clone(), "writer", tiny_store());
    destination.create_bucket(DESTINATION);
    destination.spoiling_by_rejected_puts()
}

#[tokio::test(start_paused = true)]
async fn tests_leave_no_object_whose_bytes_they_lost() {
    let mut world = one_by_one(4);
    world.config.destination.service.endpoint = Some("http://destination".into());
    world.destination = spoiling(&world);
    complete(&world, "job-1").await;
    assert_eq!(checks_md5(&world).await, Support::Yes);
    let record = world.ledger.get(&upload_key(JOB, DESTINATION, "0")).await.unwrap();
    assert!(record.is_none(), "{record:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_during_its_tests_leaves_no_object_whose_bytes_they_lost() {
    for writes in 2..=5 {
        let mut world = one_by_one(2);
        world.config.destination.service.endpoint = Some("http://destination".into());
        world.destination = spoiling(&world);
        world.send("job-1").await.unwrap();
        world.crash_worker_at(Operation::PutObject, writes).await;
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
        world.assert_same(&format!("killed after {writes} PUTs"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_bytes_a_rejection_lost_is_written_again() {
    let mut world = one_by_one(8);
    world.config.destination.service.endpoint = Some("http://destination".into());
    world.destination = spoiling(&world);
    complete(&world, "job-1").await;
    for number in 0..8 {
        world.source.insert(SOURCE, &format!("{number}"), content(20, 100 + number));
    }
    world.source_lies.tell(Lie::ETags(ETagStyle::FalseDigest), Scope::always().keys(|key| key >= "3"));
    complete(&world, "job-2").await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_tests_of_conditions_damaged_is_moved_again() {
    let mut world = one_by_one(1);
    world.config.destination.service.endpoint = Some("http://destination".into());
    let ignored = Lie::ConditionIgnored(migration_testkit::Header::IfNoneMatch);
    world.destination_lies.tell(ignored, Scope::always().on(&[Operation::PutObject]));
    let damaged = Lie::Damaged(migration_testkit::Told::Sent);
    world.destination_lies.tell(damaged, Scope::always().on(&[Operation::PutObject]).every(2).first(1));
    complete(&world, "job-1").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_a_destination_without_conditions_whether_it_checks_content_md5() {
    let mut world = one_by_one(3);
    world.config.destination.service.endpoint = Some("http://destination".into());
    world.destination_lies.tell(Lie::ConditionIgnored(migration_testkit::Header::IfNoneMatch), Scope::always());
    complete(&world, "job-1").await;
    assert_eq!(checks_md5(&world).await, Support::Unknown, "a wrong PUT could replace what another writer wrote");
}
