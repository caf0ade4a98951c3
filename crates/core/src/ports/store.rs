//! One side's S3 service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

use crate::error::ServiceError;
use crate::etag::{ETag, Md5Digest};
use crate::object::{Attributes, Checksum, CompletedPart, ListedObject, ListedPart, ObjectHead, Tags};

/// A body as it arrives.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ServiceError>> + Send>>;

/// One side's S3 service.
pub trait ObjectStore: Send + Sync + 'static {
    /// One page of at most 1,000 keys under a prefix, in the byte order of their UTF-8.
    fn list(&self, request: ListRequest<'_>) -> impl Future<Output = Result<ListPage, ServiceError>> + Send;

    /// The same with the ids of versions: the newest version of each key, without those whose newest is a delete
    /// marker. The continuation is opaque.
    fn list_versions(&self, request: ListRequest<'_>) -> impl Future<Output = Result<ListPage, ServiceError>> + Send;

    /// An object or a span of it, with what is known of it.
    fn get(&self, request: GetRequest<'_>) -> impl Future<Output = Result<GetResponse, ServiceError>> + Send;

    /// What is known of an object; none where it is absent.
    fn head(&self, request: HeadRequest<'_>) -> impl Future<Output = Result<Option<ObjectHead>, ServiceError>> + Send;

    /// An object's tags.
    fn tags(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> impl Future<Output = Result<Tags, ServiceError>> + Send;

    /// Gives an object these tags, in place of those that it has.
    fn put_tags(&self, request: PutTags<'_>) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Writes a whole object.
    fn put(&self, request: PutRequest<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Lets this service copy a whole object of up to 5 GiB by itself.
    fn copy(&self, request: CopyRequest<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Deletes an object, where it is there and has the content asked for; in a bucket that keeps versions by a delete
    /// marker, so that the versions stay.
    fn delete(&self, request: DeleteRequest<'_>) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Begins a multipart upload and gives its id. One try only: a lost answer leaves an upload behind, and the caller
    /// has to know that there may be one.
    fn create_upload(&self, request: CreateUpload<'_>) -> impl Future<Output = Result<String, ServiceError>> + Send;

    /// Sends one part. A streamed body is sent once: who wants another try reads it again.
    fn put_part(&self, request: PutPart<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Lets this service copy a part by itself.
    fn copy_part(&self, request: CopyPart<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// One page of at most 1,000 parts, after a part number.
    fn list_parts(
        &self,
        upload: UploadRef<'_>,
        after: Option<u32>,
    ) -> impl Future<Output = Result<PartsPage, ServiceError>> + Send;

    /// Makes the parts an object.
    fn complete_upload(
        &self,
        request: CompleteUpload<'_>,
    ) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Gives an upload up.
    fn abort_upload(&self, upload: UploadRef<'_>) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// The open uploads of exactly this key.
    fn list_uploads(
        &self,
        bucket: &str,
        key: &str,
    ) -> impl Future<Output = Result<Vec<OpenUpload>, ServiceError>> + Send;
}

/// Which page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct ListRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// Only keys that start with this.
    pub prefix: &'a str,
    /// Only keys after this one.
    pub start_after: Option<&'a str>,
    /// Where the page before ended.
    pub continuation: Option<&'a str>,
    /// No more than so many keys, where less than a page is enough.
    pub max_keys: Option<u16>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects, in the order in which the service gave them.
    pub objects: Vec<ListedObject>,
    /// What to ask the next page with; none at the end.
    pub continuation: Option<String>,
}

/// How much of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// All of it. Its checksum is asked for too.
    #[default]
    Whole,
    /// Bytes from an offset on.
    Range {
        /// The first byte.
        offset: u64,
        /// Number of bytes; at least 1.
        len: u64,
    },
    /// One of the parts that it was uploaded in, from 1. An object that was not uploaded in parts is its own part 1.
    Part(u32),
}

/// Which object, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct GetRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// How much.
    pub span: Span,
    /// Only this content.
    pub if_match: Option<&'a ETag>,
    /// Only this version.
    pub version_id: Option<&'a str>,
}

/// An answer to a GET.
pub struct GetResponse {
    /// What is known of the whole object.
    pub head: ObjectHead,
    /// Bytes that the body has, as the service says.
    pub len: u64,
    /// The bytes asked for.
    pub body: ByteStream,
}

/// Which object to delete.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Only this content.
    pub if_match: Option<&'a ETag>,
}

/// Which object to look at.
#[derive(Clone, Copy, Debug)]
pub struct HeadRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Only this version.
    pub version_id: Option<&'a str>,
    /// Ask for the checksum of the whole content too.
    pub checksum: bool,
}

impl<'a> HeadRequest<'a> {
    /// The newest version, without its checksum.
    pub const fn new(bucket: &'a str, key: &'a str) -> Self {
        Self { bucket, key, version_id: None, checksum: false }
    }
}

/// Tags to give to an object. No condition can be asked: who writes a version of its own names it.
/// Source: `PutObjectTagging` in the S3 API reference.
#[derive(Clone, Copy, Debug)]
pub struct PutTags<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Only this version.
    pub version_id: Option<&'a str>,
    /// The tags; at least one.
    pub tags: &'a Tags,
}

/// What the destination must have for a write to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// Whatever is there.
    #[default]
    Any,
    /// Nothing (`If-None-Match: *`).
    Absent,
    /// This content (`If-Match`).
    Matches(ETag),
}

/// A whole object to write.
#[derive(Clone, Debug)]
pub struct PutRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The bytes.
    pub body: Bytes,
    /// Their MD5; the service refuses another body.
    pub md5: Md5Digest,
    /// What travels with it.
    pub attributes: &'a Attributes,
    /// Its tags.
    pub tags: &'a Tags,
    /// When to write.
    pub condition: &'a WriteCondition,
}

/// A multipart upload to begin.
#[derive(Clone, Copy, Debug)]
pub struct CreateUpload<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// What travels with the object.
    pub attributes: &'a Attributes,
    /// Its tags.
    pub tags: &'a Tags,
    /// Names CRC-64/NVME as the checksum of the whole object: then parts bring theirs along, and completion names
    /// them.
    pub checksum: bool,
}

/// Names an upload.
#[derive(Clone, Copy, Debug)]
pub struct UploadRef<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The service's id.
    pub upload_id: &'a str,
}

/// A part to send.
#[derive(Debug)]
pub struct PutPart<'a> {
    /// Of which upload.
    pub upload: UploadRef<'a>,
    /// From 1.
    pub number: u32,
    /// The bytes.
    pub body: Body,
    /// The upload was begun with a checksum named: this part brings its own along.
    pub checksum: bool,
}

/// Bytes to send.
pub enum Body {
    /// In memory, with their MD5: the service refuses another body.
    Held {
        /// The bytes.
        bytes: Bytes,
        /// Their MD5.
        md5: Md5Digest,
    },
    /// As they arrive: what came of it is judged by what the service says it has got. An error in the stream breaks
    /// the request, and nothing is stored.
    Streamed {
        /// The bytes.
        stream: ByteStream,
        /// How many.
        len: u64,
    },
}

impl Body {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Held { bytes, .. } => bytes.len() as u64,
            Self::Streamed { len, .. } => *len,
        }
    }

    /// Whether there are none.
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

