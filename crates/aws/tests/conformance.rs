//! The adapters keep the rules of the ports, against a real server.

mod support;

use std::time::Duration;

use migration_aws::{Access, DynamoLedger, QueueAdmin, QueueSpec, S3Store, SqsQueue, TableAdmin, TableSpec};
use migration_core::error::Side;
use migration_testkit::conformance::{
    Deviation, Failure, MAX_RECEIVES, Report, StoreUnderTest, TestQueue, ledger_suite, queue_suite, store_suite,
};
use migration_testkit::{DeadLetter, MiniStack};

use support::{access, fresh, new_bucket};

/// Rules of S3 that `MiniStack` 1.5.33 doesn't keep.
const STORE_DEVIATIONS: &[Deviation] = &[
    Deviation { case: "keys_beyond_xml_take_uploads", because: "it answers with control characters in its XML" },
    Deviation { case: "tags_of_uploads_travel_along", because: "it drops the tags of CreateMultipartUpload" },
    Deviation { case: "keys_over_1024_bytes_are_refused", because: "it takes keys of any length" },
    Deviation { case: "small_parts_are_refused", because: "it has no smallest part" },
    Deviation { case: "a_wrong_order_is_refused", because: "it takes parts in any order" },
    Deviation { case: "an_empty_list_is_refused", because: "it completes uploads without parts" },
];

/// Rules of SQS that `MiniStack` 1.5.33 doesn't keep.
const QUEUE_DEVIATIONS: &[Deviation] =
    &[Deviation { case: "a_delay_over_15_minutes_is_refused", because: "it takes any delay" }];

fn assert_passed(report: &Report) {
    println!("{report}");
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn the_s3_store_keeps_the_rules() {
    let server = MiniStack::start().await.unwrap();
    let make = async || {
        let store = S3Store::with_access(&access(&server), true, None, Side::Destination).await;
        Ok(StoreUnderTest { store, bucket: new_bucket(&server).await? })
    };
    assert_passed(&store_suite(make, STORE_DEVIATIONS).await);
}

struct Queues {
    queue: SqsQueue,
    dead_letters: SqsQueue,
}

impl TestQueue for Queues {
    type Queue = SqsQueue;

    fn queue(&self) -> &SqsQueue {
        &self.queue
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
    let access = access(&server);
    assert_passed(&queue_suite(async || queues(&access).await, QUEUE_DEVIATIONS).await);
}

#[tokio::test]
async fn the_dynamo_ledger_keeps_the_rules() {
    let server = MiniStack::start().await.unwrap();
    let access = access(&server);
    let make = async || {
        let spec = TableSpec { name: fresh("table"), tags: [].into() };
        TableAdmin::new(&access).await.ensure(&spec, Duration::from_secs(30)).await?;
        Ok(DynamoLedger::at(&access, spec.name).await)
    };
    assert_passed(&ledger_suite(make, &[]).await);
}
