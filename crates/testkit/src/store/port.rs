//! The port on the state.

use migration_core::error::ServiceError;
use migration_core::etag::ETag;
use migration_core::ports::{
    Clock, CreateUpload, GetRequest, GetResponse, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload,
    PartsPage, PutPart, PutRequest, Tags, UploadRef, WriteCondition, Written,
};

use super::MemoryStore;
use super::state::Bucket;
use super::upload::Upload;
use crate::lock;
use crate::operation::Operation;

impl MemoryStore {
    /// Does one request on a bucket, unless the switches refuse it.
    fn on_bucket<T>(
        &self,
        operation: Operation,
        bucket: &str,
        request: impl FnOnce(&mut Bucket) -> Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        self.denials.check(operation)?;
        request(lock(&self.state).bucket(operation, bucket)?)
    }
}

impl ObjectStore for MemoryStore {
    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.on_bucket(Operation::ListObjects, request.bucket, |b| b.list(request, self.settings.list_page))
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        self.on_bucket(Operation::GetObject, request.bucket, |b| b.get(request, &self.settings))
    }

    async fn head(&self, bucket: &str, key: &str) -> Result<Option<ObjectHead>, ServiceError> {
        self.denials.check(Operation::HeadObject)?;
        Ok(lock(&self.state).head(bucket, key))
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.on_bucket(Operation::GetTags, bucket, |b| b.tags(key, version_id))
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        let now = self.clock.now();
        self.on_bucket(Operation::PutObject, request.bucket, |b| b.put(&request, now))
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        self.denials.check(Operation::CreateUpload)?;
        let mut state = lock(&self.state);
        let id = state.next_upload();
        let bucket = state.bucket(Operation::CreateUpload, request.bucket)?;
        bucket.uploads.insert(id.clone(), Upload::new(request, &self.principal, self.clock.now())?);
        Ok(id)
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        self.on_bucket(Operation::PutPart, request.upload.bucket, |b| b.put_part(&request))
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        let page = self.settings.parts_page;
        self.on_bucket(Operation::ListParts, upload.bucket, |b| b.list_parts(upload, after, page))
    }

    async fn complete_upload(
        &self,
        upload: UploadRef<'_>,
        parts: &[(u32, ETag)],
        condition: &WriteCondition,
    ) -> Result<Written, ServiceError> {
        let now = self.clock.now();
        self.on_bucket(Operation::CompleteUpload, upload.bucket, |b| {
            b.complete(upload, parts, condition, &self.settings, now)
        })
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.on_bucket(Operation::AbortUpload, upload.bucket, |b| b.abort(upload))
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        self.on_bucket(Operation::ListUploads, bucket, |b| Ok(b.uploads_of(key)))
    }
}
