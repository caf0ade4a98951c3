//! Runs the conformance suites of the ports on the adapters, against real servers.

use std::time::Duration;

use migration_aws::http::Requests;
use migration_aws::{Access, Reach, S3Store};
use migration_core::config::WriteSettings;
use migration_core::error::Service;
use migration_core::events::Senders;
use migration_core::ports::{DeadLetterQueue, HeadRequest, ObjectStore};
use migration_sqs_dynamodb::{DynamoLedger, QueueAdmin, QueueSpec, SqsQueue, TableAdmin, TableSpec};
use migration_testkit::conformance::{
    BucketUnderTest, Deviation, Failure, MAX_RECEIVES, OwnedBucket, Report, StoreUnderTest, TestQueue, bucket_suite,
    ledger_suite, queue_suite, store_suite, version_suite,
};
use migration_testkit::{DeadLetter, LocalStack, MiniStack};

use crate::support::{Owner, access, fresh, new_bucket};

/// S3 rules that `MiniStack` 1.5.33 breaks.
const STORE_DEVIATIONS: &[Deviation] = &[
    Deviation { case: "keys_beyond_xml_take_uploads", because: "it answers with control characters in its XML" },
    Deviation { case: "tags_of_uploads_travel_along", because: "it drops the tags of CreateMultipartUpload" },
    Deviation { case: "keys_over_1024_bytes_are_refused", because: "it takes keys of any length" },
    Deviation { case: "small_parts_are_refused", because: "it has no smallest part" },
    Deviation { case: "a_wrong_order_is_refused", because: "it takes parts in any order" },
    Deviation { case: "an_empty_list_is_refused", because: "it completes uploads without parts" },
    Deviation { case: "archived_objects_are_seen_and_not_read", because: "it copies archived objects" },
    Deviation { case: "parts_are_read_as_they_were_uploaded", because: "a part that is not there is the whole object" },
    Deviation {
        case: "an_object_put_whole_is_its_own_part_one",
        because: "a part that is not there is the whole object",
    },
    Deviation { case: "a_copy_has_the_storage_class_asked_for", because: "it copies the source's storage class" },
    Deviation { case: "a_copy_has_the_etag_of_its_content", because: "it copies the source's ETag" },
    Deviation { case: "a_copy_can_ask_for_absence", because: "it ignores conditions of copies" },
    Deviation { case: "a_copy_can_ask_for_one_content", because: "it ignores conditions of copies" },
    Deviation { case: "checksums_of_parts_become_that_of_the_object", because: "it says COMPOSITE of whole checksums" },
    Deviation { case: "completion_names_every_checksum", because: "it completes uploads without checksums" },
    Deviation { case: "a_checksum_that_was_not_announced_is_refused", because: "it says InvalidPart of such a part" },
    Deviation { case: "a_part_brings_the_checksum_announced", because: "it takes parts without checksums" },
];

/// S3 rules that `LocalStack` 4.12.0 breaks.
const STRICT_STORE_DEVIATIONS: &[Deviation] = &[
    Deviation { case: "odd_keys_take_uploads", because: "it looks for uploads by prefixes as they are encoded" },
    Deviation { case: "keys_beyond_xml_take_uploads", because: "it answers with control characters in its XML" },
    Deviation { case: "keys_over_1024_bytes_are_refused", because: "it takes uploads of keys of any length" },
    Deviation { case: "listing_starts_after_a_key", because: "it compares the start with encoded keys" },
    Deviation { case: "pages_hold_every_key_once", because: "it compares the start with encoded keys" },
    Deviation { case: "tags_travel_along", because: "it refuses characters in tags that S3 does not name" },
    Deviation { case: "tags_of_uploads_travel_along", because: "it refuses characters in tags that S3 does not name" },
    Deviation { case: "a_wrong_etag_is_refused", because: "it looks at sizes before ETags" },
    Deviation { case: "deleting_nothing_changes_nothing", because: "it has no conditions of deletions" },
    Deviation { case: "a_deletion_can_ask_for_one_content", because: "it has no conditions of deletions" },
    Deviation { case: "a_lock_needs_a_bucket_that_takes_it", because: "it takes locks in every bucket" },
    Deviation { case: "a_copy_takes_everything_along", because: "it refuses characters in tags that S3 does not name" },
    Deviation { case: "a_copy_can_ask_for_absence", because: "it ignores conditions of copies" },
    Deviation { case: "a_copy_can_ask_for_one_content", because: "it ignores conditions of copies" },
    Deviation { case: "completion_names_every_checksum", because: "it completes uploads without checksums" },
];

