//! Implementation of [`ObjectStore`] and [`BucketAdmin`].

use migration_core::error::ServiceError;
use migration_core::events::NotificationConfig;
use migration_core::ports::{
    Body, BucketAdmin, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, Operation, PartsPage,
    PutPart, PutRequest, PutTags, Tags, UploadRef, Written,
};

use super::LocalStore;
use super::read::body;
use super::receive::Incoming;
use super::requests::{PutObject, Replaced};
use super::settings::Versioning;
use super::state::check_checksum;

impl From<Body> for Incoming {
    fn from(body: Body) -> Self {
        match body {
            Body::Held { bytes, md5 } => Self::Held { bytes, md5 },
            Body::Streamed { stream, len } => Self::Streamed { stream, len, framed: true, check: Box::new(|_| Ok(())) },
        }
    }
}

impl LocalStore {
    /// Returns the number of keys in a page.
    fn page(&self, request: ListRequest<'_>) -> usize {
        let most = self.shared.settings.list_page;
        request.max_keys.map_or(most, |asked| most.min(asked.into()))
    }
}

impl ObjectStore for LocalStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        format!("abort {}/{} {}", upload.bucket, upload.key, upload.upload_id)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let page = self.page(request);
        self.read_bucket(Operation::ListObjects, request.bucket, |b| b.list(request, page)).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let page = self.page(request);
        self.read_bucket(Operation::ListVersions, request.bucket, |b| b.list_versions(request, page)).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        const GET: Operation = Operation::GetObject;
        let ticket = self.enter(GET, request.bucket).await?;
        let (head, content) = self.read(|state| state.bucket(GET, request.bucket)?.get(request))?;
        let len = content.len();
        Ok(GetResponse { head, len, body: body(GET, content, self.shared.settings.chunk, ticket) })
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        let _ticket = self.enter(Operation::HeadObject, request.bucket).await?;
        Ok(self.read(|state| state.head(request)))
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.read_bucket(Operation::GetTags, bucket, |b| b.tags(key, version_id)).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        self.change_bucket(Operation::PutTags, request.bucket, |b| b.put_tags(request)).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        let PutRequest { bucket, key, body, md5, attributes, tags, condition } = request;
        let put = PutObject { bucket, key, attributes, tags, condition };
        self.put_object(put, Incoming::Held { bytes: body, md5 }).await
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        self.copy_object(request, Replaced::default()).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        let (support, clock) = (self.shared.settings.conditional_writes, &self.shared.clock);
        let deleted = self
            .change_bucket(Operation::DeleteObject, request.bucket, |b| b.delete_if(request, support, clock.now()))
            .await;
        deleted.map(drop)
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        const CREATE: Operation = Operation::CreateUpload;
        let settings = &self.shared.settings;
        let _ticket = self.enter(CREATE, request.bucket).await?;
        check_checksum(CREATE, request.checksum, settings)?;
        let now = self.shared.clock.now();
        let id = self.change(|state| {
            let number = state.next_upload();
            state.bucket(CREATE, request.bucket)?.begin(number, request, &self.principal, settings, now)
        })?;
        self.committed(CREATE.as_str()).await?;
        Ok(id)
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        self.put_upload_part(request.upload, request.number, request.body.into(), request.checksum).await
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        self.copy_upload_part(request).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        self.list_upload_parts(upload, after, usize::MAX).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        let (settings, clock) = (&self.shared.settings, &self.shared.clock);
        let bucket = request.upload.bucket;
        self.change_bucket(Operation::CompleteUpload, bucket, |b| b.complete(request, settings, clock.now())).await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.change_bucket(Operation::AbortUpload, upload.bucket, |b| b.abort(upload)).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        self.read_bucket(Operation::ListUploads, bucket, |b| Ok(b.uploads_of(key))).await
    }
}

/// Sends no events: the entries are kept for others to read.
impl BucketAdmin for LocalStore {
    async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, ServiceError> {
        self.read_bucket(Operation::GetNotifications, bucket, |b| Ok(b.notifications.clone())).await
    }

    async fn put_notifications(&self, bucket: &str, config: &NotificationConfig) -> Result<(), ServiceError> {
        const PUT: Operation = Operation::PutNotifications;
        let _ticket = self.enter(PUT, bucket).await?;
        self.change(|state| state.put_notifications(bucket, config.clone()))?;
        self.committed(PUT.as_str()).await
    }

    async fn keeps_versions(&self, bucket: &str) -> Result<bool, ServiceError> {
        let enabled = self.read_bucket(Operation::GetVersioning, bucket, |b| Ok(b.settings.versioning)).await?;
        Ok(enabled == Versioning::Enabled)
    }
}
