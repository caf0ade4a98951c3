//! Checks of requests.

use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{Attributes, Operation, Tags, WriteCondition};

use super::object::StoredObject;
use super::rejected::rejected;
use super::settings::{BucketSettings, ConditionalWrites, STORAGE_CLASSES};

/// Longest key in bytes. Source: "Creating object key names" in the S3 user guide.
const MAX_KEY: usize = 1_024;
/// Most tags of an object. Source: "Object tagging" in the S3 user guide.
const MAX_TAGS: usize = 10;
/// Bytes of user metadata, names and values. Source: "Working with object metadata" in the S3 user guide.
const MAX_METADATA: usize = 2 << 10;

/// Error with the service's code and message.
pub(super) fn error(operation: Operation, class: ErrorClass, code: &str, message: &str) -> ServiceError {
    let told = ServiceError::new(class, operation.as_str(), code, message);
    told.rejecting(rejected(operation, code))
}

/// Error that no retry can resolve.
pub(super) fn refused(operation: Operation, code: &str, message: &str) -> ServiceError {
    error(operation, ErrorClass::Refused, code, message)
}

/// The 501 for a header that the service does not support.
pub(super) fn not_implemented(operation: Operation) -> ServiceError {
    let message = "a header you provided implies functionality that is not implemented";
    refused(operation, "NotImplemented", message)
}

/// The 412 for a condition that does not hold.
pub(super) fn precondition_failed(operation: Operation) -> ServiceError {
    let message = "at least one of the pre-conditions you specified did not hold";
    error(operation, ErrorClass::PreconditionFailed, "PreconditionFailed", message)
}

/// Checks the MD5 of a body against the one sent with it. A mismatch is transient: the body was damaged in transit.
pub(super) fn check_md5(operation: Operation, found: &Md5Digest, expected: &Md5Digest) -> Result<(), ServiceError> {
    if found == expected {
        return Ok(());
    }
    let message = "the Content-MD5 you specified did not match what we received";
    Err(error(operation, ErrorClass::Transient, "BadDigest", message))
}

/// Checks key, attributes and tags of a write.
pub(super) fn check_new(
    operation: Operation,
    key: &str,
    attributes: &Attributes,
    tags: &Tags,
    bucket: &BucketSettings,
    now: i64,
) -> Result<(), ServiceError> {
    let refuse = |code: &str, message: &str| Err(refused(operation, code, message));
    if key.is_empty() {
        return refuse("InvalidArgument", "the key is empty");
    }
    if key.len() > MAX_KEY {
        return refuse("KeyTooLongError", "your key is too long");
    }
    check_known(operation, attributes, tags, bucket)?;
    check_tags(operation, tags)?;
    if attributes.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_METADATA {
        return refuse("MetadataTooLarge", "your metadata headers exceed the maximum allowed metadata size");
    }
    let class = attributes.storage_class.as_deref().filter(|class| *class != "STANDARD");
    if class.is_some_and(|class| !bucket.storage_classes.unwrap_or(STORAGE_CLASSES).contains(&class)) {
        return refuse("InvalidStorageClass", "the storage class you specified is not valid");
    }
    check_lock(operation, attributes, bucket, now)
}

/// Rejects headers that the bucket's service does not support; names the first.
fn check_known(
    operation: Operation,
    attributes: &Attributes,
    tags: &Tags,
    bucket: &BucketSettings,
) -> Result<(), ServiceError> {
    let named = |name: &String| Rejected::Metadata(vec![name.to_ascii_lowercase()]);
    let metadata = attributes.metadata.keys().next();
    let sent = [
        (!tags.is_empty()).then(|| ("x-amz-tagging".to_owned(), Rejected::Tags)),
        attributes.storage_class.as_ref().map(|_| ("x-amz-storage-class".to_owned(), Rejected::StorageClass)),
        metadata.map(|name| (format!("x-amz-meta-{name}"), named(name))),
        (!attributes.lock.is_none()).then(|| ("x-amz-object-lock-legal-hold".to_owned(), Rejected::Lock)),
    ];
    let unknown =
        |(header, _): &(String, Rejected)| bucket.unknown_headers.iter().any(|known| header.starts_with(known));
    let Some((header, rejected)) = sent.into_iter().flatten().find(unknown) else { return Ok(()) };
    let message = format!("header {header} is not implemented");
    Err(refused(operation, "NotImplemented", &message).rejecting(rejected))
}

/// Checks the tags of an object.
pub(super) fn check_tags(operation: Operation, tags: &Tags) -> Result<(), ServiceError> {
    if tags.len() > MAX_TAGS {
        let told = refused(operation, "BadRequest", "object tags cannot be greater than 10");
        return Err(told.rejecting(Rejected::Tags));
    }
    Ok(())
}

/// Checks an object lock. Source: "Locking objects with Object Lock" in the S3 user guide.
fn check_lock(
    operation: Operation,
    attributes: &Attributes,
    bucket: &BucketSettings,
    now: i64,
) -> Result<(), ServiceError> {
    if attributes.lock.is_none() {
        return Ok(());
    }
    if !bucket.object_lock {
        let told = refused(operation, "InvalidRequest", "bucket is missing Object Lock configuration");
        return Err(told.rejecting(Rejected::Lock));
    }
    if attributes.lock.retention.is_some_and(|retention| retention.until <= now) {
        let told = refused(operation, "InvalidArgument", "the retain until date must be in the future");
        return Err(told.rejecting(Rejected::Lock));
    }
    Ok(())
}

/// Checks the condition of a write against the current object.
///
/// S3 answers `If-Match` on an absent object with 404; the adapters report it as a failed condition.
/// Source: "How to prevent object overwrites with conditional writes" in the S3 user guide.
pub(super) fn check_condition(
    operation: Operation,
    condition: &WriteCondition,
    current: Option<&StoredObject>,
    support: ConditionalWrites,
) -> Result<(), ServiceError> {
    match support {
        ConditionalWrites::Ignored => return Ok(()),
        ConditionalWrites::Refused if *condition != WriteCondition::Any => return Err(not_implemented(operation)),
        ConditionalWrites::Refused | ConditionalWrites::Kept => {}
    }
    let holds = match condition {
        WriteCondition::Any => true,
        WriteCondition::Absent => current.is_none(),
        WriteCondition::Matches(etag) => current.is_some_and(|object| object.etag == *etag),
    };
    if holds { Ok(()) } else { Err(precondition_failed(operation)) }
}

/// Checks that an object can be read and has the requested ETag.
pub(super) fn check_readable(
    operation: Operation,
    object: &StoredObject,
    if_match: Option<&ETag>,
) -> Result<(), ServiceError> {
    if if_match.is_some_and(|etag| *etag != object.etag) {
        return Err(precondition_failed(operation));
    }
    if object.is_archived() {
        let message = "the operation is not valid for the object's storage class";
        return Err(error(operation, ErrorClass::Archived, "InvalidObjectState", message));
    }
    Ok(())
}

/// Truncates to seconds, as in listings and headers.
pub(super) fn whole_seconds(millis: i64) -> i64 {
    millis - millis.rem_euclid(1_000)
}
