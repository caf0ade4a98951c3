//! Buckets and their objects.

use std::collections::BTreeMap;

use migration_core::error::{ErrorClass, ServiceError, ServiceFault};
use migration_core::etag::ETag;
use migration_core::ports::{
    Attributes, CopyRequest, CopySource, DeleteRequest, HeadRequest, ObjectHead, PutRequest, WriteCondition, Written,
};

use super::checks::{check_condition, check_md5, check_new, check_readable, copied, error, not_implemented, refused};
use super::object::{StoredObject, WriteLogEntry, crc64nvme, md5};
use super::settings::{BucketSettings, Checksums, ConditionalWrites, StoreSettings, Versioning};
use super::upload::Upload;
use super::versions::Versions;
use crate::Operation;

#[derive(Debug, Default)]
pub(super) struct StoreState {
    pub(super) buckets: BTreeMap<String, Bucket>,
    last_upload: u64,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) settings: BucketSettings,
    /// Versions by key; every key has at least one.
    pub(super) objects: BTreeMap<String, Versions>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) log: Vec<WriteLogEntry>,
    last: u64,
}

impl StoreState {
    pub(super) fn bucket(&mut self, operation: Operation, name: &str) -> Result<&mut Bucket, ServiceError> {
        let class = ErrorClass::Service(ServiceFault::NotFound);
        self.buckets
            .get_mut(name)
            .ok_or_else(|| error(operation, class, "NoSuchBucket", "the specified bucket does not exist"))
    }

    pub(super) fn next_upload(&mut self) -> String {
        self.last_upload += 1;
        format!("upload-{}", self.last_upload)
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

    pub(super) fn copy(
        &mut self,
        request: CopyRequest<'_>,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<Written, ServiceError> {
        let source = self.copy_source(Operation::CopyObject, request.source)?;
        let onto_itself = (request.source.bucket, request.source.key) == (request.bucket, request.key);
        let same_class = source.attributes.storage_class == request.attributes.storage_class;
        if onto_itself && same_class && request.source.version_id.is_none() {
            let message = "this copy request is illegal: it copies an object to itself and changes nothing";
            return Err(refused(Operation::CopyObject, "InvalidRequest", message));
        }
        self.bucket(Operation::CopyObject, request.bucket)?.copy(request, &source, settings, now)
    }
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
        self.log.push(WriteLogEntry {
            key: key.to_owned(),
            etag: object.etag.clone(),
            at: object.modified,
            content: object.content.clone(),
        });
        object.version_id = (self.settings.versioning == Versioning::Enabled).then(|| format!("version-{number}"));
        self.objects.entry(key.to_owned()).or_default().push(object.clone());
        object
    }

    /// Deletes a key without naming a version. Returns the id of the delete marker, if it has one.
    pub(super) fn delete(&mut self, key: &str) -> Option<String> {
        let id = format!("version-{}", self.next());
        let versions = self.objects.entry(key.to_owned()).or_default();
        let marker = versions.delete(self.settings.versioning, id);
        if versions.is_empty() {
            self.objects.remove(key);
        }
        marker
    }

    /// Deletes a key if it has the requested ETag. S3 answers with 404 if there is no object; the adapters treat that
    /// as deleted.
    pub(super) fn delete_if(
        &mut self,
        request: DeleteRequest<'_>,
        support: ConditionalWrites,
    ) -> Result<(), ServiceError> {
        let Some(current) = self.current(request.key) else { return Ok(()) };
        let condition = request.if_match.map_or(WriteCondition::Any, |etag| WriteCondition::Matches(etag.clone()));
        check_condition(Operation::DeleteObject, &condition, Some(current), support)?;
        self.delete(request.key);
        Ok(())
    }

    /// Permanently removes one version; `null` names the one without an id.
    pub(super) fn delete_version(&mut self, key: &str, id: &str) {
        let Some(versions) = self.objects.get_mut(key) else { return };
        versions.remove(id);
        if versions.is_empty() {
            self.objects.remove(key);
        }
    }

    pub(super) fn put(
        &mut self,
        request: &PutRequest<'_>,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<Written, ServiceError> {
        const PUT: Operation = Operation::PutObject;
        check_new(PUT, request.key, request.attributes, request.tags, &self.settings, now)?;
        check_md5(PUT, &request.body, &request.md5)?;
        check_condition(PUT, request.condition, self.current(request.key), settings.conditional_writes)?;
        let attributes = writable(request.attributes);
        let object = StoredObject::new(copied(&request.body), &attributes, request.tags, now);
        Ok(self.store(request.key, with_checksum(object, settings)).written())
    }

    /// Copies an object. Headers, metadata and tags come from the source, attributes that a copy does not take over
    /// from the request. The ETag is that of an object put whole, however the source was uploaded.
    /// Source: `CopyObject` in the S3 API reference.
    fn copy(
        &mut self,
        request: CopyRequest<'_>,
        source: &StoredObject,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<Written, ServiceError> {
        const COPY: Operation = Operation::CopyObject;
        let given = request.attributes;
        let attributes = Attributes {
            storage_class: given.storage_class.clone(),
            website_redirect: given.website_redirect.clone(),
            lock: given.lock.clone(),
            ..source.attributes.clone()
        };
        check_new(COPY, request.key, &attributes, &source.tags, &self.settings, now)?;
        if source.size() > settings.copy_limit {
            let message = "the specified copy source is larger than the maximum allowable size for a copy source";
            return Err(refused(COPY, "InvalidRequest", message));
        }
        check_condition(COPY, request.condition, self.current(request.key), settings.conditional_writes)?;
        let object = StoredObject::new(source.content.clone(), &attributes, &source.tags, now);
        Ok(self.store(request.key, with_checksum(object, settings)).written())
    }
}

/// Returns the attributes without the count of unreadable metadata, which can't be written.
pub(super) fn writable(attributes: &Attributes) -> Attributes {
    Attributes { missing_metadata: 0, ..attributes.clone() }
}

/// Adds the CRC-64/NVME that S3 computes for objects written without a checksum.
/// Source: "Checking object integrity for data at rest" in the S3 user guide.
pub(super) fn with_checksum(mut object: StoredObject, settings: &StoreSettings) -> StoredObject {
    object.checksum = (settings.checksums == Checksums::Kept).then(|| crc64nvme(&object.content));
    object
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