/// Rules of versions and locks that `MiniStack` 1.5.33 breaks.
const VERSION_DEVIATIONS: &[Deviation] = &[
    Deviation { case: "locks_of_uploads_travel_along", because: "it drops the locks of CreateMultipartUpload" },
    Deviation { case: "a_copy_has_the_lock_asked_for", because: "it copies the source's lock" },
];

/// Rules of versions and locks that `LocalStack` 4.12.0 breaks.
const STRICT_VERSION_DEVIATIONS: &[Deviation] = &[Deviation {
    case: "pages_of_versions_hold_every_key_once",
    because: "it does not encode the next key, and compares it with encoded keys",
}];

/// Rules of bucket settings that `MiniStack` 1.5.33 breaks.
const BUCKET_DEVIATIONS: &[Deviation] = &[];

/// SQS rules that both `MiniStack` 1.5.33 and `LocalStack` 4.12.0 break.
const QUEUE_DEVIATIONS: &[Deviation] =
    &[Deviation { case: "a_delay_over_15_minutes_is_refused", because: "both take any delay" }];

fn assert_passed(report: &Report) {
    println!("{report}");
    assert!(report.passed(), "{report}");
}

/// Returns a store on a new bucket, which sends its requests itself.
async fn store(endpoint: String) -> Result<StoreUnderTest<S3Store>, Failure> {
    let under_test = store_by(Requests::Auto, endpoint).await?;
    // The SDK sends the first request to a bucket.
    let StoreUnderTest { store, bucket } = &under_test;
    store.head(HeadRequest::new(bucket, "first")).await?;
    Ok(under_test)
}

/// Returns a store on a new bucket.
async fn store_by(requests: Requests, endpoint: String) -> Result<StoreUnderTest<S3Store>, Failure> {
    let bucket = new_bucket(endpoint.clone()).await?;
    let (reach, settings) = (Reach { requests, ..Reach::default() }, WriteSettings::default());
    let store = S3Store::through(&access(endpoint), &reach, true, &settings, Service::Destination).await;
    Ok(StoreUnderTest { store, bucket })
}