/// What a service copies by itself. It reads with the rights of who asks, so both buckets are of one service.
#[derive(Clone, Copy, Debug)]
pub struct CopySource<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Only this version.
    pub version_id: Option<&'a str>,
    /// Only this content.
    pub if_match: &'a ETag,
}

/// A whole object to copy. What travels with it is taken along by the service, but for what is not the default:
/// locks, website redirect and storage class.
#[derive(Clone, Copy, Debug)]
pub struct CopyRequest<'a> {
    /// From where.
    pub source: CopySource<'a>,
    /// The bucket to write.
    pub bucket: &'a str,
    /// The key to write.
    pub key: &'a str,
    /// What travels with the object, as the source has it.
    pub attributes: &'a Attributes,
    /// When to write.
    pub condition: &'a WriteCondition,
}

/// A part to copy.
#[derive(Clone, Copy, Debug)]
pub struct CopyPart<'a> {
    /// From where.
    pub source: CopySource<'a>,
    /// Of which upload.
    pub upload: UploadRef<'a>,
    /// From 1.
    pub number: u32,
    /// The first byte at the source.
    pub offset: u64,
    /// Number of bytes; at least 1.
    pub len: u64,
}

/// What the service says of something written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The ETag that it has now.
    pub etag: ETag,
    /// Whether that ETag is made of MD5s by the service's own rules: not under SSE-KMS, DSSE and SSE-C.
    pub etag_is_md5: bool,
    /// The CRC-64/NVME of the bytes that it has got, where it says so: of an object the whole content's.
    pub checksum: Option<Checksum>,
    /// The version that was made, in versioned buckets.
    pub version_id: Option<String>,
}

/// A page of an upload's parts.
#[derive(Clone, Debug, Default)]
pub struct PartsPage {
    /// The parts, in order of their numbers.
    pub parts: Vec<ListedPart>,
    /// What to ask the next page with; none at the end.
    pub next: Option<u32>,
    /// Who began the upload, where the service says so.
    pub initiator: Option<String>,
}

/// An upload to complete.
#[derive(Clone, Copy, Debug)]
pub struct CompleteUpload<'a> {
    /// Which.
    pub upload: UploadRef<'a>,
    /// Its parts, in order of their numbers.
    pub parts: &'a [CompletedPart],
    /// When to write.
    pub condition: &'a WriteCondition,
}

/// An upload that is open at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The service's id.
    pub upload_id: String,
    /// When it was begun, in milliseconds since 1970.
    pub initiated: i64,
    /// Who began it, where the service says so.
    pub initiator: Option<String>,
}
