//! Implementation of [`ObjectStore`] and [`BucketAdmin`]: the service's own, behind the switches.

use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::events::NotificationConfig;
use migration_core::ports::{
    BucketAdmin, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage, PutPart,
    PutRequest, PutTags, Tags, UploadRef, Written,
};

use super::MemoryStore;
use crate::Operation;

impl ObjectStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn clock_offset(&self) -> Option<i64> {
        self.clock_offset
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        self.service.abort_command(upload)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.denials.check(Operation::ListObjects)?;
        self.service.list(request).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.denials.check(Operation::ListVersions)?;
        self.service.list_versions(request).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        self.denials.check(Operation::GetObject)?;
        self.service.get(request).await
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        self.denials.check(Operation::HeadObject)?;
        self.service.head(request).await
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        self.denials.check(Operation::GetTags)?;
        self.service.tags(bucket, key, version_id).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        self.denials.check(Operation::PutTags)?;
        self.service.put_tags(request).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        self.denials.check(Operation::PutObject)?;
        let (bucket, key) = (request.bucket, request.key);
        let answer = self.service.put(request).await;
        let is_rejected =
            |error: &ServiceError| error.rejects(&Rejected::Digest) || error.class == ErrorClass::PreconditionFailed;
        if self.spoils_by_rejected && answer.as_ref().is_err_and(is_rejected) {
            self.spoil(bucket, key);
        }
        answer
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        self.denials.check(Operation::CopyObject)?;
        self.service.copy(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        self.denials.check(Operation::DeleteObject)?;
        self.service.delete(request).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        self.denials.check(Operation::CreateUpload)?;
        self.service.create_upload(request).await
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        self.denials.check(Operation::PutPart)?;
        self.service.put_part(request).await
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        self.denials.check(Operation::CopyPart)?;
        self.service.copy_part(request).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        self.denials.check(Operation::ListParts)?;
        self.service.list_parts(upload, after).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        self.denials.check(Operation::CompleteUpload)?;
        self.service.complete_upload(request).await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.denials.check(Operation::AbortUpload)?;
        self.service.abort_upload(upload).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        self.denials.check(Operation::ListUploads)?;
        self.service.list_uploads(bucket, key).await
    }
}

impl BucketAdmin for MemoryStore {
    async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, ServiceError> {
        self.denials.check(Operation::GetNotifications)?;
        self.service.notifications(bucket).await
    }

    async fn put_notifications(&self, bucket: &str, config: &NotificationConfig) -> Result<(), ServiceError> {
        self.denials.check(Operation::PutNotifications)?;
        self.service.put_notifications(bucket, config).await
    }

    async fn keeps_versions(&self, bucket: &str) -> Result<bool, ServiceError> {
        self.denials.check(Operation::GetVersioning)?;
        self.service.keeps_versions(bucket).await
    }
}