/// Returns a store on a new bucket, with the bucket's owner.
async fn owned(endpoint: String) -> Result<OwnedBucket<S3Store, Owner>, Failure> {
    Ok(OwnedBucket { under_test: store(endpoint.clone()).await?, owner: Owner::of(endpoint) })
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules() {
    let server = MiniStack::start().await.unwrap();
    assert_passed(&store_suite(async || store(server.endpoint()).await, STORE_DEVIATIONS).await);
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules_through_the_sdk() {
    let server = MiniStack::start().await.unwrap();
    let store = async || store_by(Requests::Sdk, server.endpoint()).await;
    assert_passed(&store_suite(store, STORE_DEVIATIONS).await);
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules_of_a_stricter_server_through_the_sdk() {
    let server = LocalStack::start().await.unwrap();
    let store = async || store_by(Requests::Sdk, server.endpoint()).await;
    assert_passed(&store_suite(store, STRICT_STORE_DEVIATIONS).await);
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules_of_a_stricter_server() {
    let server = LocalStack::start().await.unwrap();
    assert_passed(&store_suite(async || store(server.endpoint()).await, STRICT_STORE_DEVIATIONS).await);
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules_of_versions_and_locks() {
    let server = MiniStack::start().await.unwrap();
    assert_passed(&version_suite(async || owned(server.endpoint()).await, VERSION_DEVIATIONS).await);
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules_of_versions_and_locks_of_a_stricter_server() {
    let server = LocalStack::start().await.unwrap();
    assert_passed(&version_suite(async || owned(server.endpoint()).await, STRICT_VERSION_DEVIATIONS).await);
}

/// Returns the settings of a new bucket, and queues that the service may send to. Topics and functions are none of these
/// services, which check that targets exist.
async fn bucket(endpoint: String, event_bridge: bool) -> Result<BucketUnderTest<S3Store, Owner>, Failure> {
    let StoreUnderTest { store, bucket } = store(endpoint.clone()).await?;
    let queues = QueueAdmin::new(&access(endpoint.clone())).await;
    let arn = async || {
        let name = fresh("events");
        let spec = QueueSpec {
            dead_letter_name: format!("{name}-dlq"),
            name,
            visibility: Duration::from_secs(30),
            retention: Duration::from_hours(1),
            max_receives: MAX_RECEIVES,
            tags: [].into(),
        };
        let url = queues.ensure(&spec).await?.url;
        let senders = Senders { buckets: vec![bucket.clone()], account: None };
        let arn = queues.set_senders(&url, "u-1", Some(&senders)).await?;
        arn.ok_or_else(|| Failure::new("the queue has no ARN"))
    };
    Ok(BucketUnderTest {
        queues: [arn().await?, arn().await?],
        admin: store,
        bucket,
        owner: Owner::of(endpoint),
        others: Vec::new(),
        event_bridge,
    })
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules_of_bucket_settings() {
    let server = MiniStack::start().await.unwrap();
    assert_passed(&bucket_suite(async || bucket(server.endpoint(), true).await, BUCKET_DEVIATIONS).await);
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules_of_bucket_settings_of_a_stricter_server() {
    let server = LocalStack::start().await.unwrap();
    assert_passed(&bucket_suite(async || bucket(server.endpoint(), false).await, &[]).await);
}

struct Queues {
    queue: SqsQueue,
    dead_letters: SqsQueue,
}

impl TestQueue for Queues {
    type Queue = SqsQueue;
    type DeadLetters = SqsQueue;

    fn queue(&self) -> &SqsQueue {
        &self.queue
    }

    fn dead_letter_queue(&self) -> &SqsQueue {
        &self.dead_letters
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Failure> {
        let wait = Duration::ZERO;
        let found = self.dead_letters.receive_dead_letters(10, wait, wait).await?;
        Ok(found.into_iter().map(|found| DeadLetter { body: found.message.body, reason: found.reason }).collect())
    }
}

async fn queues(access: &Access) -> Result<Queues, Failure> {
    let spec = QueueSpec {
        name: fresh("queue"),
        dead_letter_name: fresh("dead-letters"),
        visibility: Duration::from_secs(30),
        retention: Duration::from_hours(1),
        max_receives: MAX_RECEIVES,
        tags: [].into(),
    };
    let urls = QueueAdmin::new(access).await.ensure(&spec).await?;
    let queue = SqsQueue::at(access, urls.url, Some(urls.dead_letter_url.clone())).await;
    Ok(Queues { queue, dead_letters: SqsQueue::at(access, urls.dead_letter_url, None).await })
}

#[tokio::test]
async fn the_sqs_queue_keeps_the_rules() {
    let server = MiniStack::start().await.unwrap();
    let access = access(server.endpoint());
    assert_passed(&queue_suite(async || queues(&access).await, QUEUE_DEVIATIONS).await);
}

#[tokio::test]
async fn the_sqs_queue_keeps_the_rules_of_a_stricter_server() {
    let server = LocalStack::start().await.unwrap();
    let access = access(server.endpoint());
    assert_passed(&queue_suite(async || queues(&access).await, QUEUE_DEVIATIONS).await);
}

#[tokio::test]
async fn the_dynamo_ledger_keeps_the_rules() {
    let server = MiniStack::start().await.unwrap();
    let access = access(server.endpoint());
    let make = async || {
        let spec = TableSpec { name: fresh("table"), tags: [].into() };
        TableAdmin::new(&access).await.ensure(&spec, Duration::from_secs(30)).await?;
        Ok(DynamoLedger::at(&access, spec.name).await)
    };
    assert_passed(&ledger_suite(make, &[]).await);
}
