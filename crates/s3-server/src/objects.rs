//! Requests about objects.

use futures::{StreamExt, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::{HeaderMap, StatusCode};
use migration_core::config::STANDARD;
use migration_core::etag::ETag;
use migration_core::ports::{DeleteRequest, Operation, Written};
use migration_local::store::{BucketSettings, LocalStore, OpenObject, PutObject, StoredObject, Versioning};
use s3s::dto::{
    ChecksumMode, ChecksumType, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
    DeletedObject, ETagCondition, Error, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    PutObjectInput, PutObjectOutput, Range, StorageClass, StreamingBlob,
};
use s3s::{Body, S3Request, S3Response, S3Result};

use crate::attributes::{add, attributes, describe, tags};
use crate::conditions::{ReadConditions, write_condition};
use crate::error::{refused, s3_error};
use crate::time::timestamp;
use crate::upload_body::{UploadBody, encode, verified};

/// Name of the version without an id.
pub(crate) const NULL: &str = "null";
/// Encryption that is told of objects whose ETags are no MD5s.
const KEY_MANAGEMENT: &str = "aws:kms";

/// A part of an object that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    offset: u64,
    len: u64,
    /// True if a range or a part was asked for.
    is_partial: bool,
}

impl Reading {
    fn of(object: &StoredObject, range: Option<Range>, part: Option<i32>) -> S3Result<Self> {
        let size = object.size();
        match (range, part) {
            (Some(_), Some(_)) => {
                Err(refused("InvalidRequest", "cannot specify both Range header and partNumber query parameter"))
            }
            (None, None) => Ok(Self { offset: 0, len: size, is_partial: false }),
            (Some(range), None) => {
                let unsatisfiable = |_| refused("InvalidRange", "the requested range is not satisfiable");
                let range = range.check(size).map_err(unsatisfiable)?;
                Ok(Self { offset: range.start, len: range.end - range.start, is_partial: true })
            }
            (None, Some(number)) => {
                let number = u32::try_from(number).ok().filter(|number| (1..=10_000).contains(number));
                let invalid = || refused("InvalidArgument", "part number must be between 1 and 10000, inclusive");
                let part = object.part(number.ok_or_else(invalid)?);
                let beyond = || refused("InvalidPartNumber", "the requested partnumber is not satisfiable");
                let (offset, len) = part.ok_or_else(beyond)?;
                Ok(Self { offset, len, is_partial: true })
            }
        }
    }

    /// Returns the range in the whole object. Without bytes there is none.
    fn content_range(self, size: u64) -> Option<String> {
        let last = (self.offset + self.len).checked_sub(1)?;
        (self.is_partial && self.len > 0).then(|| format!("bytes {}-{last}/{size}", self.offset))
    }
}

/// Returns the headers of an object for which the library has no type, or one that does not take any text.
fn headers(open: &OpenObject, operation: Operation, part: Option<i32>) -> HeaderMap {
    let OpenObject { object, bucket, .. } = open;
    let mut headers = HeaderMap::new();
    add(&mut headers, "etag", &object.etag.quoted());
    describe(&mut headers, &object.attributes);
    let tells_tags = operation == Operation::GetObject || !bucket.quiet_of_tags;
    if tells_tags && !object.tags.is_empty() {
        add(&mut headers, "x-amz-tagging-count", &object.tags.len().to_string());
    }
    if part.is_some() && !object.parts.is_empty() {
        add(&mut headers, "x-amz-mp-parts-count", &object.parts.len().to_string());
    }
    add_encryption(&mut headers, object.etag_is_md5);
    headers
}

/// Tells the encryption that makes ETags something else than MD5s.
fn add_encryption(headers: &mut HeaderMap, etag_is_md5: bool) {
    if !etag_is_md5 {
        add(headers, "x-amz-server-side-encryption", KEY_MANAGEMENT);
    }
}

/// Returns the version id as a bucket tells it.
pub(crate) fn version_id(id: Option<String>, bucket: &BucketSettings) -> Option<String> {
    id.or_else(|| (bucket.versioning != Versioning::Off).then(|| NULL.to_owned()))
}

