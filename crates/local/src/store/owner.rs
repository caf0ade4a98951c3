//! Buckets, and changes and inspection past the checks of requests. On disk, a change is in the index when
//! [`LocalStore::committed`] returns.

use std::io;

use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use migration_core::etag::ETag;
use migration_core::ports::Operation;

use super::LocalStore;
use super::object::StoredObject;
use super::settings::{BucketSettings, Versioning};

/// A bucket, as its owner sees it.
#[derive(Clone, Debug)]
pub struct BucketInfo {
    /// Name.
    pub name: String,
    /// Time of creation, in milliseconds since 1970.
    pub created: i64,
    /// Settings.
    pub settings: BucketSettings,
}

impl LocalStore {
    /// Creates a bucket with these settings, or changes those of an existing one.
    pub fn create_bucket(&self, bucket: &str, settings: BucketSettings) {
        let now = self.shared.clock.now();
        self.change(|state| state.create_bucket(bucket, settings, now));
    }

    /// Returns all buckets, in order of their names.
    pub fn buckets(&self) -> Vec<BucketInfo> {
        let info = |state: &mut super::StoreState| {
            let buckets = state.buckets.iter().map(|(name, bucket)| BucketInfo {
                name: name.clone(),
                created: bucket.created,
                settings: bucket.settings,
            });
            buckets.collect()
        };
        self.read(info)
    }

    /// Returns the settings of a bucket, if there is one of this name.
    pub fn bucket_settings(&self, bucket: &str) -> Option<BucketSettings> {
        self.read(|state| state.buckets.get(bucket).map(|bucket| bucket.settings))
    }

    /// Sets the versioning of an existing bucket.
    pub fn set_versioning(&self, bucket: &str, versioning: Versioning) {
        self.change(|state| {
            if let Some(settings) = state.buckets.get(bucket).map(|bucket| bucket.settings) {
                state.create_bucket(bucket, BucketSettings { versioning, ..settings }, 0);
            }
        });
    }

    /// Removes a bucket with its content.
    pub fn remove_bucket(&self, bucket: &str) {
        self.change(|state| state.remove_bucket(bucket));
    }

    /// Removes a bucket that has neither versions nor open uploads.
    pub fn remove_empty_bucket(&self, bucket: &str) -> Result<(), ServiceError> {
        const REMOVE: &str = "delete bucket";
        self.change(|state| match state.buckets.get(bucket) {
            None => {
                let class = ErrorClass::Service(ServiceFault::NotFound);
                Err(ServiceError::new(class, REMOVE, "NoSuchBucket", "the specified bucket does not exist"))
            }
            Some(found) if !found.objects.is_empty() || !found.uploads.is_empty() => {
                let message = "the bucket you tried to delete is not empty";
                Err(ServiceError::new(ErrorClass::Refused, REMOVE, "BucketNotEmpty", message))
            }
            Some(_) => {
                state.remove_bucket(bucket);
                Ok(())
            }
        })
    }

    /// Puts an object past all checks, creates its bucket if needed, and returns the ETag. On disk, the content is
    /// written first.
    pub fn insert(&self, bucket: &str, key: &str, mut object: StoredObject) -> io::Result<ETag> {
        let now = self.shared.clock.now();
        if let Some(directory) = &self.shared.directory {
            object.content = object.content.into_files(directory)?;
        }
        Ok(self.change(|state| {
            if !state.buckets.contains_key(bucket) {
                state.create_bucket(bucket, BucketSettings::default(), now);
            }
            let etag = object.etag.clone();
            let stored = state.bucket(Operation::PutObject, bucket).map(|bucket| bucket.store(key, object));
            stored.map_or(etag, |stored| stored.etag)
        }))
    }

    /// Deletes an object as another client would. In a bucket with versioning, returns the id of the delete marker.
    pub fn delete_key(&self, bucket: &str, key: &str) -> Option<String> {
        let now = self.shared.clock.now();
        self.change(|state| state.buckets.get_mut(bucket)?.delete(key, now))
    }

    /// Permanently removes one version or delete marker; `null` names the one without an id.
    pub fn remove_version(&self, bucket: &str, key: &str, version_id: &str) {
        self.change(|state| state.buckets.get_mut(bucket).map(|bucket| bucket.delete_version(key, version_id)));
    }

    /// Removes an object with all its versions.
    pub fn remove_key(&self, bucket: &str, key: &str) {
        self.change(|state| state.buckets.get_mut(bucket).map(|bucket| bucket.remove_key(key)));
    }

    /// Makes an archived object readable.
    pub fn restore(&self, bucket: &str, key: &str) {
        self.change(|state| {
            if let Some(bucket) = state.buckets.get_mut(bucket) {
                bucket.change_object(key, None, |object| object.restored = true);
            }
        });
    }

    /// Returns an object, or a version of it, as stored.
    pub fn object(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Option<StoredObject> {
        self.read(|state| state.buckets.get(bucket)?.find(Operation::GetObject, key, version_id).ok().cloned())
    }

    /// Returns all keys whose newest version is no delete marker, in byte order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.read(|state| {
            let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
            let there = bucket.objects.iter().filter(|(_, versions)| versions.current().is_some());
            there.map(|(key, _)| key.clone()).collect()
        })
    }

    /// Returns key and id of each open upload of a bucket.
    pub fn open_uploads(&self, bucket: &str) -> Vec<(String, String)> {
        self.read(|state| {
            let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
            bucket.uploads.iter().map(|(id, upload)| (upload.key.clone(), id.clone())).collect()
        })
    }

    /// Removes an upload, as another client or a lifecycle rule would.
    pub fn end_upload(&self, bucket: &str, upload_id: &str) {
        self.change(|state| state.buckets.get_mut(bucket).map(|bucket| bucket.remove_upload(upload_id)));
    }

    /// Returns the highest number of concurrent requests of a bucket.
    pub fn most_in_flight(&self, bucket: &str) -> usize {
        self.shared.traffic.most(bucket)
    }

    /// Returns the number of throttled requests of a bucket.
    pub fn throttled(&self, bucket: &str) -> u64 {
        self.shared.traffic.throttled(bucket)
    }
}
