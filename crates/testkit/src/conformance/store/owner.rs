//! Actions of a bucket's owner past the port, and the rules that need them.

use std::future::Future;
use std::ops::AsyncFn;
use std::sync::atomic::{AtomicU32, Ordering};

use migration_core::ports::ObjectStore;
use migration_local::store::LocalStore;

use super::{StoreUnderTest, locks, versions};
use crate::conformance::report::{Deviation, Failure, Report};
use crate::conformance::run_cases;
use crate::store::{BucketSettings, MemoryStore, Versioning};

/// Actions of a bucket's owner past the port.
pub trait BucketOwner {
    /// Enables or suspends versioning.
    fn set_versioning(&self, bucket: &str, enabled: bool) -> impl Future<Output = Result<(), Failure>>;

    /// Creates an empty bucket with Object Lock and returns its name.
    fn new_locked_bucket(&self) -> impl Future<Output = Result<String, Failure>>;

    /// Deletes a key without naming a version. Returns the id of the delete marker, if it has one.
    fn delete(&self, bucket: &str, key: &str) -> impl Future<Output = Result<Option<String>, Failure>>;

    /// Permanently deletes one version or delete marker.
    fn delete_version(&self, bucket: &str, key: &str, version_id: &str) -> impl Future<Output = Result<(), Failure>>;
}

/// The owner of the buckets of a store on this machine, however requests reach it.
impl BucketOwner for LocalStore {
    async fn set_versioning(&self, bucket: &str, enabled: bool) -> Result<(), Failure> {
        let versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
        LocalStore::set_versioning(self, bucket, versioning);
        Ok(())
    }

    async fn new_locked_bucket(&self) -> Result<String, Failure> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("locked-{}", LAST.fetch_add(1, Ordering::Relaxed));
        self.create_bucket(&name, BucketSettings { object_lock: true, ..BucketSettings::versioned() });
        Ok(name)
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<Option<String>, Failure> {
        Ok(self.delete_key(bucket, key))
    }

    async fn delete_version(&self, bucket: &str, key: &str, version_id: &str) -> Result<(), Failure> {
        self.remove_version(bucket, key, version_id);
        Ok(())
    }
}

/// A store, an empty bucket in it that never had versioning, and its owner.
pub struct OwnedBucket<S, O> {
    /// Store and bucket.
    pub under_test: StoreUnderTest<S>,
    /// Owner of the bucket.
    pub owner: O,
}

/// Runs all cases of versions and locks, each on a bucket from `make`.
pub async fn version_suite<S: ObjectStore, O: BucketOwner>(
    make: impl AsyncFn() -> Result<OwnedBucket<S, O>, Failure>,
    deviations: &[Deviation],
) -> Report {
    let mut report = Report::new("versions", deviations);
    run_cases!(
        report,
        make,
        [
            versions::each_write_makes_a_version,
            versions::uploads_and_copies_make_versions,
            versions::the_newest_version_of_each_key_is_listed,
            versions::pages_of_versions_hold_every_key_once,
            versions::a_deleted_key_is_not_listed,
            versions::a_delete_marker_can_be_removed,
            versions::a_removed_version_is_not_there,
            versions::the_version_null_has_no_id,
            versions::tags_belong_to_versions,
            versions::a_version_is_copied,
            locks::locks_travel_along,
            locks::locks_of_uploads_travel_along,
            locks::a_copy_has_the_lock_asked_for,
        ]
    );
    report
}

impl BucketOwner for MemoryStore {
    async fn set_versioning(&self, bucket: &str, enabled: bool) -> Result<(), Failure> {
        let versioning = if enabled { Versioning::Enabled } else { Versioning::Suspended };
        MemoryStore::set_versioning(self, bucket, versioning);
        Ok(())
    }

    async fn new_locked_bucket(&self) -> Result<String, Failure> {
        let settings = BucketSettings { object_lock: true, ..BucketSettings::versioned() };
        self.create_bucket_with("locked", settings);
        Ok("locked".to_owned())
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<Option<String>, Failure> {
        Ok(MemoryStore::delete(self, bucket, key))
    }

    async fn delete_version(&self, bucket: &str, key: &str, version_id: &str) -> Result<(), Failure> {
        MemoryStore::delete_version(self, bucket, key, version_id);
        Ok(())
    }
}