/// Sets the members that the answers to GET and HEAD have in common.
macro_rules! described {
    ($output:ident, $open:expr, $reading:expr, $checksum:expr) => {{
        let (object, checksum) = (&$open.object, $checksum);
        let attributes = &object.attributes;
        $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: attributes.cache_control.clone(),
            checksum_type: checksum.is_some().then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
            checksum_crc64nvme: checksum,
            content_disposition: attributes.content_disposition.clone(),
            content_encoding: attributes.content_encoding.clone(),
            content_language: attributes.content_language.clone(),
            content_length: i64::try_from($reading.len).ok(),
            content_range: $reading.content_range(object.size()),
            content_type: attributes.content_type.clone(),
            last_modified: Some(timestamp(object.modified)),
            storage_class: attributes.storage_class.clone().filter(|class| class != STANDARD).map(StorageClass::from),
            version_id: version_id(object.version_id.clone(), &$open.bucket),
            website_redirect_location: attributes.website_redirect.clone(),
            ..Default::default()
        }
    }};
}

/// Returns the checksum of a whole object that is asked for.
fn checksum(object: &StoredObject, mode: Option<&ChecksumMode>, reading: Reading) -> Option<String> {
    let asked = mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED) && !reading.is_partial;
    object.checksum.filter(|_| asked).map(encode)
}

/// Opens an object, or a version of it, if the conditions hold.
async fn open(
    store: &LocalStore,
    operation: Operation,
    (bucket, key, version_id): (&str, &str, Option<&str>),
    conditions: &ReadConditions,
) -> S3Result<OpenObject> {
    let open = store.open_object(operation, bucket, key, version_id).await.map_err(|error| s3_error(&error))?;
    conditions.check(&open.object)?;
    Ok(open)
}

pub(crate) async fn get(
    store: &LocalStore,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    const GET: Operation = Operation::GetObject;
    let input = request.input;
    let conditions = ReadConditions {
        matches: input.if_match,
        matches_none: input.if_none_match,
        modified_since: input.if_modified_since,
        unmodified_since: input.if_unmodified_since,
    };
    let named = (input.bucket.as_str(), input.key.as_str(), input.version_id.as_deref());
    let open = open(store, GET, named, &conditions).await?;
    if open.object.is_archived() {
        return Err(refused("InvalidObjectState", "the operation is not valid for the object's storage class"));
    }
    let reading = Reading::of(&open.object, input.range, input.part_number)?;
    let headers = headers(&open, GET, input.part_number);
    let checksum = checksum(&open.object, input.checksum_mode.as_ref(), reading);
    let mut output = described!(GetObjectOutput, open, reading, checksum);
    let body = open.body(reading.offset, reading.len).map_ok(Frame::data);
    output.body = Some(StreamingBlob::from(Body::http_body_unsync(StreamBody::new(body))));
    Ok(S3Response { headers, ..S3Response::new(output) })
}

pub(crate) async fn head(
    store: &LocalStore,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    const HEAD: Operation = Operation::HeadObject;
    let input = request.input;
    let conditions = ReadConditions {
        matches: input.if_match,
        matches_none: input.if_none_match,
        modified_since: input.if_modified_since,
        unmodified_since: input.if_unmodified_since,
    };
    let named = (input.bucket.as_str(), input.key.as_str(), input.version_id.as_deref());
    let open = open(store, HEAD, named, &conditions).await?;
    let reading = Reading::of(&open.object, input.range, input.part_number)?;
    let headers = headers(&open, HEAD, input.part_number);
    let checksum = checksum(&open.object, input.checksum_mode.as_ref(), reading);
    let output = described!(HeadObjectOutput, open, reading, checksum);
    let status = output.content_range.is_some().then_some(StatusCode::PARTIAL_CONTENT);
    Ok(S3Response { headers, status, ..S3Response::new(output) })
}

/// Returns the headers of the answer to a write.
pub(crate) fn written_headers(written: &Written, mut headers: HeaderMap) -> HeaderMap {
    add(&mut headers, "etag", &written.etag.quoted());
    if let Some(checksum) = written.checksum {
        add(&mut headers, "x-amz-checksum-crc64nvme", &encode(checksum));
    }
    add_encryption(&mut headers, written.etag_is_md5);
    headers
}

