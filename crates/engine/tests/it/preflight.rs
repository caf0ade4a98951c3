//! What a preflight finds, and that it leaves nothing behind.

use migration_core::config::Versioning as VersioningSettings;
use migration_core::error::{ErrorClass, Service, ServiceFault};
use migration_core::manifest::ManifestLocation;
use migration_core::pair::BucketPair;
use migration_core::ports::ObjectStore;
use migration_core::preflight::{Report, Shortcoming, upload_key};
use migration_core::records;
use migration_engine::{preflight, uploads};
use migration_ledger::view;
use migration_testkit::{BucketSettings, Denials, Lie, Operation, Refusal, Scope};

use crate::world::{DESTINATION, FAULTS, JOB, SOURCE, World, pair};

/// A job whose source has three objects.
fn world() -> World {
    let world = World::new();
    for key in ["a", "b", "c"] {
        world.source.insert(SOURCE, key, key);
    }
    world
}

async fn check(world: &World) -> Report {
    Box::pin(preflight::check(&world.process())).await
}

/// Returns side, problem and actions of what was found.
async fn found(world: &World) -> Vec<(Service, Shortcoming, String)> {
    let report = check(world).await;
    report.findings.into_iter().map(|found| (found.side, found.problem, found.actions.join(" "))).collect()
}

