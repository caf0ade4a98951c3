//! [`ObjectStore`] implementation, for listings only.

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{
    Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest, GetResponse,
    HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage, PutPart, PutRequest, PutTags,
    Tags, UploadRef, Written,
};

use super::SyntheticStore;
use crate::Operation;

fn refused<T>(operation: Operation) -> Result<T, ServiceError> {
    let message = "a synthetic bucket supports listings only";
    Err(ServiceError::new(ErrorClass::Refused, operation.as_str(), "NotImplemented", message))
}

impl ObjectStore for SyntheticStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        format!("abort {}", upload.upload_id)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.listed(request).await
    }

    async fn list_versions(&self, _: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        refused(Operation::ListVersions)
    }

    async fn get(&self, _: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        refused(Operation::GetObject)
    }

    async fn head(&self, _: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        refused(Operation::HeadObject)
    }

    async fn tags(&self, _: &str, _: &str, _: Option<&str>) -> Result<Tags, ServiceError> {
        refused(Operation::GetTags)
    }

    async fn put_tags(&self, _: PutTags<'_>) -> Result<(), ServiceError> {
        refused(Operation::PutTags)
    }

    async fn put(&self, _: PutRequest<'_>) -> Result<Written, ServiceError> {
        refused(Operation::PutObject)
    }

    async fn copy(&self, _: CopyRequest<'_>) -> Result<Written, ServiceError> {
        refused(Operation::CopyObject)
    }

    async fn delete(&self, _: DeleteRequest<'_>) -> Result<(), ServiceError> {
        refused(Operation::DeleteObject)
    }

    async fn create_upload(&self, _: CreateUpload<'_>) -> Result<String, ServiceError> {
        refused(Operation::CreateUpload)
    }

    async fn put_part(&self, _: PutPart<'_>) -> Result<Written, ServiceError> {
        refused(Operation::PutPart)
    }

    async fn copy_part(&self, _: CopyPart<'_>) -> Result<Written, ServiceError> {
        refused(Operation::CopyPart)
    }

    async fn list_parts(&self, _: UploadRef<'_>, _: Option<u32>) -> Result<PartsPage, ServiceError> {
        refused(Operation::ListParts)
    }

    async fn complete_upload(&self, _: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        refused(Operation::CompleteUpload)
    }

    async fn abort_upload(&self, _: UploadRef<'_>) -> Result<(), ServiceError> {
        refused(Operation::AbortUpload)
    }

    async fn list_uploads(&self, _: &str, _: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        refused(Operation::ListUploads)
    }
}
