//! Buckets and their objects.

use std::collections::BTreeMap;

use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use migration_core::etag::ETag;
use migration_core::events::NotificationConfig;
use migration_core::ports::{
    Attributes, CopyRequest, CopySource, DeleteRequest, HeadRequest, ObjectHead, Operation, Tags, WriteCondition,
    Written,
};

use super::changes::{BucketChange, Change};
use super::checks::{check_condition, check_new, check_readable, error, not_implemented, refused};
use super::object::StoredObject;
use super::receive::{Received, md5};
use super::requests::Replaced;
use super::settings::{BucketSettings, Checksums, ConditionalWrites, StoreSettings, Versioning};
use super::upload::Upload;
use super::versions::{Version, Versions};

#[derive(Debug, Default)]
pub(super) struct StoreState {
    pub(super) buckets: BTreeMap<String, Bucket>,
    /// Changes of the list of buckets that were not taken yet, in order.
    pub(super) changes: Vec<BucketChange>,
    /// Number before the first one of this run, so that numbers of earlier runs do not come again.
    first: u64,
    last_upload: u64,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) settings: BucketSettings,
    /// Time of creation, in milliseconds since 1970.
    pub(super) created: i64,
    pub(super) notifications: NotificationConfig,
    /// Versions by key; every key has at least one.
    pub(super) objects: BTreeMap<String, Versions>,
    pub(super) uploads: BTreeMap<String, Upload>,
    /// Changes that were not taken yet, in order.
    pub(super) changes: Vec<Change>,
    last: u64,
}

/// A whole object to write.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewObject<'a> {
    pub(super) key: &'a str,
    pub(super) attributes: &'a Attributes,
    pub(super) tags: &'a Tags,
    pub(super) condition: &'a WriteCondition,
}

impl StoreState {
    /// Creates an empty state whose versions and uploads have numbers after `first`.
    pub(super) fn after(first: u64) -> Self {
        Self { first, last_upload: first, ..Self::default() }
    }

    /// Adds an empty bucket that is recorded already.
    pub(super) fn add_bucket(&mut self, name: String, settings: BucketSettings, created: i64) -> &mut Bucket {
        let bucket = Bucket { settings, created, last: self.first, ..Bucket::default() };
        self.buckets.entry(name).or_insert(bucket)
    }

    pub(super) fn bucket(&mut self, operation: Operation, name: &str) -> Result<&mut Bucket, ServiceError> {
        let class = ErrorClass::Service(ServiceFault::NotFound);
        self.buckets
            .get_mut(name)
            .ok_or_else(|| error(operation, class, "NoSuchBucket", "the specified bucket does not exist"))
    }

    pub(super) fn put_notifications(&mut self, name: &str, config: NotificationConfig) -> Result<(), ServiceError> {
        self.bucket(Operation::PutNotifications, name)?.notifications = config;
        self.changes.push(BucketChange::Bucket { name: name.to_owned() });
        Ok(())
    }

    /// Creates a bucket with these settings, or changes those of an existing one.
    pub(super) fn create_bucket(&mut self, name: &str, settings: BucketSettings, now: i64) {
        match self.buckets.get_mut(name) {
            Some(bucket) => bucket.settings = settings,
            None => {
                self.add_bucket(name.to_owned(), settings, now);
            }
        }
        self.changes.push(BucketChange::Bucket { name: name.to_owned() });
    }

    /// Removes a bucket with its content.
    pub(super) fn remove_bucket(&mut self, name: &str) {
        if let Some(bucket) = self.buckets.remove(name) {
            self.changes.push(BucketChange::BucketRemoved { name: name.to_owned(), bucket });
        }
    }

    pub(super) fn next_upload(&mut self) -> u64 {
        self.last_upload += 1;
        self.last_upload
    }

    /// Returns an object's metadata; `None` if the key or the bucket is absent, since S3 answers HEAD without a body.
    pub(super) fn head(&self, request: HeadRequest<'_>) -> Option<ObjectHead> {
        let bucket = self.buckets.get(request.bucket)?;
        let versions = bucket.objects.get(request.key)?;
        let object = match request.version_id {
            None => versions.current(),
            Some(id) => versions.find(id)?.object.as_ref(),
        };
        object.map(|object| {
            let head = object.head();
            let tag_count = if bucket.settings.quiet_of_tags { 0 } else { head.tag_count };
            ObjectHead { checksum: object.checksum.filter(|_| request.checksum), tag_count, ..head }
        })
    }

