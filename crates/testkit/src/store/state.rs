//! Buckets, and what is checked of every request.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use md5::{Digest, Md5};
use migration_core::compare::ListedObject;
use migration_core::error::{ErrorClass, ServiceError, SideFault};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{
    Attributes, ByteStream, GetRequest, GetResponse, ListPage, ListRequest, ObjectHead, PutRequest, Tags,
    WriteCondition, Written,
};

use super::object::{StoredObject, WriteLogEntry};
use super::upload::Upload;
use super::{BucketSettings, StoreSettings};
use crate::operation::Operation;

/// Longest key, in bytes. Source: "Creating object key names" in the S3 user guide.
const MAX_KEY: usize = 1_024;
/// Most tags of an object. Source: "Object tagging" in the S3 user guide.
const MAX_TAGS: usize = 10;
/// Bytes of user metadata, names and values together. Source: "Working with object metadata" in the S3 user guide.
const MAX_METADATA: usize = 2 << 10;
/// How continuation tokens start, so that no caller takes one for a key.
const TOKEN: &str = "page-after:";

/// All buckets.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) buckets: BTreeMap<String, Bucket>,
    last_upload: u64,
}

/// A bucket.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) settings: BucketSettings,
    /// Versions by key, the current one last; never empty.
    pub(super) objects: BTreeMap<String, Vec<StoredObject>>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) log: Vec<WriteLogEntry>,
}

/// An error in the service's words.
pub(super) fn error(operation: Operation, class: ErrorClass, code: &str, message: &str) -> ServiceError {
    ServiceError::new(class, operation.as_str(), code, message)
}

/// Checks a body against the MD5 that was sent with it. The body was broken on its way: it can be sent again.
pub(super) fn check_md5(operation: Operation, body: &Bytes, md5: &Md5Digest) -> Result<(), ServiceError> {
    if Md5Digest::from(Md5::digest(body)) == *md5 {
        return Ok(());
    }
    let message = "the Content-MD5 you specified did not match what we received";
    Err(error(operation, ErrorClass::Transient, "BadDigest", message))
}

/// Checks what every write brings along.
pub(super) fn check_new(
    operation: Operation,
    key: &str,
    attributes: &Attributes,
    tags: &Tags,
) -> Result<(), ServiceError> {
    let refused = |code: &str, message: &str| Err(error(operation, ErrorClass::Refused, code, message));
    if key.is_empty() {
        return refused("InvalidArgument", "the key is empty");
    }
    if key.len() > MAX_KEY {
        return refused("KeyTooLongError", "your key is too long");
    }
    if tags.len() > MAX_TAGS {
        return refused("BadRequest", "object tags cannot be greater than 10");
    }
    if attributes.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_METADATA {
        return refused("MetadataTooLarge", "your metadata headers exceed the maximum allowed metadata size");
    }
    Ok(())
}

impl State {
    pub(super) fn bucket(&mut self, operation: Operation, name: &str) -> Result<&mut Bucket, ServiceError> {
        let class = ErrorClass::Side(SideFault::NotFound);
        self.buckets
            .get_mut(name)
            .ok_or_else(|| error(operation, class, "NoSuchBucket", "the specified bucket does not exist"))
    }

    pub(super) fn next_upload(&mut self) -> String {
        self.last_upload += 1;
        format!("upload-{}", self.last_upload)
    }

    /// S3 answers a HEAD without a body, so that a missing bucket looks like a missing key.
    pub(super) fn head(&self, bucket: &str, key: &str) -> Option<ObjectHead> {
        self.buckets.get(bucket)?.current(key).map(StoredObject::head)
    }
}

impl Bucket {
    pub(super) fn current(&self, key: &str) -> Option<&StoredObject> {
        self.objects.get(key)?.last()
    }

    /// Makes an object visible and gives the ETag that it has here.
    pub(super) fn store(&mut self, key: &str, mut object: StoredObject) -> ETag {
        let count = self.log.len() + 1;
        if self.settings.opaque_etags {
            object.etag = ETag::of_content(&Md5::digest(format!("{key}/{count}")).into());
        }
        let etag = object.etag.clone();
        self.log.push(WriteLogEntry { key: key.to_owned(), etag: etag.clone(), at: object.modified });
        let versions = self.objects.entry(key.to_owned()).or_default();
        if self.settings.versioned {
            object.version_id = Some(format!("version-{count}"));
        } else {
            versions.clear();
        }
        versions.push(object);
        etag
    }

    pub(super) fn written(&self, etag: ETag) -> Written {
        Written { etag, etag_is_md5: !self.settings.opaque_etags }
    }

    fn find(&self, operation: Operation, key: &str, version_id: Option<&str>) -> Result<&StoredObject, ServiceError> {
        let found = match version_id {
            None => self.current(key),
            Some(id) => self.objects.get(key).and_then(|all| all.iter().find(|v| v.version_id.as_deref() == Some(id))),
        };
        let code = if version_id.is_some() { "NoSuchVersion" } else { "NoSuchKey" };
        found.ok_or_else(|| error(operation, ErrorClass::NoSuchKey, code, "the specified key does not exist"))
    }

