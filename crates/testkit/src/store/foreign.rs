//! What others do to a service, and what is seen of it, past the port and all its checks.

use bytes::Bytes;
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, Clock, Tags};

use super::MemoryStore;
use super::object::{StoredObject, WriteLogEntry};
use super::settings::{BucketSettings, Versioning};
use super::state::with_checksum;
use crate::lock;

impl MemoryStore {
    /// Makes a bucket, or leaves one that is there as it is.
    pub fn create_bucket(&self, bucket: &str) {
        lock(&self.state).buckets.entry(bucket.to_owned()).or_default();
    }

    /// Makes a bucket that behaves so, or changes how one behaves that is there.
    pub fn create_bucket_with(&self, bucket: &str, settings: BucketSettings) {
        lock(&self.state).buckets.entry(bucket.to_owned()).or_default().settings = settings;
    }

    /// Makes a bucket that is there keep versions, or no new ones.
    pub fn set_versioning(&self, bucket: &str, versioning: Versioning) {
        if let Some(bucket) = lock(&self.state).buckets.get_mut(bucket) {
            bucket.settings.versioning = versioning;
        }
    }

    /// Removes a bucket and all that is in it.
    pub fn remove_bucket(&self, bucket: &str) {
        lock(&self.state).buckets.remove(bucket);
    }

    /// Puts an object past all checks and switches, makes its bucket where there is none, and gives its ETag.
    pub fn insert(&self, bucket: &str, key: &str, content: impl Into<Bytes>) -> ETag {
        self.insert_with(bucket, key, content, &Attributes::default(), &Tags::new())
    }

    /// The same with attributes and tags.
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

    /// The same for an object that is uploaded in parts of these contents.
    pub fn insert_parts(&self, bucket: &str, key: &str, parts: &[Bytes], attributes: &Attributes, tags: &Tags) -> ETag {
        let object = StoredObject::of_parts(parts, attributes, tags, self.clock.now());
        self.place(bucket, key, object)
    }

    fn place(&self, bucket: &str, key: &str, object: StoredObject) -> ETag {
        let object = with_checksum(object, &self.settings);
        lock(&self.state).buckets.entry(bucket.to_owned()).or_default().store(key, object).etag
    }

    /// Deletes an object as a foreign writer does: under a delete marker, whose id is given, where the bucket keeps
    /// versions.
    pub fn delete(&self, bucket: &str, key: &str) -> Option<String> {
        lock(&self.state).buckets.get_mut(bucket)?.delete(key)
    }

    /// Removes one version, or one delete marker, for good; `null` names the one without an id.
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

    /// An object as it is.
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        lock(&self.state).buckets.get(bucket)?.current(key).cloned()
    }

    /// A version of an object as it is.
    pub fn version(&self, bucket: &str, key: &str, version_id: &str) -> Option<StoredObject> {
        lock(&self.state).buckets.get(bucket)?.objects.get(key)?.find(version_id)?.object.clone()
    }

    /// An object's bytes.
    pub fn content(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.object(bucket, key).map(|object| object.content)
    }

    /// All keys of a bucket whose newest version is no delete marker, in the order of their bytes.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let state = lock(&self.state);
        let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
        let there = bucket.objects.iter().filter(|(_, versions)| versions.current().is_some());
        there.map(|(key, _)| key.clone()).collect()
    }

    /// Key and id of each open upload of a bucket.
    pub fn open_uploads(&self, bucket: &str) -> Vec<(String, String)> {
        let state = lock(&self.state);
        let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
        bucket.uploads.iter().map(|(id, upload)| (upload.key.clone(), id.clone())).collect()
    }

    /// Gives an upload up as somebody else, or a lifecycle rule, does.
    pub fn end_upload(&self, bucket: &str, upload_id: &str) {
        if let Some(bucket) = lock(&self.state).buckets.get_mut(bucket) {
            bucket.uploads.remove(upload_id);
        }
    }

    /// Every object that became visible in a bucket, in the order in which that happened.
    pub fn write_log(&self, bucket: &str) -> Vec<WriteLogEntry> {
        lock(&self.state).buckets.get(bucket).map(|b| b.log.clone()).unwrap_or_default()
    }

    /// The most requests that a bucket had at once.
    pub fn most_in_flight(&self, bucket: &str) -> usize {
        self.traffic.most(bucket)
    }

    /// Requests that a bucket throttled.
    pub fn throttled(&self, bucket: &str) -> u64 {
        self.traffic.throttled(bucket)
    }
}
