//! What the engine needs of the world, as narrow traits. Adapters make no decisions: they do one request each, retry
//! what is broken on the way, and sort errors into classes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::{Map, Value};

use crate::compare::ListedObject;
use crate::error::ServiceError;
use crate::etag::{ETag, Md5Digest};
use crate::resume::ListedPart;

/// A body as it arrives.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ServiceError>> + Send>>;

/// One side's S3 service.
pub trait ObjectStore: Send + Sync + 'static {
    /// One page of at most 1,000 keys under a prefix, in the byte order of their UTF-8.
    fn list(&self, request: ListRequest<'_>) -> impl Future<Output = Result<ListPage, ServiceError>> + Send;

    /// An object or a range of it, with what is known of it.
    fn get(&self, request: GetRequest<'_>) -> impl Future<Output = Result<GetResponse, ServiceError>> + Send;

    /// What is known of an object; none where it is absent.
    fn head(&self, bucket: &str, key: &str) -> impl Future<Output = Result<Option<ObjectHead>, ServiceError>> + Send;

    /// An object's tags.
    fn tags(
        &self,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
    ) -> impl Future<Output = Result<Tags, ServiceError>> + Send;

    /// Writes a whole object.
    fn put(&self, request: PutRequest<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// Begins a multipart upload and gives its id. One try only: a lost answer leaves an upload behind, and the caller
    /// has to know that there may be one.
    fn create_upload(&self, request: CreateUpload<'_>) -> impl Future<Output = Result<String, ServiceError>> + Send;

    /// Sends one part.
    fn put_part(&self, request: PutPart<'_>) -> impl Future<Output = Result<Written, ServiceError>> + Send;

    /// One page of at most 1,000 parts, after a part number.
    fn list_parts(
        &self,
        upload: UploadRef<'_>,
        after: Option<u32>,
    ) -> impl Future<Output = Result<PartsPage, ServiceError>> + Send;

    /// Makes the parts an object.
    fn complete_upload(
        &self,
        upload: UploadRef<'_>,
        parts: &[(u32, ETag)],
        condition: &WriteCondition,
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
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects, in the order in which the service gave them.
    pub objects: Vec<ListedObject>,
    /// What to ask the next page with; none at the end.
    pub continuation: Option<String>,
}

/// Which object, and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct GetRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// First byte and number of bytes (at least 1); none means all.
    pub range: Option<(u64, u64)>,
    /// Only this content.
    pub if_match: Option<&'a ETag>,
    /// Only this version.
    pub version_id: Option<&'a str>,
}

/// An answer to a GET.
pub struct GetResponse {
    /// What is known of the whole object.
    pub head: ObjectHead,
    /// The bytes asked for.
    pub body: ByteStream,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectHead {
    /// Bytes of the whole object.
    pub size: u64,
    /// Its ETag.
    pub etag: Option<ETag>,
    /// Its version, in versioned buckets.
    pub version_id: Option<String>,
    /// Number of its tags; absent without tags and where the caller may not read them.
    pub tag_count: u32,
    /// What travels with it.
    pub attributes: Attributes,
}

/// What travels with an object besides its bytes and tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`, without that prefix.
    pub metadata: BTreeMap<String, String>,
    /// Storage class; none means STANDARD.
    pub storage_class: Option<String>,
}

/// Tags of an object.
pub type Tags = Vec<(String, String)>;

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
#[derive(Clone, Debug)]
pub struct PutPart<'a> {
    /// Of which upload.
    pub upload: UploadRef<'a>,
    /// From 1.
    pub number: u32,
    /// The bytes.
    pub body: Bytes,
    /// Their MD5; the service refuses another body.
    pub md5: Md5Digest,
}

/// What the service says of something written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The ETag that it has now.
    pub etag: ETag,
    /// Whether that ETag is an MD5 by the service's own rules: not under SSE-KMS and SSE-C.
    pub etag_is_md5: bool,
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

/// The queue of a job, and its dead letters.
pub trait Queue: Send + Sync + 'static {
    /// Sends up to 10 messages; gives the places of those that were not taken.
    fn send(&self, messages: &[OutgoingMessage]) -> impl Future<Output = Result<Vec<usize>, ServiceError>> + Send;

    /// Waits up to `wait` (at most 20 s) for at most `max` (at most 10) messages, and keeps them from others for
    /// `visibility`.
    fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> impl Future<Output = Result<Vec<ReceivedMessage>, ServiceError>> + Send;

    /// Keeps a received message from others for this long from now; zero gives it back.
    fn set_visibility(
        &self,
        receipt: &str,
        visibility: Duration,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Removes a received message.
    fn delete(&self, receipt: &str) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Puts a copy of a message's body among the dead letters, with the reason as its attribute `reason`.
    fn send_dead_letter(&self, body: &str, reason: &str) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The body.
    pub body: String,
    /// How long it stays invisible at first; at most 900 s.
    pub delay: Duration,
}

/// A message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The service's id of the message.
    pub id: String,
    /// What later requests name this delivery with.
    pub receipt: String,
    /// The body.
    pub body: String,
    /// Deliveries so far, this one included.
    pub receives: u32,
}

/// A table of items by partition and sort key, as `DynamoDB` has them. Every read sees all writes before it.
pub trait Ledger: Send + Sync + 'static {
    /// One item.
    fn get(&self, key: &LedgerKey) -> impl Future<Output = Result<Option<Item>, ServiceError>> + Send;

    /// A page of the items of a partition whose sort keys start with `prefix`, in order, after a sort key.
    /// Expired items may still be among them.
    fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<QueryPage, ServiceError>> + Send;

    /// Does all of up to 100 writes to different items, or none.
    fn write(&self, writes: &[Write]) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// Names an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerKey {
    /// Partition key; up to 2,048 bytes.
    pub partition: String,
    /// Sort key; 1 … 1,024 bytes.
    pub sort: String,
}

impl LedgerKey {
    /// A key.
    pub fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: LedgerKey,
    /// Its attributes; integers are within `i64`.
    pub attributes: Map<String, Value>,
    /// When it may be forgotten, in seconds since 1970.
    pub expires_at: Option<i64>,
}

/// A page of a query.
#[derive(Clone, Debug, Default)]
pub struct QueryPage {
    /// The items.
    pub items: Vec<Item>,
    /// The sort key to go on after; none at the end.
    pub next: Option<String>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts an item in place of what is there.
    Put {
        /// The item.
        item: Item,
        /// When.
        condition: Condition,
    },
    /// Adds to numbers of an item, which is made where it is absent.
    Add {
        /// The item.
        key: LedgerKey,
        /// Attribute and what is added to it.
        deltas: Vec<(String, i64)>,
        /// When it may be forgotten, in seconds since 1970.
        expires_at: Option<i64>,
    },
    /// Removes an item; nothing happens where it is absent.
    Delete {
        /// The item.
        key: LedgerKey,
        /// When.
        condition: Condition,
    },
}

/// When a write happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// If there is no such item.
    Absent,
    /// If the item's attribute `revision` has this value.
    Revision(u64),
}

/// Why nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A condition does not hold. Not said where an earlier try of the same request was the one that broke it, unless
    /// its answer was lost: who must know reads the item.
    #[error("failed to write ledger record: another writer was first")]
    Condition,
    /// The service.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// The time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now(&self) -> i64;
}
