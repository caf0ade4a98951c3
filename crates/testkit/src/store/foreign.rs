//! Changes by other clients and inspection, past the port and its checks.

use bytes::Bytes;
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, Clock, Tags};
use migration_local::store::{Received, StoredObject as Stored};

use super::MemoryStore;
use super::object::{StoredObject, WriteLogEntry};
use super::{BucketSettings, Checksums, Versioning, crc64nvme};
use crate::lock;

impl MemoryStore {
    /// Creates a bucket unless it exists.
    pub fn create_bucket(&self, bucket: &str) {
        if self.service.bucket_settings(bucket).is_none() {
            self.service.create_bucket(bucket, BucketSettings::default());
        }
    }

    /// Creates a bucket with these settings, or changes those of an existing one.
    pub fn create_bucket_with(&self, bucket: &str, settings: BucketSettings) {
        self.service.create_bucket(bucket, settings);
    }

    /// Sets the versioning of an existing bucket.
    pub fn set_versioning(&self, bucket: &str, versioning: Versioning) {
        self.service.set_versioning(bucket, versioning);
    }

    /// Removes a bucket with its content.
    pub fn remove_bucket(&self, bucket: &str) {
        self.service.remove_bucket(bucket);
        lock(&self.log).remove(bucket);
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
        let content: Bytes = content.into();
        self.place(bucket, key, Stored::whole(content.into(), attributes, tags, &self.settings, self.clock.now()))
    }

    /// Replaces the bytes of an object, and nothing that a HEAD or a listing shows of it.
    pub(super) fn spoil(&self, bucket: &str, key: &str) {
        let Some(mut object) = self.service.object(bucket, key, None) else { return };
        let bytes: Bytes = object.content.in_memory().iter().flatten().map(|byte| !byte).collect();
        object.content = bytes.into();
        self.place(bucket, key, object);
        lock(&self.log).get_mut(bucket).and_then(Vec::pop);
    }

    /// Puts an object uploaded in these parts.
    pub fn insert_parts(&self, bucket: &str, key: &str, parts: &[Bytes], attributes: &Attributes, tags: &Tags) -> ETag {
        let received: Vec<Received> = parts.iter().map(|part| part.clone().into()).collect();
        let object = Stored::of_parts(received.iter(), attributes, tags, self.clock.now());
        let checksum = (self.settings.checksums == Checksums::Kept).then(|| crc64nvme(&parts.concat()));
        self.place(bucket, key, object.with_checksum(checksum))
    }

    fn place(&self, bucket: &str, key: &str, object: Stored) -> ETag {
        let etag = object.etag.clone();
        // Only a disk could fail.
        self.service.insert(bucket, key, object).unwrap_or(etag)
    }

    /// Deletes an object as another client would. In a bucket with versioning, returns the id of the delete marker.
    pub fn delete(&self, bucket: &str, key: &str) -> Option<String> {
        self.service.delete_key(bucket, key)
    }

    /// Permanently removes one version or delete marker; `null` names the one without an id.
    pub fn delete_version(&self, bucket: &str, key: &str, version_id: &str) {
        self.service.remove_version(bucket, key, version_id);
    }

    /// Removes an object with all its versions.
    pub fn remove(&self, bucket: &str, key: &str) {
        self.service.remove_key(bucket, key);
    }

    /// Makes an archived object readable.
    pub fn restore(&self, bucket: &str, key: &str) {
        self.service.restore(bucket, key);
    }

    /// Returns an object as stored.
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        self.service.object(bucket, key, None).map(Into::into)
    }

    /// Returns a version of an object as stored.
    pub fn version(&self, bucket: &str, key: &str, version_id: &str) -> Option<StoredObject> {
        self.service.object(bucket, key, Some(version_id)).map(Into::into)
    }

    /// Returns the content of an object.
    pub fn content(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.object(bucket, key).map(|object| object.content)
    }

    /// Returns all keys whose newest version is no delete marker, in byte order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        self.service.keys(bucket)
    }

    /// Returns key and id of each open upload of a bucket.
    pub fn open_uploads(&self, bucket: &str) -> Vec<(String, String)> {
        self.service.open_uploads(bucket)
    }

    /// Removes an upload, as another client or a lifecycle rule would.
    pub fn end_upload(&self, bucket: &str, upload_id: &str) {
        self.service.end_upload(bucket, upload_id);
    }

    /// Returns every object that became visible in a bucket, in order.
    pub fn write_log(&self, bucket: &str) -> Vec<WriteLogEntry> {
        lock(&self.log).get(bucket).cloned().unwrap_or_default()
    }

    /// Returns the highest number of concurrent requests of a bucket.
    pub fn most_in_flight(&self, bucket: &str) -> usize {
        self.service.most_in_flight(bucket)
    }

    /// Returns the number of throttled requests of a bucket.
    pub fn throttled(&self, bucket: &str) -> u64 {
        self.service.throttled(bucket)
    }
}
