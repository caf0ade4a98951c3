//! The S3 service of one side.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

use super::Capabilities;
use crate::error::ServiceError;
use crate::object::{ObjectHead, Tags};

mod reads;
mod uploads;
mod writes;

pub use reads::{GetRequest, GetResponse, HeadRequest, ListPage, ListRequest, Span};
pub use uploads::{Body, CompleteUpload, CopyPart, CreateUpload, OpenUpload, PartsPage, PutPart, UploadRef};
pub use writes::{CopyRequest, CopySource, DeleteRequest, PutRequest, PutTags, WriteCondition, Written};

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
