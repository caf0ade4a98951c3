//! Notification entries of source buckets: put, changed and removed, whatever breaks in between.

use migration_core::config::{EventSettings, JobConfig, MirrorSettings};
use migration_core::error::ErrorClass;
use migration_core::events::{EventTypes, FilterRule, NotificationConfig, NotificationEntry, NotificationTarget};
use migration_core::pair::BucketPair;
use migration_core::ports::BucketAdmin;
use migration_core::records::NotifiedBucket;
use migration_engine::notifications::{
    BucketError, NotificationError, NotificationPorts, NotificationReport, apply, remove,
};
use migration_ledger::view;
use migration_testkit::{BucketSettings, Faulty, MemoryLedger, MemoryStore, Operation};

use crate::world::{DESTINATION, FAULTS, JOB, SOURCE, World, pair};

const ARN: &str = "arn:aws:sqs:r:1:q";
const OTHER: &str = "other";

/// A job whose two source buckets have notifications of others.
fn world() -> World {
    let mut world = World::new();
    world.source.create_bucket(OTHER);
    world.config.buckets =
        vec![BucketPair { source_prefix: "a/".into(), ..pair() }, BucketPair { source_bucket: OTHER.into(), ..pair() }];
    world.config.events =
        Some(EventSettings { queue_arn: Some(ARN.into()), types: EventTypes::Created, max_deletes: None });
    world
}

fn foreign() -> NotificationConfig {
    let entry = |target, id: &str, prefix: &str| NotificationEntry {
        target,
        id: Some(id.into()),
        arn: "arn:aws:x:r:1:theirs".into(),
        events: vec!["s3:ObjectCreated:*".into()],
        filter: vec![FilterRule { name: "Prefix".into(), value: prefix.into() }],
    };
    let entries = vec![
        entry(NotificationTarget::Topic, "t", "t/"),
        entry(NotificationTarget::Function, "f", "f/"),
        entry(NotificationTarget::Queue, "s3-migration-uid-12-1", "q/"),
    ];
    NotificationConfig { entries, event_bridge: true }
}

async fn put_foreign(world: &World) {
    for bucket in [SOURCE, OTHER] {
        world.source.put_notifications(bucket, &foreign()).await.unwrap();
    }
}

/// Returns the queue and prefix of the job's entries in a bucket. Fails unless those of others are as they were.
async fn own(world: &World, bucket: &str) -> Vec<(String, String)> {
    let config = world.source.notifications(bucket).await.unwrap();
    let is_own =
        |entry: &NotificationEntry| entry.id.as_deref().is_some_and(|id| id.starts_with("s3-migration-uid-1-"));
    let (own, others): (Vec<_>, Vec<_>) = config.entries.into_iter().partition(is_own);
    assert_eq!(NotificationConfig { entries: others, event_bridge: config.event_bridge }, foreign(), "{bucket}");
    let prefix = |entry: &NotificationEntry| entry.filter.first().map(|rule| rule.value.clone()).unwrap_or_default();
    own.iter().map(|entry| (entry.arn.clone(), prefix(entry))).collect()
}

async fn recorded(world: &World) -> Vec<String> {
    let record = view::notifications(&world.ledger, JOB).await.unwrap();
    record.buckets.into_iter().map(|notified| notified.bucket).collect()
}

#[derive(Clone, Copy, Debug)]
enum What {
    Apply,
    Remove,
}

/// Runs one process. Returns none if it died.
async fn run(world: &World, config: &JobConfig, what: What) -> Option<Result<NotificationReport, NotificationError>> {
    let plan = &world.plan;
    let (source, destination) = (Faulty::new(world.source.clone(), plan), Faulty::new(world.destination.clone(), plan));
    let ledger = Faulty::new(world.ledger.clone(), plan);
    let ports: NotificationPorts<'_, Faulty<MemoryStore>, Faulty<MemoryStore>, Faulty<MemoryLedger>> =
        NotificationPorts { source: &source, destination: &destination, ledger: &ledger };
    let work = async {
        match what {
            What::Apply => apply(config, &ports).await,
            What::Remove => remove(config, &ports).await,
        }
    };
    tokio::select! {
        result = work => Some(result),
        () = plan.crashed() => {
            plan.restart();
            None
        }
    }
}

