//! The S3 service of one side.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

use super::Capabilities;
use crate::error::ServiceError;
use crate::etag::{ETag, Md5Digest};
use crate::object::{Attributes, Checksum, CompletedPart, ListedObject, ListedPart, ObjectHead, Tags};

/// The chunks of a body, as they arrive.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ServiceError>> + Send>>;

/// The S3 service of one side.
pub trait ObjectStore: Send + Sync + 'static {
    /// What is known of the service before anything is asked of it. Asks for nothing.
    fn capabilities(&self) -> Capabilities;

    /// Returns how far the service's clock is ahead of ours by its last answer, in milliseconds. `None` if no answer told.
    /// Asks for nothing.
    fn clock_offset(&self) -> Option<i64> {
        None
    }

    /// Returns the command with which a person aborts an upload.
    fn abort_command(&self, upload: UploadRef<'_>) -> String;

    /// Lists one page of at most 1,000 keys under a prefix, in byte order of their UTF-8.
    fn list(&self, request: ListRequest<'_>) -> impl Future<Output = Result<ListPage, ServiceError>> + Send;

    /// Lists one page with version IDs: the latest version of each key, except keys whose latest version is a delete
    /// marker. The continuation is opaque.
    fn list_versions(&self, request: ListRequest<'_>) -> impl Future<Output = Result<ListPage, ServiceError>> + Send;

    /// Reads an object, or a span of it, with its metadata.
    fn get(&self, request: GetRequest<'_>) -> impl Future<Output = Result<GetResponse, ServiceError>> + Send;

    /// Returns the metadata of an object, or `None` if the object does not exist.
    fn head(&self, request: HeadRequest<'_>) -> impl Future<Output = Result<Option<ObjectHead>, ServiceError>> + Send;

    /// Returns the tags of an object.
    fn tags(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> impl Future<Output = Result<Tags, ServiceError>> + Send;

    /// Replaces the tags of an object.
    fn put_tags(&self, request: PutTags<'_>) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Writes a whole object.
    fn put(&self, request: PutRequest<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Makes this service copy a whole object of up to 5 GiB.
    fn copy(&self, request: CopyRequest<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Deletes an object if it exists and has the required content. A bucket that keeps versions gets a delete marker,
    /// so that the versions stay.
    fn delete(&self, request: DeleteRequest<'_>) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Creates a multipart upload and returns its ID. Never retried: if the answer is lost, an upload may be left
    /// behind, and the caller has to know.
    fn create_upload(&self, request: CreateUpload<'_>) -> impl Future<Output = Result<String, ServiceError>> + Send;

    /// Uploads one part. A streamed body is sent once; the caller has to read it again to retry.
    fn put_part(&self, request: PutPart<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Makes this service copy one part.
    fn copy_part(&self, request: CopyPart<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Lists one page of at most 1,000 parts, after a part number.
    fn list_parts(
        &self,
        upload: UploadRef<'_>,
        after: Option<u32>,
    ) -> impl Future<Output = Result<PartsPage, ServiceError>> + Send;

    /// Completes an upload, which creates the object.
    fn complete_upload(
        &self,
        request: CompleteUpload<'_>,
    ) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Aborts an upload.
    fn abort_upload(&self, upload: UploadRef<'_>) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Lists the open uploads of exactly this key.
    fn list_uploads(
        &self,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<Vec<OpenUpload>, ServiceError>> + Send;
}

/// A request for a page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct ListRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// Only keys that start with this.
    pub prefix: &'a str,
    /// Only keys after this one.
    pub start_after: Option<&'a str>,
    /// Continuation of the previous page.
    pub continuation: Option<&'a str>,
    /// Maximum number of keys; `None` means a full page.
    pub max_keys: Option<u16>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects, in the order returned by the service.
    pub objects: Vec<ListedObject>,
    /// Continuation for the next page; `None` at the end.
    pub continuation: Option<String>,
}

/// The span of an object to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// The whole object, with its checksum.
    #[default]
    Whole,
    /// A byte range.
    Range {
        /// Offset of the first byte.
        offset: u64,
        /// Number of bytes; at least 1.
        len: u64,
    },
    /// One of the parts in which it was uploaded, from 1. An object not uploaded in parts consists of part 1.
    Part(u32),
}

/// A request to read an object.
#[derive(Clone, Copy, Debug)]
pub struct GetRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The span to read.
    pub span: Span,
    /// Required ETag.
    pub if_match: Option<&'a ETag>,
    /// Version to read.
    pub version_id: Option<&'a str>,
}

/// The answer to a GET.
pub struct GetResponse {
    /// Metadata of the whole object.
    pub head: ObjectHead,
    /// Length of the body in bytes, as announced by the service.
    pub len: u64,
    /// The requested bytes.
    pub body: ByteStream,
}

/// A request to delete an object.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Required ETag.
    pub if_match: Option<&'a ETag>,
}

/// A request for the metadata of an object.
#[derive(Clone, Copy, Debug)]
pub struct HeadRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Version to look up.
    pub version_id: Option<&'a str>,
    /// Request the checksum of the whole content too.
    pub checksum: bool,
}

impl<'a> HeadRequest<'a> {
    /// Requests the latest version, without its checksum.
    pub const fn new(bucket: &'a str, key: &'a str) -> Self {
        Self { bucket, key, version_id: None, checksum: false }
    }
}

/// A request to set tags. S3 supports no condition on it, so `version_id` should name the version written.
/// Source: `PutObjectTagging` in the S3 API reference.
#[derive(Clone, Copy, Debug)]
pub struct PutTags<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Version to tag.
    pub version_id: Option<&'a str>,
    /// The tags; at least one.
    pub tags: &'a Tags,
}

/// The destination state required for a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// Any.
    #[default]
    Any,
    /// The object does not exist (`If-None-Match: *`).
    Absent,
    /// The object has this ETag (`If-Match`).
    Matches(ETag),
}

/// A request to write a whole object.
#[derive(Clone, Debug)]
pub struct PutRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The body.
    pub body: Bytes,
    /// MD5 of the body. The service rejects any other body.
    pub md5: Md5Digest,
    /// Headers, metadata, storage class and lock to write.
    pub attributes: &'a Attributes,
    /// The tags.
    pub tags: &'a Tags,
    /// Required state of the destination.
    pub condition: &'a WriteCondition,
}

/// A request to create a multipart upload.
#[derive(Clone, Copy, Debug)]
pub struct CreateUpload<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Headers, metadata, storage class and lock of the object.
    pub attributes: &'a Attributes,
    /// The tags.
    pub tags: &'a Tags,
    /// Use CRC-64/NVME as the checksum of the whole object. Each part is then sent with its checksum, and completion
    /// names them all.
    pub checksum: bool,
}

/// Identifies an upload.
#[derive(Clone, Copy, Debug)]
pub struct UploadRef<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The service's ID of the upload.
    pub upload_id: &'a str,
}

/// A request to upload a part.
#[derive(Debug)]
pub struct PutPart<'a> {
    /// The upload.
    pub upload: UploadRef<'a>,
    /// Part number, from 1.
    pub number: u32,
    /// The content of the part.
    pub body: Body,
    /// True if the upload was created with a checksum algorithm: this part carries its checksum.
    pub checksum: bool,
}

/// The body of a request.
pub enum Body {
    /// A body in memory, with its MD5. The service rejects any other body.
    Held {
        /// The bytes.
        bytes: Bytes,
        /// Their MD5.
        md5: Md5Digest,
    },
    /// A body sent as it arrives; the answer tells what the service received. An error in the stream aborts the
    /// request, and nothing is stored.
    Streamed {
        /// The bytes.
        stream: ByteStream,
        /// Length in bytes.
        len: u64,
    },
}

impl Body {
    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Held { bytes, .. } => bytes.len() as u64,
            Self::Streamed { len, .. } => *len,
        }
    }

    /// Returns true if the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Held { .. } => "Held",
            Self::Streamed { .. } => "Streamed",
        };
        f.debug_struct(name).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The source of a copy by the service. It is read with the requester's permissions, so both buckets are on one
/// service.
#[derive(Clone, Copy, Debug)]
pub struct CopySource<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Version to copy.
    pub version_id: Option<&'a str>,
    /// Required ETag of the source.
    pub if_match: &'a ETag,
}

