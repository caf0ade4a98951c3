//! Runs the suites on the in-memory services.

use migration_core::events::{NotificationEntry, NotificationTarget};
use migration_core::ports::{DeadLetterQueue, MeasuredQueue, Queue};

use super::{
    BucketUnderTest, Failure, MAX_RECEIVES, Outcome, OwnedBucket, Report, StoreUnderTest, TestQueue, bucket_suite,
    ledger_suite, queue_suite, store_suite, version_suite,
};
use crate::{
    Checksums, ConditionalWrites, DeadLetter, Fault, FaultPlan, Faulty, Lies, Lying, MemoryLedger, MemoryQueue,
    MemoryStore, Operation, QueueSettings, StoreSettings, StreamedBodies, TestClock,
};

fn store() -> StoreUnderTest<MemoryStore> {
    let store = MemoryStore::new(TestClock::default(), "tester");
    store.create_bucket("bucket");
    StoreUnderTest { store, bucket: "bucket".into() }
}

struct Under<Q, D> {
    queue: Q,
    dead_letters: D,
    inner: MemoryQueue,
}

impl<Q: Queue + MeasuredQueue, D: DeadLetterQueue + MeasuredQueue> TestQueue for Under<Q, D> {
    type Queue = Q;
    type DeadLetters = D;

    fn queue(&self) -> &Q {
        &self.queue
    }

    fn dead_letter_queue(&self) -> &D {
        &self.dead_letters
    }

    async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Failure> {
        Ok(self.inner.dead_letters())
    }
}

fn memory_queue() -> MemoryQueue {
    MemoryQueue::new(QueueSettings { max_receives: MAX_RECEIVES, ..QueueSettings::default() })
}

fn assert_passed(report: &Report) {
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn the_memory_store_keeps_the_rules() {
    assert_passed(&store_suite(async || Ok(store()), &[]).await);
}

#[tokio::test]
async fn a_faulty_store_without_faults_keeps_the_rules() {
    let plan = FaultPlan::new();
    let make = async || {
        let StoreUnderTest { store, bucket } = store();
        Ok(StoreUnderTest { store: Faulty::new(store, &plan), bucket })
    };
    assert_passed(&store_suite(make, &[]).await);
    assert!(plan.calls() > 2_000 && plan.injected() == 0, "{plan:?}");
}

#[tokio::test]
async fn a_lying_store_without_lies_keeps_the_rules() {
    let lies = Lies::new();
    let make = async || {
        let StoreUnderTest { store, bucket } = store();
        Ok(StoreUnderTest { store: Lying::new(store, &lies), bucket })
    };
    assert_passed(&store_suite(make, &[]).await);
    let make = async || {
        let StoreUnderTest { store, bucket } = store();
        let owner = store.clone();
        Ok(OwnedBucket { under_test: StoreUnderTest { store: Lying::new(store, &lies), bucket }, owner })
    };
    assert_passed(&version_suite(make, &[]).await);
    assert_eq!(lies.told(), 0);
}

#[tokio::test]
async fn the_memory_store_keeps_the_rules_of_versions() {
    let plan = FaultPlan::new();
    let make = async || {
        let StoreUnderTest { store, bucket } = store();
        let owner = store.clone();
        Ok(OwnedBucket { under_test: StoreUnderTest { store: Faulty::new(store, &plan), bucket }, owner })
    };
    assert_passed(&version_suite(make, &[]).await);
    assert!(plan.calls() > 1_000 && plan.injected() == 0, "{plan:?}");
}

/// Returns the settings of a bucket in memory, whose owner sets no targets.
fn bucket(plan: &FaultPlan) -> BucketUnderTest<Faulty<MemoryStore>, MemoryStore> {
    let StoreUnderTest { store, bucket } = store();
    let other = |target, id: &str, arn: &str| NotificationEntry {
        target,
        id: Some(id.to_owned()),
        arn: arn.to_owned(),
        events: vec!["s3:ObjectCreated:*".to_owned()],
        filter: Vec::new(),
    };
    BucketUnderTest {
        admin: Faulty::new(store.clone(), plan),
        bucket,
        owner: store,
        queues: ["arn:aws:sqs:r:1:a".to_owned(), "arn:aws:sqs:r:1:b".to_owned()],
        others: vec![
            other(NotificationTarget::Topic, "t", "arn:aws:sns:r:1:t"),
            other(NotificationTarget::Function, "f", "arn:aws:lambda:r:1:function:f"),
        ],
        event_bridge: true,
    }
}

#[tokio::test]
async fn the_memory_store_keeps_the_rules_of_bucket_settings() {
    let plan = FaultPlan::new();
    assert_passed(&bucket_suite(async || Ok(bucket(&plan)), &[]).await);
    assert!(plan.calls() > 10 && plan.injected() == 0, "{plan:?}");
}

#[tokio::test]
async fn the_memory_queue_keeps_the_rules() {
    let make = async || {
        let queue = memory_queue();
        Ok(Under { inner: queue.clone(), dead_letters: queue.dead_letter_queue(), queue })
    };
    assert_passed(&queue_suite(make, &[]).await);
}

#[tokio::test]
async fn a_faulty_queue_without_faults_keeps_the_rules() {
    let plan = FaultPlan::new();
    let make = async || {
        let inner = memory_queue();
        let dead_letters = Faulty::new(inner.dead_letter_queue(), &plan);
        Ok(Under { queue: Faulty::new(inner.clone(), &plan), dead_letters, inner })
    };
    assert_passed(&queue_suite(make, &[]).await);
}

#[tokio::test]
async fn the_memory_ledger_keeps_the_rules() {
    assert_passed(&ledger_suite(async || Ok(MemoryLedger::new()), &[]).await);
    assert_passed(&ledger_suite(async || Ok(MemoryLedger::with_page(2)), &[]).await);
}

#[tokio::test]
async fn a_faulty_ledger_without_faults_keeps_the_rules() {
    let plan = FaultPlan::new();
    assert_passed(&ledger_suite(async || Ok(Faulty::new(MemoryLedger::new(), &plan)), &[]).await);
}

/// Returns the names of the cases that failed.
fn failed(report: &Report) -> Vec<&'static str> {
    let failed = report.outcomes().iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    failed.map(|(case, _)| *case).collect()
}