async fn done(world: &World, config: &JobConfig, what: What) -> NotificationReport {
    run(world, config, what).await.unwrap().unwrap()
}

fn one(prefix: &str) -> Vec<(String, String)> {
    vec![(ARN.to_owned(), prefix.to_owned())]
}

#[tokio::test(start_paused = true)]
async fn entries_follow_the_job_and_leave_with_it() {
    let world = world();
    put_foreign(&world).await;
    let report = done(&world, &world.config, What::Apply).await;
    assert_eq!((report.configured, report.removed.len()), (vec![SOURCE.to_owned(), OTHER.to_owned()], 0));
    assert_eq!((own(&world, SOURCE).await, own(&world, OTHER).await), (one("a/"), one("")));
    assert_eq!(recorded(&world).await, [SOURCE, OTHER]);
    let puts = world.plan.count(Operation::PutNotifications);
    done(&world, &world.config, What::Apply).await;
    assert_eq!(world.plan.count(Operation::PutNotifications), puts, "a second time nothing is written");

    let mut edited = world.config.clone();
    edited.buckets.pop();
    edited.buckets[0].source_prefix = "b/".into();
    let report = done(&world, &edited, What::Apply).await;
    assert_eq!((report.configured, report.removed), (vec![SOURCE.to_owned()], vec![OTHER.to_owned()]));
    assert_eq!((own(&world, SOURCE).await, own(&world, OTHER).await), (one("b/"), vec![]));
    assert_eq!(recorded(&world).await, [SOURCE]);

    edited.events = None;
    done(&world, &edited, What::Apply).await;
    assert!(own(&world, SOURCE).await.is_empty() && recorded(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whatever_breaks_nothing_of_others_is_lost_and_nothing_of_the_job_stays() {
    let mut points = 0;
    for fault in FAULTS {
        for what in [What::Apply, What::Remove] {
            for call in 1.. {
                let world = world();
                put_foreign(&world).await;
                let base = if matches!(what, What::Remove) {
                    done(&world, &world.config, What::Apply).await;
                    world.plan.calls()
                } else {
                    0
                };
                world.plan.at_call(base + call, fault);
                let first = run(&world, &world.config, what).await;
                if world.plan.injected() == 0 {
                    assert!(call > 6, "{what:?} makes {call} calls only");
                    break;
                }
                points += 1;
                // Whatever was put is recorded.
                for bucket in [SOURCE, OTHER] {
                    let is_known = recorded(&world).await.contains(&bucket.to_owned());
                    assert!(own(&world, bucket).await.is_empty() || is_known, "{fault:?} {what:?} {call} {first:?}");
                }
                done(&world, &world.config, what).await;
                let expected = if matches!(what, What::Apply) { (one("a/"), one("")) } else { (vec![], vec![]) };
                assert_eq!((own(&world, SOURCE).await, own(&world, OTHER).await), expected, "{fault:?} {call}");
                done(&world, &world.config, What::Remove).await;
                assert!(recorded(&world).await.is_empty() && own(&world, SOURCE).await.is_empty());
            }
        }
    }
    assert!(points > 60, "{points} points only");
}

#[tokio::test(start_paused = true)]
async fn one_bucket_that_can_not_be_configured_does_not_keep_others_from_it() {
    let mut world = world();
    put_foreign(&world).await;
    world.config.buckets.push(BucketPair { source_bucket: "absent".into(), ..pair() });
    let error = run(&world, &world.config, What::Apply).await.unwrap().unwrap_err();
    let NotificationError::Buckets(errors) = &error else { panic!("{error}") };
    assert!(matches!(&errors[..], [BucketError::Request { bucket, .. }] if bucket == "absent"), "{error}");
    assert!(!error.is_retryable() && error.to_string().contains("absent"), "{error}");
    assert_eq!((own(&world, SOURCE).await, own(&world, OTHER).await), (one("a/"), one("")));
    // A bucket that does not exist has no entries.
    let report = done(&world, &world.config, What::Remove).await;
    assert_eq!(report.removed, ["absent", SOURCE, OTHER]);
    assert!(recorded(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_entries_that_overlap_or_what_the_queue_lacks() {
    let refusal = async |prefix: &str| {
        let mut world = world();
        world.config.buckets.truncate(1);
        world.config.buckets[0].source_prefix = prefix.to_owned();
        put_foreign(&world).await;
        world.source.denials().deny(&[Operation::PutNotifications], ErrorClass::Refused, "InvalidArgument");
        run(&world, &world.config, What::Apply).await.unwrap().unwrap_err().to_string()
    };
    let overlap = refusal("f/x").await;
    assert!(overlap.contains("these overlap: f (to function arn:aws:x:r:1:theirs)"), "{overlap}");
    let policy = refusal("a/").await;
    assert!(policy.contains("the policy of the queue must allow s3.amazonaws.com"), "{policy}");
}

#[tokio::test(start_paused = true)]
async fn entries_at_another_service_are_named_and_stay_recorded() {
    let world = world();
    put_foreign(&world).await;
    done(&world, &world.config, What::Apply).await;
    let mut moved = world.config.clone();
    moved.source.service.region = "elsewhere".into();
    moved.buckets.truncate(1);
    let report = done(&world, &moved, What::Remove).await;
    let service = &world.config.source.service;
    let left = [SOURCE, OTHER].map(|bucket| NotifiedBucket::new(service, bucket));
    assert_eq!((report.elsewhere, report.removed.len()), (left.to_vec(), 0));
    assert_eq!(recorded(&world).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_with_events_needs_buckets_that_keep_versions() {
    let mirrors = |world: &mut World| world.config.mirror = Some(MirrorSettings { max_deletes: 1 });
    let refused = async |world: &World| {
        let error = run(world, &world.config, What::Apply).await.unwrap().unwrap_err();
        let NotificationError::Unversioned { side, bucket } = error else { panic!("{error}") };
        (side, bucket)
    };
    let mut world = world();
    put_foreign(&world).await;
    mirrors(&mut world);
    world.config.buckets.truncate(1);
    assert_eq!(refused(&world).await, ("source", SOURCE.to_owned()));
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    assert_eq!(refused(&world).await, ("destination", DESTINATION.to_owned()));
    assert_eq!(own(&world, SOURCE).await, [], "nothing is configured");
    world.destination.create_bucket_with(DESTINATION, BucketSettings::versioned());
    done(&world, &world.config, What::Apply).await;
    assert_eq!(own(&world, SOURCE).await, one("a/"));
    // Somebody else sends the events: the buckets are checked all the same.
    world.config.events = Some(EventSettings { queue_arn: None, types: EventTypes::Created, max_deletes: None });
    world.destination.denials().deny(&[Operation::GetVersioning], ErrorClass::AccessDenied, "AccessDenied");
    let error = run(&world, &world.config, What::Apply).await.unwrap().unwrap_err();
    assert!(error.to_string().ends_with("allow s3:GetBucketVersioning"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_somebody_else_keeps_overwriting_is_reported() {
    /// A service that forgets what it is told.
    #[derive(Clone)]
    struct Forgetful(MemoryStore);
    impl BucketAdmin for Forgetful {
        async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, migration_core::error::ServiceError> {
            self.0.notifications(bucket).await
        }
        async fn put_notifications(
            &self,
            _: &str,
            _: &NotificationConfig,
        ) -> Result<(), migration_core::error::ServiceError> {
            Ok(())
        }
        async fn keeps_versions(&self, bucket: &str) -> Result<bool, migration_core::error::ServiceError> {
            self.0.keeps_versions(bucket).await
        }
    }
    let world = world();
    let (source, ledger) = (Forgetful(world.source.clone()), world.ledger.clone());
    let ports = NotificationPorts { source: &source, destination: &world.destination, ledger: &ledger };
    let error = apply(&world.config, &ports).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("does somebody else write it?"), "{error}");
    assert_eq!(recorded(&world).await, [SOURCE, OTHER], "what may be there is recorded");
}
