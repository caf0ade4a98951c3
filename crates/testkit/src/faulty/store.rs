//! S3 service with injected faults.

use bytes::Bytes;
use futures::StreamExt;
use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::events::NotificationConfig;
use migration_core::ports::{
    Body, BucketAdmin, ByteStream, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest,
    GetRequest, GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage,
    PutPart, PutRequest, PutTags, Tags, UploadRef, Written,
};

use super::Faulty;
use super::body::{Mark, Pipe, flipped, mark_of};
use super::plan::{Action, Entered, Fault};
use crate::Operation;

fn subject(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

fn part_subject(upload: UploadRef<'_>, number: u32) -> String {
    format!("{}/{} {} part {number}", upload.bucket, upload.key, upload.upload_id)
}

impl<T> Faulty<T> {
    /// Returns a held body as it arrives, and the remaining fault. Actions run before it is sent.
    fn sent(&self, bytes: Bytes, entered: Entered) -> (Bytes, Option<Fault>) {
        for (_, action) in entered.actions {
            self.plan.acted();
            action();
        }
        match entered.fault {
            Some(Fault::Corrupt) => (flipped(&bytes), None),
            fault => (bytes, fault),
        }
    }

    /// Wraps a body with its events.
    fn pipe(
        &self,
        body: ByteStream,
        operation: Operation,
        fault: Option<(u64, Mark)>,
        actions: Vec<(u64, Action)>,
    ) -> ByteStream {
        Pipe::new(body, operation, self.plan.clone(), self.life).with(fault, actions)
    }
}

/// Consumes a damaged body that has a checksum and rejects it.
async fn refuse_damaged(mut body: ByteStream) -> ServiceError {
    while let Some(piece) = body.next().await {
        if let Err(error) = piece {
            return error;
        }
    }
    let message = "the CRC64NVME you specified did not match the calculated checksum";
    let told = ServiceError::new(ErrorClass::Transient, Operation::PutPart.as_str(), "BadDigest", message);
    told.rejecting(Rejected::Digest)
}

impl<T: ObjectStore> ObjectStore for Faulty<T> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn clock_offset(&self) -> Option<i64> {
        self.inner.clock_offset()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        self.inner.abort_command(upload)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let subject = subject(request.bucket, request.prefix);
        self.call(Operation::ListObjects, &subject, || self.inner.list(request)).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let subject = subject(request.bucket, request.prefix);
        self.call(Operation::ListVersions, &subject, || self.inner.list_versions(request)).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        const GET: Operation = Operation::GetObject;
        self.alive().await;
        let entered = self.plan.enter(GET, &subject(request.bucket, request.key), self.life.process);
        let (fault, mark) = mark_of(entered.fault, GET);
        let GetResponse { head, len, body } = self.broken(GET, fault, || self.inner.get(request)).await?;
        Ok(GetResponse { head, len, body: self.pipe(body, GET, mark, entered.actions) })
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        let subject = subject(request.bucket, request.key);
        self.call(Operation::HeadObject, &subject, || self.inner.head(request)).await
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        let request = || self.inner.tags(bucket, key, version_id);
        self.call(Operation::GetTags, &subject(bucket, key), request).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        let subject = subject(request.bucket, request.key);
        self.call(Operation::PutTags, &subject, || self.inner.put_tags(request)).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        const PUT: Operation = Operation::PutObject;
        self.alive().await;
        let entered = self.plan.enter(PUT, &subject(request.bucket, request.key), self.life.process);
        let (body, fault) = self.sent(request.body, entered);
        self.broken(PUT, fault, || self.inner.put(PutRequest { body, ..request })).await
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        let subject = subject(request.bucket, request.key);
        self.call(Operation::CopyObject, &subject, || self.inner.copy(request)).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        let subject = subject(request.bucket, request.key);
        self.call(Operation::CreateUpload, &subject, || self.inner.create_upload(request)).await
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        const PART: Operation = Operation::PutPart;
        self.alive().await;
        let entered = self.plan.enter(PART, &part_subject(request.upload, request.number), self.life.process);
        let PutPart { upload, number, body, checksum } = request;
        let (body, fault) = match body {
            Body::Held { bytes, md5 } => {
                let (bytes, fault) = self.sent(bytes, entered);
                (Body::Held { bytes, md5 }, fault)
            }
            Body::Streamed { stream, len } => {
                let (fault, mark) = mark_of(entered.fault, PART);
                let damaged = checksum && matches!(mark, Some((_, Mark::Flip)));
                let stream = self.pipe(stream, PART, mark, entered.actions);
                if damaged {
                    return Err(refuse_damaged(stream).await);
                }
                (Body::Streamed { stream, len }, fault)
            }
        };
        self.broken(PART, fault, || self.inner.put_part(PutPart { upload, number, body, checksum })).await
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        let subject = part_subject(request.upload, request.number);
        self.call(Operation::CopyPart, &subject, || self.inner.copy_part(request)).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        let subject = subject(request.bucket, request.key);
        self.call(Operation::DeleteObject, &subject, || self.inner.delete(request)).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        let subject = subject(upload.bucket, upload.key);
        self.call(Operation::ListParts, &subject, || self.inner.list_parts(upload, after)).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        let subject = subject(request.upload.bucket, request.upload.key);
        self.call(Operation::CompleteUpload, &subject, || self.inner.complete_upload(request)).await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        let subject = subject(upload.bucket, upload.key);
        self.call(Operation::AbortUpload, &subject, || self.inner.abort_upload(upload)).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        let request = || self.inner.list_uploads(bucket, key);
        self.call(Operation::ListUploads, &subject(bucket, key), request).await
    }
}

impl<T: BucketAdmin> BucketAdmin for Faulty<T> {
    async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, ServiceError> {
        self.call(Operation::GetNotifications, bucket, || self.inner.notifications(bucket)).await
    }

    async fn put_notifications(&self, bucket: &str, config: &NotificationConfig) -> Result<(), ServiceError> {
        self.call(Operation::PutNotifications, bucket, || self.inner.put_notifications(bucket, config)).await
    }

    async fn keeps_versions(&self, bucket: &str) -> Result<bool, ServiceError> {
        self.call(Operation::GetVersioning, bucket, || self.inner.keeps_versions(bucket)).await
    }
}
