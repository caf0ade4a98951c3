//! Runs the conformance suites of the store on the adapter, through the server.

use migration_aws::S3Store;
use migration_local::store::{BucketSettings, LocalStore, StoreSettings};
use migration_s3_server::Server;
use migration_testkit::conformance::{OwnedBucket, Report, StoreUnderTest, store_suite, version_suite};

use crate::support::{client, fresh, in_memory, on_disk, serve};

fn assert_passed(report: &Report) {
    println!("{report}");
    assert!(report.passed(), "{report}");
}

async fn under_test(server: &Server, store: &LocalStore) -> StoreUnderTest<S3Store> {
    let bucket = fresh("bucket");
    store.create_bucket(&bucket, BucketSettings::default());
    StoreUnderTest { store: client(server).await, bucket }
}

async fn check(store: &LocalStore) {
    let server = serve(store).await;
    assert_passed(&store_suite(async || Ok(under_test(&server, store).await), &[]).await);
    let owned = async || Ok(OwnedBucket { under_test: under_test(&server, store).await, owner: store.clone() });
    assert_passed(&version_suite(owned, &[]).await);
    server.stop().await;
}

#[tokio::test]
async fn the_server_keeps_the_rules_in_memory() {
    check(&in_memory(StoreSettings::default())).await;
}

#[tokio::test]
async fn the_server_keeps_the_rules_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    check(&on_disk(directory.path())).await;
    check(&on_disk(directory.path())).await;
}