pub(crate) async fn put(
    store: &LocalStore,
    mut request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let (body, len) = (request.input.body.take(), request.input.content_length);
    let (attributes, tags) = (attributes(&request.headers)?, tags(&request.headers)?);
    let condition = write_condition(request.input.if_match.as_ref(), request.input.if_none_match.as_ref())?;
    if request.input.write_offset_bytes.is_some() {
        return Err(refused("NotImplemented", "header x-amz-write-offset-bytes is not implemented"));
    }
    let body = UploadBody::of(Operation::PutObject, &request, body, len)?;
    let PutObjectInput { bucket, key, .. } = request.input;
    let put = PutObject { bucket: &bucket, key: &key, attributes: &attributes, tags: &tags, condition: &condition };
    let written = store.put_object(put, body.incoming).await.map_err(|error| s3_error(&error))?;
    let mut headers = written_headers(&written, verified(&body.verified));
    if written.checksum.is_some() {
        add(&mut headers, "x-amz-checksum-type", ChecksumType::FULL_OBJECT);
    }
    let settings = store.bucket_settings(&bucket).unwrap_or_default();
    let output = PutObjectOutput { version_id: version_id(written.version_id, &settings), ..Default::default() };
    Ok(S3Response { headers, ..S3Response::new(output) })
}

pub(crate) async fn delete(store: &LocalStore, input: DeleteObjectInput) -> S3Result<DeleteObjectOutput> {
    if input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(refused("NotImplemented", "a condition of a deletion is If-Match"));
    }
    let if_match = match input.if_match {
        Some(ETagCondition::ETag(tag)) => Some(ETag::new(tag.value())),
        Some(ETagCondition::Any) => return Err(refused("NotImplemented", "If-Match: * is not implemented")),
        None => None,
    };
    delete_one(store, &input.bucket, &input.key, input.version_id.as_deref(), if_match.as_ref()).await
}

async fn delete_one(
    store: &LocalStore,
    bucket: &str,
    key: &str,
    version: Option<&str>,
    if_match: Option<&ETag>,
) -> S3Result<DeleteObjectOutput> {
    let deleted = match version {
        Some(_) if if_match.is_some() => {
            return Err(refused("NotImplemented", "a condition on the deletion of a version is not implemented"));
        }
        Some(id) => store.delete_version(bucket, key, id).await,
        None => store.delete_object(DeleteRequest { bucket, key, if_match }).await,
    };
    let deleted = deleted.map_err(|error| s3_error(&error))?;
    Ok(DeleteObjectOutput {
        delete_marker: deleted.is_marker.then_some(true),
        version_id: deleted.version_id,
        ..Default::default()
    })
}

/// Deletes objects one by one, and tells of each whether it was deleted.
pub(crate) async fn delete_several(store: &LocalStore, input: DeleteObjectsInput) -> S3Result<DeleteObjectsOutput> {
    let is_quiet = input.delete.quiet == Some(true);
    let bucket = &input.bucket;
    if store.bucket_settings(bucket).is_none() {
        return Err(refused("NoSuchBucket", "the specified bucket does not exist"));
    }
    let results = futures::stream::iter(input.delete.objects).then(|object| async move {
        let if_match = object.e_tag.map(|tag| ETag::new(tag.value()));
        let version = object.version_id.as_deref();
        let deleted = delete_one(store, bucket, &object.key, version, if_match.as_ref()).await;
        (object.key, object.version_id, deleted)
    });
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (key, version_id, result) in results.collect::<Vec<_>>().await {
        match result {
            Ok(done) => {
                let marker = done.version_id.filter(|_| done.delete_marker == Some(true));
                let delete_marker_version_id = marker;
                let delete_marker = done.delete_marker;
                deleted.push(DeletedObject { delete_marker, delete_marker_version_id, key: Some(key), version_id });
            }
            Err(error) => errors.push(Error {
                code: Some(error.code().as_str().to_owned()),
                message: error.message().map(ToOwned::to_owned),
                key: Some(key),
                version_id,
            }),
        }
    }
    let deleted = Some(deleted).filter(|_| !is_quiet);
    Ok(DeleteObjectsOutput { deleted, errors: Some(errors), ..Default::default() })
}