/// Fails unless nothing is visible, open or recorded at the destination.
async fn assert_clean(world: &World, context: &str) {
    assert_eq!(world.destination.open_uploads(DESTINATION), [], "{context}");
    assert_eq!(world.destination.write_log(DESTINATION).len(), 0, "{context}");
    assert_eq!(view::uploads(&world.ledger, JOB).await.unwrap().records, [], "{context}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_works_passes_with_few_requests_and_leaves_nothing() {
    let world = world();
    assert_eq!(check(&world).await, Report::default());
    assert_clean(&world, "passed").await;
    let s3 = [
        (Operation::ListObjects, 2),
        (Operation::GetObject, 3),
        (Operation::GetTags, 1),
        (Operation::CreateUpload, 1),
        (Operation::AbortUpload, 1),
    ];
    for (operation, expected) in s3 {
        assert_eq!(world.plan.count(operation), expected, "{operation}");
    }
    assert!(world.plan.calls() <= 20, "{} calls", world.plan.calls());
}

#[tokio::test(start_paused = true)]
async fn buckets_of_many_pairs_are_checked_once_a_prefix() {
    let mut world = world();
    let pair = |n: u32| BucketPair { source_prefix: format!("{}/", n % 2), ..pair() };
    world.config.buckets = (0..50).map(pair).collect();
    assert_eq!(check(&world).await, Report::default());
    assert_eq!((world.plan.count(Operation::ListObjects), world.plan.count(Operation::CreateUpload)), (4, 2));
    assert_clean(&world, "many pairs").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_is_named_with_the_actions_that_it_needs() {
    use Shortcoming::{AccessDenied, KmsDenied, ObjectsDenied, TagsDenied, UploadLeft};
    let at_source: fn(&World) -> &Denials = |world| world.source.denials();
    let at_destination: fn(&World) -> &Denials = |world| world.destination.denials();
    let (source, destination) = (Service::Source, Service::Destination);
    for (denials, operation, code, side, problem, actions) in [
        (at_source, Operation::ListObjects, "AccessDenied", source, AccessDenied, "s3:ListBucket"),
        (at_source, Operation::GetObject, "AccessDenied", source, ObjectsDenied, "s3:GetObject s3:GetObjectTagging"),
        (at_source, Operation::GetObject, "KMS.AccessDenied", source, KmsDenied, "kms:Decrypt"),
        (
            at_source,
            Operation::GetTags,
            "AccessDenied",
            source,
            TagsDenied,
            "s3:GetObjectTagging s3:GetObjectVersionTagging",
        ),
        (at_destination, Operation::ListObjects, "AccessDenied", destination, AccessDenied, "s3:ListBucket"),
        (
            at_destination,
            Operation::CreateUpload,
            "AccessDenied",
            destination,
            AccessDenied,
            "s3:PutObject s3:PutObjectTagging",
        ),
        (at_destination, Operation::CreateUpload, "KMS.AccessDenied", destination, AccessDenied, "kms:GenerateDataKey"),
        (at_destination, Operation::AbortUpload, "AccessDenied", destination, UploadLeft, "s3:AbortMultipartUpload"),
        (at_destination, Operation::ListParts, "AccessDenied", destination, UploadLeft, "s3:ListMultipartUploadParts"),
    ] {
        let world = world();
        denials(&world).deny(&[operation], ErrorClass::AccessDenied, code);
        let report = check(&world).await;
        let shown: Vec<_> = report.findings.iter().map(|f| (f.side, f.problem, f.actions.join(" "))).collect();
        assert_eq!(shown, [(side, problem, actions.to_owned())], "{operation} {code}");
        assert_eq!(report.stops(), problem == AccessDenied, "{operation}");
        let finding = &report.findings[0];
        assert!(finding.resource.starts_with("arn:aws:s3:::"), "{finding}");
        assert!(finding.message.contains(code) && finding.message.contains("refused by the test"), "{finding}");
        denials(&world).heal();
        assert_eq!(check(&world).await, Report::default(), "{operation} {code}: the permission was granted");
        assert_clean(&world, code).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_can_not_be_aborted_stays_recorded_and_no_second_one_is_created() {
    let world = world();
    world.destination_lies.tell(Lie::NotDone, Scope::always().on(&[Operation::AbortUpload]));
    for attempt in 0..3 {
        let found = found(&world).await;
        assert!(matches!(found[..], [(Service::Destination, Shortcoming::UploadLeft, _)]), "{attempt}: {found:?}");
        assert_eq!(world.destination.open_uploads(DESTINATION).len(), 1, "{attempt}");
        assert_eq!(view::uploads(&world.ledger, JOB).await.unwrap().records.len(), 1, "{attempt}");
    }
    world.destination_lies.clear();
    assert_eq!(check(&world).await, Report::default());
    assert_clean(&world, "aborted later").await;
}

#[tokio::test(start_paused = true)]
async fn a_side_that_can_not_be_used_stops_runs_with_its_reason() {
    let all = |class| move |denials: &Denials| denials.deny_all(class, "X");
    for (class, problem) in [
        (ErrorClass::Service(ServiceFault::CredentialsInvalid), Shortcoming::CredentialsInvalid),
        (ErrorClass::SignatureMismatch, Shortcoming::CredentialsInvalid),
        (ErrorClass::Service(ServiceFault::ClockSkewed), Shortcoming::ClockSkewed),
        (ErrorClass::Service(ServiceFault::WrongRegion), Shortcoming::WrongRegion),
        (ErrorClass::NoAnswer, Shortcoming::Unreachable),
    ] {
        let world = world();
        all(class)(world.source.denials());
        all(class)(world.destination.denials());
        let report = check(&world).await;
        let found: Vec<_> = report.findings.iter().map(|found| (found.side, found.problem)).collect();
        assert_eq!(found, [(Service::Source, problem), (Service::Destination, problem)], "{class:?}");
        assert!(report.stops());
        assert_clean(&world, "unusable").await;
    }
    let world = world();
    world.source.remove_bucket(SOURCE);
    world.destination.remove_bucket(DESTINATION);
    let found = found(&world).await;
    let missing = |side| (side, Shortcoming::NotFound, String::new());
    assert_eq!(found, [missing(Service::Source), missing(Service::Destination)]);
}

#[tokio::test(start_paused = true)]
async fn a_404_of_a_proxy_is_no_answer_and_says_so() {
    let world = world();
    world.destination_lies.tell(Lie::Absent, Scope::always().on(&[Operation::ListObjects]));
    let report = check(&world).await;
    assert_eq!(report.findings.len(), 1);
    let finding = &report.findings[0];
    assert_eq!((finding.problem, finding.actions.len()), (Shortcoming::Unreachable, 0));
    assert!(finding.message.contains("404 page not found"), "{finding}");
}

#[tokio::test(start_paused = true)]
async fn tags_are_neither_asked_for_nor_written_where_they_are_not_preserved() {
    let mut world = world();
    world.config.transfer.preserve.tags = false;
    world.source.denials().deny(&[Operation::GetTags], ErrorClass::AccessDenied, "AccessDenied");
    assert_eq!(check(&world).await, Report::default());
    assert_eq!(world.plan.count(Operation::GetTags), 0);
    // A service without tags.
    world.config.transfer.preserve.tags = true;
    world.source.denials().heal();
    world.source.denials().deny(&[Operation::GetTags], ErrorClass::Refused, "NotImplemented");
    assert_eq!(check(&world).await, Report::default());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_only_its_tags_are_denied_is_created_without() {
    let world = world();
    world
        .destination_lies
        .tell(Lie::Refuse(Refusal::ACCESS_DENIED), Scope::always().on(&[Operation::CreateUpload]).first(1));
    let found = found(&world).await;
    let expected = (Service::Destination, Shortcoming::TagsDenied, "s3:PutObject s3:PutObjectTagging".to_owned());
    assert_eq!(found, [expected]);
    assert_clean(&world, "without tags").await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_the_job_does_not_read_are_not_tried() {
    let mut world = world();
    world.config.ignore = vec![format!("{SOURCE}/*")];
    world.source.denials().deny(&[Operation::GetObject], ErrorClass::AccessDenied, "AccessDenied");
    assert_eq!(check(&world).await, Report::default());
    assert_eq!(world.plan.count(Operation::GetObject), 0);
}

#[tokio::test(start_paused = true)]
async fn versions_and_clocks_are_looked_at() {
    let mut world = world();
    world.config.versioning = VersioningSettings { compare_version_id: true, ..VersioningSettings::default() };
    assert_eq!(found(&world).await, [(Service::Source, Shortcoming::Unversioned, String::new())]);
    let mut versioned = World::versioned();
    versioned.config.versioning = world.config.versioning;
    versioned.source.insert(SOURCE, "a", "a");
    assert_eq!(check(&versioned).await, Report::default());
    assert_eq!(versioned.plan.count(Operation::ListVersions), 1);
    versioned.source = versioned.source.clone().ahead_by(299_000);
    versioned.destination = versioned.destination.clone().ahead_by(-1_200_000);
    let report = check(&versioned).await;
    assert_eq!(report.findings[0].problem, Shortcoming::ClockInaccurate);
    assert!(report.findings.len() == 1 && !report.stops(), "the SDK signs with the service's time");
    assert!(report.findings[0].message.contains("20 minutes behind"), "{}", report.findings[0]);
}

#[tokio::test(start_paused = true)]
async fn a_job_with_a_work_list_may_do_without_listings() {
    let mut world = world();
    world.config.manifest = Some(ManifestLocation {
        ..serde_json::from_value(serde_json::json!({"bucket": "lists", "key": "a.csv"})).unwrap()
    });
    world.source.denials().deny(&[Operation::ListObjects], ErrorClass::AccessDenied, "AccessDenied");
    let report = check(&world).await;
    assert_eq!(report.findings[0].problem, Shortcoming::ListingDenied);
    assert!(!report.stops());
}

#[tokio::test(start_paused = true)]
async fn whatever_breaks_the_next_preflight_or_the_deletion_of_the_job_leaves_nothing_open() {
    let mut points = 0;
    for is_deleted in [false, true] {
        for fault in FAULTS {
            for call in 1.. {
                let world = world();
                world.plan.at_call(call, fault);
                let first = async {
                    let process = world.process();
                    let report = Box::pin(preflight::check(&process)).await;
                    (world.plan.injected() > 0).then_some(report)
                };
                let survived = tokio::select! {
                    report = first => Some(report),
                    () = world.plan.crashed() => None,
                };
                world.plan.restart();
                if world.plan.injected() == 0 {
                    assert!(call > 12, "a preflight makes {call} calls only");
                    break;
                }
                points += 1;
                let context = format!("{fault:?} at call {call}: {survived:?}");
                assert_eq!(world.destination.write_log(DESTINATION).len(), 0, "{context}");
                if is_deleted {
                    let report = uploads::abort_all(&world.process()).await.unwrap();
                    assert_eq!(report.left, [], "{context}");
                } else {
                    assert_eq!(check(&world).await, Report::default(), "{context}");
                }
                assert_clean(&world, &context).await;
            }
        }
    }
    assert!(points > 150, "{points} points only");
}

#[tokio::test(start_paused = true)]
async fn the_ledger_is_told_before_an_upload_is_created() {
    let world = world();
    world.ledger.denials().deny_all(ErrorClass::Service(ServiceFault::AccessDenied), "AccessDenied");
    let report = check(&world).await;
    let found: Vec<_> = report.findings.iter().map(|found| (found.side, found.problem)).collect();
    assert_eq!(found, [(Service::Ledger, Shortcoming::AccessDenied)]);
    assert_eq!(world.plan.count(Operation::CreateUpload), 0);
}

#[tokio::test(start_paused = true)]
async fn uploads_of_others_are_left_alone() {
    let world = world();
    world.destination.create_bucket_with(DESTINATION, BucketSettings::default());
    let theirs = crate::world::foreign::begin_upload(&world.destination, DESTINATION, "a", "x".into()).await;
    assert_eq!(check(&world).await, Report::default());
    let open = world.destination.open_uploads(DESTINATION);
    assert_eq!(open.len(), 1);
    assert_eq!(world.destination.list_uploads(DESTINATION, "a").await.unwrap()[0].upload_id, theirs);
    let key = upload_key("", JOB);
    assert!(world.destination.list_uploads(DESTINATION, &key).await.unwrap().is_empty());
    assert!(records::upload_key(JOB, DESTINATION, &key).sort.len() <= 64);
}
