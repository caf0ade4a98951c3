//! S3 in memory.

mod object;
mod port;
mod state;
mod upload;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use md5::{Digest, Md5};
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, Clock, Tags};

use crate::clock::TestClock;
use crate::denial::Denials;
use crate::lock;

pub use object::{StoredObject, WriteLogEntry};
use state::State;

/// How a [`MemoryStore`] behaves. [`Default`] is how S3 does.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Keys in a page of a listing; at least 1.
    pub list_page: usize,
    /// Parts in a page of an upload's parts; at least 1.
    pub parts_page: usize,
    /// Bytes that each part but the last has at least when an upload is completed.
    pub minimum_part: u64,
    /// Bytes of one piece of a body that is read; at least 1.
    pub chunk: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { list_page: 1_000, parts_page: 1_000, minimum_part: 5 << 20, chunk: 64 << 10 }
    }
}

/// How a bucket behaves. [`Default`] is a bucket without versions and encryption keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketSettings {
    /// Keeps the versions of each object, with ids.
    pub versioned: bool,
    /// Encrypts as SSE-KMS does: ETags are no MD5, and two equal contents have two ETags.
    pub opaque_etags: bool,
}

/// An S3 service in memory, as one principal sees it. Clones and [`MemoryStore::as_principal`] share the objects.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    settings: Arc<StoreSettings>,
    clock: TestClock,
    principal: Arc<str>,
    denials: Denials,
}

impl MemoryStore {
    /// An empty service; `principal` is whom uploads name as their initiator.
    pub fn new(clock: TestClock, principal: &str) -> Self {
        Self::with_settings(clock, principal, StoreSettings::default())
    }

    /// An empty service that behaves so.
    pub fn with_settings(clock: TestClock, principal: &str, settings: StoreSettings) -> Self {
        Self {
            state: Arc::default(),
            settings: Arc::new(settings),
            clock,
            principal: principal.into(),
            denials: Denials::default(),
        }
    }

    /// The same service for another principal, with switches of its own.
    #[must_use]
    pub fn as_principal(&self, principal: &str) -> Self {
        Self { principal: principal.into(), denials: Denials::default(), ..self.clone() }
    }

    /// The switches that refuse this principal's requests.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Makes a bucket, or leaves one that is there as it is.
    pub fn create_bucket(&self, bucket: &str) {
        self.create_bucket_with(bucket, BucketSettings::default());
    }

    /// Makes a bucket that behaves so, or changes how one behaves that is there.
    pub fn create_bucket_with(&self, bucket: &str, settings: BucketSettings) {
        lock(&self.state).buckets.entry(bucket.to_owned()).or_default().settings = settings;
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
        let content = content.into();
        let etag = ETag::of_content(&Md5::digest(&content).into());
        let mut state = lock(&self.state);
        let bucket = state.buckets.entry(bucket.to_owned()).or_default();
        bucket.store(key, StoredObject::new(content, etag, attributes, tags, self.clock.now()))
    }

    /// Removes an object with all its versions.
    pub fn remove(&self, bucket: &str, key: &str) {
        if let Some(bucket) = lock(&self.state).buckets.get_mut(bucket) {
            bucket.objects.remove(key);
        }
    }

    /// An object as it is.
    pub fn object(&self, bucket: &str, key: &str) -> Option<StoredObject> {
        lock(&self.state).buckets.get(bucket)?.current(key).cloned()
    }

    /// An object's bytes.
    pub fn content(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.object(bucket, key).map(|object| object.content)
    }

    /// All keys of a bucket, in the order of their bytes.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        lock(&self.state).buckets.get(bucket).map(|b| b.objects.keys().cloned().collect()).unwrap_or_default()
    }

    /// Key and id of each open upload of a bucket.
    pub fn open_uploads(&self, bucket: &str) -> Vec<(String, String)> {
        let state = lock(&self.state);
        let Some(bucket) = state.buckets.get(bucket) else { return Vec::new() };
        bucket.uploads.iter().map(|(id, upload)| (upload.key.clone(), id.clone())).collect()
    }

    /// Every object that became visible in a bucket, in the order in which that happened.
    pub fn write_log(&self, bucket: &str) -> Vec<WriteLogEntry> {
        lock(&self.state).buckets.get(bucket).map(|b| b.log.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
