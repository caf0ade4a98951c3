//! Runs the conformance suites of the store: in memory, on disk, and on a directory that is opened again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use migration_core::events::{NotificationEntry, NotificationTarget};
use migration_local::store::{BucketSettings, LocalStore, StoreSettings};
use migration_testkit::TestClock;
use migration_testkit::conformance::{
    BucketUnderTest, OwnedBucket, Report, StoreUnderTest, bucket_suite, store_suite, version_suite,
};

use crate::open;
use crate::reopening::Reopening;

fn assert_passed(report: &Report) {
    println!("{report}");
    assert!(report.passed(), "{report}");
}

/// Returns a name that no other case of this process uses.
pub fn fresh(what: &str) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", LAST.fetch_add(1, Ordering::Relaxed))
}

fn under_test(store: &LocalStore) -> StoreUnderTest<LocalStore> {
    let bucket = fresh("bucket");
    store.create_bucket(&bucket, BucketSettings::default());
    StoreUnderTest { store: store.clone(), bucket }
}

/// The entries of others are of every kind, since the store sends nothing and checks no target.
fn bucket_under_test<B, O>(admin: B, bucket: String, owner: O) -> BucketUnderTest<B, O> {
    let other = |target, arn: &str| NotificationEntry {
        target,
        id: Some(arn.to_owned()),
        arn: arn.to_owned(),
        events: vec!["s3:ObjectCreated:*".to_owned()],
        filter: Vec::new(),
    };
    BucketUnderTest {
        admin,
        bucket,
        owner,
        queues: ["arn:aws:sqs:r:1:a".to_owned(), "arn:aws:sqs:r:1:b".to_owned()],
        others: vec![
            other(NotificationTarget::Topic, "arn:aws:sns:r:1:t"),
            other(NotificationTarget::Function, "arn:aws:lambda:r:1:function:f"),
        ],
        event_bridge: true,
    }
}

async fn check(store: &LocalStore) {
    assert_passed(&store_suite(async || Ok(under_test(store)), &[]).await);
    let bucket = async || Ok(bucket_under_test(store.clone(), under_test(store).bucket, store.clone()));
    assert_passed(&bucket_suite(bucket, &[]).await);
    let owned = async || Ok(OwnedBucket { under_test: under_test(store), owner: store.clone() });
    assert_passed(&version_suite(owned, &[]).await);
}

#[tokio::test]
async fn a_store_in_memory_keeps_the_rules() {
    check(&LocalStore::in_memory(Arc::new(TestClock::default()), StoreSettings::default())).await;
}

#[tokio::test]
async fn a_store_on_disk_keeps_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    check(&open(directory.path())).await;
    check(&open(directory.path())).await;
}

#[tokio::test]
async fn a_store_that_is_opened_again_between_requests_keeps_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let make = async || {
        let store = Reopening::new(directory.path().join(fresh("store")));
        store.create_bucket("bucket", BucketSettings::default()).await;
        Ok(StoreUnderTest { store, bucket: "bucket".to_owned() })
    };
    assert_passed(&store_suite(make, &[]).await);
    let bucket = async || {
        let StoreUnderTest { store, bucket } = make().await?;
        Ok(bucket_under_test(store.clone(), bucket, store))
    };
    assert_passed(&bucket_suite(bucket, &[]).await);
    let owned = async || {
        let under_test = make().await?;
        Ok(OwnedBucket { owner: under_test.store.clone(), under_test })
    };
    assert_passed(&version_suite(owned, &[]).await);
}
