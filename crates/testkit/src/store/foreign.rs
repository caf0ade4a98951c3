//! Changes by other clients and inspection, past the port and its checks.

use bytes::Bytes;
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, Clock, Tags};

use super::MemoryStore;
use super::object::{StoredObject, WriteLogEntry};
use super::settings::{BucketSettings, Versioning};
use super::state::with_checksum;
use crate::lock;

impl MemoryStore {
    /// Creates a bucket unless it exists.
    pub fn create_bucket(&self, bucket: &str) {
        lock(&self.state).buckets.entry(bucket.to_owned()).or_default();
    }

    /// Creates a bucket with these settings, or changes those of an existing one.
    pub fn create_bucket_with(&self, bucket: &str, settings: BucketSettings) {
        lock(&self.state).buckets.entry(bucket.to_owned()).or_default().settings = settings;
    }

    /// Sets the versioning of an existing bucket.
    pub fn set_versioning(&self, bucket: &str, versioning: Versioning) {
        if let Some(bucket) = lock(&self.state).buckets.get_mut(bucket) {
            bucket.settings.versioning = versioning;
        }
    }

    /// Removes a bucket with its content.
    pub fn remove_bucket(&self, bucket: &str) {
        lock(&self.state).buckets.remove(bucket);
    }

    /// Puts an object past all checks and switches, creates its bucket if needed, and returns the ETag.
    pub fn insert(&self, bucket: &str, key: &str, content: impl Into<Bytes>) -> ETag {
        self.insert_with(bucket, key, content, &Attributes::default(), &Tags::new())
    }

    /// Puts an object with attributes and tags.
    pub fn insert_with(
        &self,
        bucket: &str,
        key: &str,
        content: impl Into<Bytes>,
        attributes: &Attributes,
        tags: &Tags,
    ) -> ETag {
        let object = StoredObject::new(content.into(), attributes, tags, self.clock.now());
        self.place(bucket, key, object)
    }

    /// Puts an object uploaded in these parts.
    pub fn insert_parts(&self, bucket: &str, key: &str, parts: &[Bytes], attributes: &Attributes, tags: &Tags) -> ETag {
        let object = StoredObject::of_parts(parts, attributes, tags, self.clock.now());
        self.place(bucket, key, object)
    }

    fn place(&self, bucket: &str, key: &str, object: StoredObject) -> ETag {
        let object = with_checksum(object, &self.settings);
        lock(&self.state).buckets.entry(bucket.to_owned()).or_default().store(key, object).etag
    }

    /// Deletes an object as another client would. In a bucket with versioning, returns the id of the delete marker.
    pub fn delete(&self, bucket: &str, key: &str) -> Option<String> {
        lock(&self.state).buckets.get_mut(bucket)?.delete(key)
    }

    /// Permanently removes one version or delete marker; `null` names the one without an id.
    pub fn delete_version(&self, bucket: &str, key: &str, version_id: &str) {
        if let Some(bucket) = lock(&self.state).buckets.get_mut(bucket) {
            bucket.delete_version(key, version_id);
        }
    }

    /// Removes an object with all its versions.
    pub fn remove(&self, bucket: &str, key: &str) {
        if let Some(bucket) = lock(&self.state).buckets.get_mut(bucket) {
            bucket.objects.remove(key);
        }
    }

    /// Makes an archived object readable.
    pub fn restore(&self, bucket: &str, key: &str) {
        let mut state = lock(&self.state);
        let versions = state.buckets.get_mut(bucket).and_then(|bucket| bucket.objects.get_mut(key));
        if let Some(object) = versions.and_then(|versions| versions.current_mut()) {
            object.restored = true;
        }
    }

    /// Returns an object as stored.
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        lock(&self.state).buckets.get(bucket)?.current(key).cloned()
    }

    /// Returns a version of an object as stored.
    pub fn version(&self, bucket: &str, key: &str, version_id: &str) -> Option<StoredObject> {
        lock(&self.state).buckets.get(bucket)?.objects.get(key)?.find(version_id)?.object.clone()
    }

    /// Returns the content of an object.
    pub fn content(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.object(bucket, key).map(|object| object.content)
    }

    /// Returns all keys whose newest version is no delete marker, in byte order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let state = lock(&self.state);
        let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
        let there = bucket.objects.iter().filter(|(_, versions)| versions.current().is_some());
        there.map(|(key, _)| key.clone()).collect()
    }

    /// Returns key and id of each open upload of a bucket.
    pub fn open_uploads(&self, bucket: &str) -> Vec<(String, String)> {
        let state = lock(&self.state);
        let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
        bucket.uploads.iter().map(|(id, upload)| (upload.key.clone(), id.clone())).collect()
    }

    /// Removes an upload, as another client or a lifecycle rule would.
    pub fn end_upload(&self, bucket: &str, upload_id: &str) {
        if let Some(bucket) = lock(&self.state).buckets.get_mut(bucket) {
            bucket.uploads.remove(upload_id);
        }
    }

    /// Returns every object that became visible in a bucket, in order.
    pub fn write_log(&self, bucket: &str) -> Vec<WriteLogEntry> {
        lock(&self.state).buckets.get(bucket).map(|b| b.log.clone()).unwrap_or_default()
    }

    /// Returns the highest number of concurrent requests of a bucket.
    pub fn most_in_flight(&self, bucket: &str) -> usize {
        self.traffic.most(bucket)
    }

    /// Returns the number of throttled requests of a bucket.
    pub fn throttled(&self, bucket: &str) -> u64 {
        self.traffic.throttled(bucket)
    }
}