    /// Returns the source of a copy, if it matches the requested ETag.
    pub(super) fn copy_source(
        &mut self,
        operation: Operation,
        source: CopySource<'_>,
    ) -> Result<StoredObject, ServiceError> {
        let object = self.bucket(operation, source.bucket)?.find(operation, source.key, source.version_id)?;
        check_readable(operation, object, Some(source.if_match))?;
        Ok(object.clone())
    }

    /// Checks a copy of a whole object up to its condition. Returns the source, and attributes and tags of the copy.
    pub(super) fn check_copy(
        &mut self,
        request: CopyRequest<'_>,
        replaced: Replaced<'_>,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<(StoredObject, Attributes, Tags), ServiceError> {
        const COPY: Operation = Operation::CopyObject;
        let source = self.copy_source(COPY, request.source)?;
        let onto_itself = (request.source.bucket, request.source.key) == (request.bucket, request.key);
        let same_class = source.attributes.storage_class == request.attributes.storage_class;
        let changes_nothing = same_class && replaced.attributes.is_none();
        if onto_itself && changes_nothing && request.source.version_id.is_none() {
            let message = "this copy request is illegal: it copies an object to itself and changes nothing";
            return Err(refused(COPY, "InvalidRequest", message));
        }
        let attributes = copied_attributes(replaced.attributes.unwrap_or(&source.attributes), request.attributes);
        let tags = replaced.tags.unwrap_or(&source.tags).clone();
        let bucket = self.bucket(COPY, request.bucket)?;
        check_new(COPY, request.key, &attributes, &tags, &bucket.settings, now)?;
        check_copied_size(COPY, source.size(), settings)?;
        Ok((source, attributes, tags))
    }
}

/// Returns the attributes of a copy. Headers and metadata come from the source, or replace its; attributes that
/// a copy does not take over from the request. Source: `CopyObject` in the S3 API reference.
fn copied_attributes(source: &Attributes, given: &Attributes) -> Attributes {
    Attributes {
        storage_class: given.storage_class.clone(),
        website_redirect: given.website_redirect.clone(),
        lock: given.lock.clone(),
        ..source.clone()
    }
}

/// Checks the number of bytes that one request copies.
pub(super) fn check_copied_size(operation: Operation, size: u64, settings: &StoreSettings) -> Result<(), ServiceError> {
    if size <= settings.copy_limit {
        return Ok(());
    }
    let message = "the specified copy source is larger than the maximum allowable size for a copy source";
    Err(refused(operation, "InvalidRequest", message))
}

impl Bucket {
    pub(super) fn current(&self, key: &str) -> Option<&StoredObject> {
        self.objects.get(key)?.current()
    }

    /// Returns a number that is new in this bucket.
    pub(super) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Makes an object visible; returns it as stored.
    pub(super) fn store(&mut self, key: &str, mut object: StoredObject) -> StoredObject {
        let number = self.next();
        if self.settings.opaque_etags {
            object.etag = opaque(&format!("{key}/{number}"), object.parts.len());
            object.etag_is_md5 = false;
        }
        object.version_id = (self.settings.versioning == Versioning::Enabled).then(|| format!("version-{number}"));
        let id = object.version_id.clone();
        self.push(key, Version { number, id, modified: object.modified, object: Some(object.clone()) });
        object
    }

    fn push(&mut self, key: &str, version: Version) {
        let number = version.number;
        let replaced = self.objects.entry(key.to_owned()).or_default().push(version);
        if let Some(version) = replaced {
            self.changes.push(Change::VersionRemoved { key: key.to_owned(), version });
        }
        self.changes.push(Change::Version { key: key.to_owned(), number, is_new: true });
    }

    /// Returns a version by its number.
    pub(super) fn version(&self, key: &str, number: u64) -> Option<&Version> {
        self.objects.get(key)?.newest_first().find(|version| version.number == number)
    }

    /// Changes an object in place: the current one of a key, or that of a version.
    pub(super) fn change_object(
        &mut self,
        key: &str,
        version_id: Option<&str>,
        change: impl FnOnce(&mut StoredObject),
    ) {
        let version = self.objects.get_mut(key).and_then(|versions| versions.find_mut(version_id));
        let Some(version) = version else { return };
        if let Some(object) = version.object.as_mut() {
            change(object);
        }
        let number = version.number;
        self.changes.push(Change::Version { key: key.to_owned(), number, is_new: false });
    }