/// A request to copy a whole object. The service copies the attributes itself, except those that it does not copy by
/// default: locks, website redirect and storage class.
#[derive(Clone, Copy, Debug)]
pub struct CopyRequest<'a> {
    /// The object to copy.
    pub source: CopySource<'a>,
    /// The bucket to write to.
    pub bucket: &'a str,
    /// The key to write to.
    pub key: &'a str,
    /// The attributes of the source object.
    pub attributes: &'a Attributes,
    /// Required state of the destination.
    pub condition: &'a WriteCondition,
}

/// A request to copy a part.
#[derive(Clone, Copy, Debug)]
pub struct CopyPart<'a> {
    /// The object to copy from.
    pub source: CopySource<'a>,
    /// The upload.
    pub upload: UploadRef<'a>,
    /// Part number, from 1.
    pub number: u32,
    /// Offset of the first byte in the source.
    pub offset: u64,
    /// Number of bytes; at least 1.
    pub len: u64,
}

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// ETag of the object or part written.
    pub etag: ETag,
    /// True if the service's rules make the ETag an MD5, or an MD5 of MD5s: not under SSE-KMS, DSSE-KMS and SSE-C.
    pub etag_is_md5: bool,
    /// CRC-64/NVME of the bytes received, if the service returns it; for an object, that of the whole content.
    pub checksum: Option<Checksum>,
    /// ID of the version created, in versioned buckets.
    pub version_id: Option<String>,
}

/// A page of an upload's parts.
#[derive(Clone, Debug, Default)]
pub struct PartsPage {
    /// The parts, in order of their numbers.
    pub parts: Vec<ListedPart>,
    /// Part number after which the next page starts; `None` at the end.
    pub next: Option<u32>,
    /// The principal that created the upload, if the service reports it.
    pub initiator: Option<String>,
}

/// A request to complete an upload.
#[derive(Clone, Copy, Debug)]
pub struct CompleteUpload<'a> {
    /// The upload.
    pub upload: UploadRef<'a>,
    /// Its parts, in order of their numbers.
    pub parts: &'a [CompletedPart],
    /// Required state of the destination.
    pub condition: &'a WriteCondition,
}

/// An open upload at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The service's ID of the upload.
    pub upload_id: String,
    /// When it was created, as Unix time in milliseconds.
    pub initiated: i64,
    /// The principal that created it, if the service reports it.
    pub initiator: Option<String>,
}