async fn failed_of_store(settings: StoreSettings, plan: &FaultPlan) -> Vec<&'static str> {
    let make = async || {
        let store = MemoryStore::with_settings(TestClock::default(), "tester", settings.clone());
        store.create_bucket("bucket");
        Ok(StoreUnderTest { store: Faulty::new(store, plan), bucket: "bucket".into() })
    };
    failed(&store_suite(make, &[]).await)
}

#[tokio::test]
async fn stores_that_break_a_rule_are_found() {
    let settings = StoreSettings { minimum_part: 0, ..StoreSettings::default() };
    assert_eq!(failed_of_store(settings, &FaultPlan::new()).await, ["small_parts_are_refused"]);
    let settings = StoreSettings { list_page: 2_000, parts_page: 2_000, ..StoreSettings::default() };
    let expected = ["pages_hold_every_key_once", "pages_of_parts_hold_every_part_once"];
    assert_eq!(failed_of_store(settings, &FaultPlan::new()).await, expected);
    let plan = FaultPlan::new();
    plan.when(|call| call.operation == Operation::GetObject, Fault::Truncate(1 << 20), u32::MAX);
    let found = failed_of_store(StoreSettings::default(), &plan).await;
    assert!(found.contains(&"a_large_body_comes_whole") && found.contains(&"parts_become_an_object"), "{found:?}");
}

/// Cases that fail without support for conditional writes, in the order of the suite.
const CONDITIONS: &[&str] = &[
    "a_put_can_ask_for_absence",
    "a_put_can_ask_for_one_content",
    "a_deletion_can_ask_for_one_content",
    "a_copy_can_ask_for_absence",
    "a_copy_can_ask_for_one_content",
    "completion_can_ask_for_absence",
    "completion_can_ask_for_one_content",
];
const STREAMS: &[&str] = &[
    "a_streamed_part_arrives_whole",
    "an_empty_streamed_part_is_a_part",
    "a_stream_that_breaks_stores_nothing",
    "a_stream_that_ends_early_stores_nothing",
    "a_stream_with_too_many_bytes_stores_nothing",
    "checksums_of_parts_become_that_of_the_object",
];
const CHECKSUMS_IGNORED: &[&str] = &[
    "checksums_of_parts_become_that_of_the_object",
    "completion_names_every_checksum",
    "a_wrong_checksum_of_a_part_is_refused",
    "a_checksum_that_was_not_announced_is_refused",
    "a_part_brings_the_checksum_announced",
];
const CHECKSUMS_REFUSED: &[&str] = &[
    "checksums_of_parts_become_that_of_the_object",
    "completion_names_every_checksum",
    "a_wrong_checksum_of_a_part_is_refused",
    "a_part_brings_the_checksum_announced",
];

#[tokio::test]
async fn what_a_service_cannot_do_is_found() {
    let settings = StoreSettings::default();
    for (settings, expected) in [
        (StoreSettings { conditional_writes: ConditionalWrites::Ignored, ..settings.clone() }, CONDITIONS),
        (StoreSettings { conditional_writes: ConditionalWrites::Refused, ..settings.clone() }, CONDITIONS),
        (StoreSettings { streamed_bodies: StreamedBodies::Refused, ..settings.clone() }, STREAMS),
        (StoreSettings { streamed_bodies: StreamedBodies::Mangled, ..settings.clone() }, STREAMS),
        (StoreSettings { checksums: Checksums::Ignored, ..settings.clone() }, CHECKSUMS_IGNORED),
        (StoreSettings { checksums: Checksums::Refused, ..settings }, CHECKSUMS_REFUSED),
    ] {
        assert_eq!(failed_of_store(settings.clone(), &FaultPlan::new()).await, expected, "{settings:?}");
    }
}

#[tokio::test]
async fn queues_that_break_a_rule_are_found() {
    let make = async || {
        let queue = MemoryQueue::new(QueueSettings { max_receives: 3, ..QueueSettings::default() });
        queue.deliver_twice(1);
        Ok(Under { inner: queue.clone(), dead_letters: queue.dead_letter_queue(), queue })
    };
    let found = failed(&queue_suite(make, &[]).await);
    for case in ["two_receivers_get_different_messages", "too_many_deliveries_end_among_the_dead_letters"] {
        assert!(found.contains(&case), "{found:?}");
    }
    assert!(!found.contains(&"a_waiting_receive_wakes_on_send"), "{found:?}");
}

#[tokio::test]
async fn ledgers_that_break_a_rule_are_found() {
    // A write that is applied twice but reported once.
    let make = async || {
        let plan = FaultPlan::new();
        plan.when(
            |call| call.operation == Operation::WriteItems,
            Fault::FailAfter(migration_core::error::ErrorClass::Transient),
            1,
        );
        Ok(Faulty::new(MemoryLedger::new(), &plan))
    };
    let found = failed(&ledger_suite(make, &[]).await);
    for case in ["absence_can_be_asked_for", "additions_make_and_change_items", "additions_at_once_all_count"] {
        assert!(found.contains(&case), "{found:?}");
    }
    assert!(!found.contains(&"an_item_is_put_and_got"), "{found:?}");
}