    pub(super) fn list(&self, request: ListRequest<'_>, page: usize) -> Result<ListPage, ServiceError> {
        let after = match request.continuation {
            Some(token) => Some(token.strip_prefix(TOKEN).ok_or_else(|| {
                let message = "the continuation token provided is incorrect";
                error(Operation::ListObjects, ErrorClass::Refused, "InvalidArgument", message)
            })?),
            None => request.start_after,
        };
        let mut keys = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(request.prefix) && after.is_none_or(|after| key.as_str() > after));
        let objects: Vec<ListedObject> = keys
            .by_ref()
            .take(page.max(1))
            .filter_map(|(key, versions)| versions.last().map(|object| listed(key, object)))
            .collect();
        let more = keys.next().is_some();
        let continuation = objects.last().filter(|_| more).map(|last| format!("{TOKEN}{}", last.key));
        Ok(ListPage { objects, continuation })
    }

    pub(super) fn get(&self, request: GetRequest<'_>, settings: &StoreSettings) -> Result<GetResponse, ServiceError> {
        const GET: Operation = Operation::GetObject;
        let object = self.find(GET, request.key, request.version_id)?;
        if request.if_match.is_some_and(|etag| *etag != object.etag) {
            let message = "at least one of the pre-conditions you specified did not hold";
            return Err(error(GET, ErrorClass::PreconditionFailed, "PreconditionFailed", message));
        }
        if object.is_archived() {
            let message = "the operation is not valid for the object's storage class";
            return Err(error(GET, ErrorClass::Archived, "InvalidObjectState", message));
        }
        let content = match request.range {
            None => object.content.clone(),
            Some((first, count)) => slice(&object.content, first, count).ok_or_else(|| {
                let message = "the requested range is not satisfiable";
                error(GET, ErrorClass::Refused, "InvalidRange", message)
            })?,
        };
        Ok(GetResponse { head: object.head(), body: body(content, settings.chunk) })
    }

    pub(super) fn tags(&self, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.find(Operation::GetTags, key, version_id).map(|object| object.tags.clone())
    }

    pub(super) fn put(&mut self, request: &PutRequest<'_>, now: i64) -> Result<Written, ServiceError> {
        const PUT: Operation = Operation::PutObject;
        check_new(PUT, request.key, request.attributes, request.tags)?;
        check_md5(PUT, &request.body, &request.md5)?;
        self.check_condition(PUT, request.key, request.condition)?;
        let etag = ETag::of_content(&request.md5);
        let object = StoredObject::new(copied(&request.body), etag, request.attributes, request.tags, now);
        let etag = self.store(request.key, object);
        Ok(self.written(etag))
    }

    /// S3 answers `If-Match` on nothing with 404; the adapters tell it as what it is, a condition that does not hold.
    /// Source: "How to prevent object overwrites with conditional writes" in the S3 user guide.
    pub(super) fn check_condition(
        &self,
        operation: Operation,
        key: &str,
        condition: &WriteCondition,
    ) -> Result<(), ServiceError> {
        let failed = || {
            let message = "at least one of the pre-conditions you specified did not hold";
            Err(error(operation, ErrorClass::PreconditionFailed, "PreconditionFailed", message))
        };
        match (condition, self.current(key)) {
            (WriteCondition::Absent, Some(_)) | (WriteCondition::Matches(_), None) => failed(),
            (WriteCondition::Matches(etag), Some(object)) if object.etag != *etag => failed(),
            _ => Ok(()),
        }
    }
}

/// A copy of its own, so that a small body doesn't keep the buffer alive that it was cut from.
pub(super) fn copied(body: &Bytes) -> Bytes {
    Bytes::copy_from_slice(body)
}

/// Listings show whole seconds.
pub(super) fn whole_seconds(millis: i64) -> i64 {
    millis - millis.rem_euclid(1_000)
}

fn listed(key: &str, object: &StoredObject) -> ListedObject {
    ListedObject {
        key: key.to_owned(),
        size: object.size(),
        etag: Some(object.etag.clone()),
        modified: whole_seconds(object.modified),
    }
}

/// The bytes from `first`, at most `count` of them; none where the range holds no byte of the content.
fn slice(content: &Bytes, first: u64, count: u64) -> Option<Bytes> {
    let size = content.len() as u64;
    if first >= size || count == 0 {
        return None;
    }
    let end = first.saturating_add(count).min(size);
    Some(content.slice(usize::try_from(first).ok()?..usize::try_from(end).ok()?))
}

fn body(content: Bytes, chunk: usize) -> ByteStream {
    let pieces = futures::stream::unfold(content, move |mut rest| async move {
        let piece = rest.split_to(chunk.max(1).min(rest.len()));
        (!piece.is_empty()).then_some((Ok(piece), rest))
    });
    pieces.boxed()
}