    /// Deletes a key without naming a version. Returns the id of the delete marker, if it has one.
    pub(super) fn delete(&mut self, key: &str, now: i64) -> Option<String> {
        let number = self.next();
        let Some(marker) = Versions::marker(self.settings.versioning, number, now) else {
            self.delete_version(key, super::versions::NULL);
            return None;
        };
        let id = marker.id.clone();
        self.push(key, marker);
        id
    }

    /// Deletes a key if it has the requested ETag, and returns the id of the delete marker, if it has one. S3 answers
    /// with 404 if there is no object; the adapters treat that as deleted.
    pub(super) fn delete_if(
        &mut self,
        request: DeleteRequest<'_>,
        support: ConditionalWrites,
        now: i64,
    ) -> Result<Option<String>, ServiceError> {
        let Some(current) = self.current(request.key) else { return Ok(None) };
        let condition = request.if_match.map_or(WriteCondition::Any, |etag| WriteCondition::Matches(etag.clone()));
        check_condition(Operation::DeleteObject, &condition, Some(current), support)?;
        Ok(self.delete(request.key, now))
    }

    /// Permanently removes one version; `null` names the one without an id. Returns true if it was a delete marker.
    pub(super) fn delete_version(&mut self, key: &str, id: &str) -> bool {
        let Some(versions) = self.objects.get_mut(key) else { return false };
        let removed = versions.remove(id);
        if versions.is_empty() {
            self.objects.remove(key);
        }
        let Some(version) = removed else { return false };
        let is_marker = version.object.is_none();
        self.changes.push(Change::VersionRemoved { key: key.to_owned(), version });
        is_marker
    }

    /// Removes a key with all its versions.
    pub(super) fn remove_key(&mut self, key: &str) {
        let versions = self.objects.remove(key).unwrap_or_default();
        let removed = versions.into_iter().map(|version| Change::VersionRemoved { key: key.to_owned(), version });
        self.changes.extend(removed);
    }

    /// Removes an upload.
    pub(super) fn remove_upload(&mut self, id: &str) {
        if let Some(upload) = self.uploads.remove(id) {
            self.changes.push(Change::UploadRemoved { upload });
        }
    }

    /// Checks a write of a whole object before its body comes.
    pub(super) fn check_put(&self, new: NewObject<'_>, now: i64) -> Result<(), ServiceError> {
        check_new(Operation::PutObject, new.key, new.attributes, new.tags, &self.settings, now)
    }

    pub(super) fn put(
        &mut self,
        new: NewObject<'_>,
        received: Received,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<Written, ServiceError> {
        const PUT: Operation = Operation::PutObject;
        check_condition(PUT, new.condition, self.current(new.key), settings.conditional_writes)?;
        let object = StoredObject::whole(received, &writable(new.attributes), new.tags, settings, now);
        Ok(self.store(new.key, object).written())
    }

    /// Stores a copy. Its ETag is that of an object put whole, however the source was
    /// uploaded. Source: `CopyObject` in the S3 API reference.
    pub(super) fn copy(
        &mut self,
        new: NewObject<'_>,
        received: Received,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<Written, ServiceError> {
        let support = settings.conditional_writes;
        check_condition(Operation::CopyObject, new.condition, self.current(new.key), support)?;
        let object = StoredObject::whole(received, new.attributes, new.tags, settings, now);
        Ok(self.store(new.key, object).written())
    }
}

/// Returns the attributes without the count of unreadable metadata, which can't be written.
pub(super) fn writable(attributes: &Attributes) -> Attributes {
    Attributes { missing_metadata: 0, ..attributes.clone() }
}

/// Returns an ETag that does not depend on the content.
pub(super) fn opaque(name: &str, parts: usize) -> ETag {
    let plain = ETag::of_content(&md5(name.as_bytes()));
    if parts == 0 { plain } else { ETag::new(&format!("{}-{parts}", plain.as_str())) }
}

/// Rejects a request with a checksum if the service does not support any.
pub(super) fn check_checksum(operation: Operation, named: bool, settings: &StoreSettings) -> Result<(), ServiceError> {
    if named && settings.checksums == Checksums::Refused { Err(not_implemented(operation)) } else { Ok(()) }
}

/// Returns an object's content with its digests where they are known without reading it.
pub(super) fn known(object: &StoredObject) -> Option<Received> {
    let (md5, checksum) = object.md5.zip(object.checksum)?;
    Some(Received { content: object.content.clone(), md5, checksum })
}
