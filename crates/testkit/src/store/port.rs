//! [`ObjectStore`] implementation.

use migration_core::error::ServiceError;
use migration_core::ports::{
    Capabilities, Clock, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest, GetResponse,
    HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage, PutPart, PutRequest, PutTags,
    Tags, UploadRef, Written,
};

use super::MemoryStore;
use super::body::receive;
use super::read::body;
use super::state::{Bucket, check_checksum};
use super::traffic::Ticket;
use crate::Operation;
use crate::lock;

impl MemoryStore {
    /// Starts a request on a bucket, unless the switches reject it or the bucket throttles it.
    async fn enter(&self, operation: Operation, bucket: &str) -> Result<Ticket, ServiceError> {
        self.denials.check(operation)?;
        let ticket = self.traffic.enter(operation, bucket, self.settings.throttle_over)?;
        if !self.settings.latency.is_zero() {
            tokio::time::sleep(self.settings.latency).await;
        }
        Ok(ticket)
    }

    /// Runs a request on a bucket.
    async fn on_bucket<T>(
        &self,
        operation: Operation,
        bucket: &str,
        request: impl FnOnce(&mut Bucket) -> Result<T, ServiceError> + Send,
    ) -> Result<T, ServiceError> {
        let _ticket = self.enter(operation, bucket).await?;
        request(lock(&self.state).bucket(operation, bucket)?)
    }

    /// Returns the number of keys in a page.
    fn page(&self, request: ListRequest<'_>) -> usize {
        request.max_keys.map_or(self.settings.list_page, |most| self.settings.list_page.min(most.into()))
    }
}

impl ObjectStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        format!("abort {}/{} {}", upload.bucket, upload.key, upload.upload_id)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let page = self.page(request);
        self.on_bucket(Operation::ListObjects, request.bucket, |b| b.list(request, page)).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let page = self.page(request);
        self.on_bucket(Operation::ListVersions, request.bucket, |b| b.list_versions(request, page)).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        const GET: Operation = Operation::GetObject;
        let ticket = self.enter(GET, request.bucket).await?;
        let (head, content) = lock(&self.state).bucket(GET, request.bucket)?.get(request)?;
        Ok(GetResponse { head, len: content.len() as u64, body: body(content, self.settings.chunk, ticket) })
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        let _ticket = self.enter(Operation::HeadObject, request.bucket).await?;
        Ok(lock(&self.state).head(request))
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.on_bucket(Operation::GetTags, bucket, |b| b.tags(key, version_id)).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        self.on_bucket(Operation::PutTags, request.bucket, |b| b.put_tags(request)).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        self.on_bucket(Operation::PutObject, request.bucket, |b| b.put(&request, &self.settings, self.clock.now()))
            .await
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        let _ticket = self.enter(Operation::CopyObject, request.bucket).await?;
        lock(&self.state).copy(request, &self.settings, self.clock.now())
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        let support = self.settings.conditional_writes;
        self.on_bucket(Operation::DeleteObject, request.bucket, |b| b.delete_if(request, support)).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        const CREATE: Operation = Operation::CreateUpload;
        let _ticket = self.enter(CREATE, request.bucket).await?;
        check_checksum(CREATE, request.checksum, &self.settings)?;
        let mut state = lock(&self.state);
        let id = state.next_upload();
        let bucket = state.bucket(CREATE, request.bucket)?;
        bucket.begin(id.clone(), request, &self.principal, &self.settings, self.clock.now())?;
        Ok(id)
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        const PART: Operation = Operation::PutPart;
        let _ticket = self.enter(PART, request.upload.bucket).await?;
        check_checksum(PART, request.checksum, &self.settings)?;
        lock(&self.state).bucket(PART, request.upload.bucket)?.check_upload(PART, request.upload)?;
        let content = receive(PART, request.body, self.settings.streamed_bodies).await?;
        let mut state = lock(&self.state);
        let bucket = state.bucket(PART, request.upload.bucket)?;
        bucket.put_part(request.upload, request.number, content, request.checksum, &self.settings)
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        const COPY: Operation = Operation::CopyPart;
        let _ticket = self.enter(COPY, request.upload.bucket).await?;
        let mut state = lock(&self.state);
        let source = state.copy_source(COPY, request.source)?;
        state.bucket(COPY, request.upload.bucket)?.copy_part(request, &source, &self.settings)
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        let page = self.settings.parts_page;
        self.on_bucket(Operation::ListParts, upload.bucket, |b| b.list_parts(upload, after, page)).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        self.on_bucket(Operation::CompleteUpload, request.upload.bucket, |b| {
            b.complete(request, &self.settings, self.clock.now())
        })
        .await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.on_bucket(Operation::AbortUpload, upload.bucket, |b| b.abort(upload)).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        self.on_bucket(Operation::ListUploads, bucket, |b| Ok(b.uploads_of(key))).await
    }
}
