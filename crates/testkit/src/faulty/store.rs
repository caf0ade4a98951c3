//! An S3 service that breaks.

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::ports::{
    ByteStream, CreateUpload, GetRequest, GetResponse, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload,
    PartsPage, PutPart, PutRequest, Tags, UploadRef, WriteCondition, Written,
};

use super::plan::FaultPlan;
use super::{Faulty, injected};
use crate::operation::Operation;

fn subject(bucket: &str, key: &str) -> String {
    format!("{bucket}/{key}")
}

fn part_subject(upload: UploadRef<'_>, number: u32) -> String {
    format!("{}/{} {} part {number}", upload.bucket, upload.key, upload.upload_id)
}

/// What is left of a body to read, and of the bytes that may be read of it.
struct Rest {
    body: ByteStream,
    left: Option<u64>,
    ended: bool,
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Bytes, ServiceError>> {
        if self.ended {
            return None;
        }
        let Some(left) = self.left else { return self.body.next().await };
        if left == 0 {
            self.ended = true;
            return Some(Err(injected(Operation::GetObject, ErrorClass::Transient)));
        }
        let piece = match self.body.next().await {
            Some(Ok(piece)) => piece,
            // Shorter than the cut: it breaks where it ends.
            None => {
                self.ended = true;
                return Some(Err(injected(Operation::GetObject, ErrorClass::Transient)));
            }
            failed => return failed,
        };
        let length = (piece.len() as u64).min(left);
        self.left = Some(left - length);
        Some(Ok(piece.slice(..usize::try_from(length).unwrap_or(piece.len()))))
    }
}

/// The body, cut where asked, that stands still once the process that reads it is dead.
fn wrap(body: ByteStream, cut: Option<u64>, plan: FaultPlan, incarnation: u64) -> ByteStream {
    let rest = Rest { body, left: cut, ended: false };
    let pieces = stream::unfold((rest, plan), move |(mut rest, plan)| async move {
        if !plan.is_alive(incarnation) {
            std::future::pending::<()>().await;
        }
        rest.next().await.map(|piece| (piece, (rest, plan)))
    });
    pieces.boxed()
}

impl<T: ObjectStore> ObjectStore for Faulty<T> {
    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let subject = subject(request.bucket, request.prefix);
        self.call(Operation::ListObjects, &subject, || self.inner.list(request)).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        let subject = subject(request.bucket, request.key);
        let call = self.call_cut(Operation::GetObject, &subject, || self.inner.get(request));
        let (response, cut) = call.await?;
        let body = wrap(response.body, cut, self.plan.clone(), self.incarnation);
        Ok(GetResponse { head: response.head, body })
    }

    async fn head(&self, bucket: &str, key: &str) -> Result<Option<ObjectHead>, ServiceError> {
        self.call(Operation::HeadObject, &subject(bucket, key), || self.inner.head(bucket, key)).await
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        let request = || self.inner.tags(bucket, key, version_id);
        self.call(Operation::GetTags, &subject(bucket, key), request).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        let subject = subject(request.bucket, request.key);
        self.call(Operation::PutObject, &subject, || self.inner.put(request)).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        let subject = subject(request.bucket, request.key);
        self.call(Operation::CreateUpload, &subject, || self.inner.create_upload(request)).await
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        let subject = part_subject(request.upload, request.number);
        self.call(Operation::PutPart, &subject, || self.inner.put_part(request)).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        let subject = subject(upload.bucket, upload.key);
        self.call(Operation::ListParts, &subject, || self.inner.list_parts(upload, after)).await
    }

    async fn complete_upload(
        &self,
        upload: UploadRef<'_>,
        parts: &[(u32, ETag)],
        condition: &WriteCondition,
    ) -> Result<Written, ServiceError> {
        let subject = subject(upload.bucket, upload.key);
        let request = || self.inner.complete_upload(upload, parts, condition);
        self.call(Operation::CompleteUpload, &subject, request).await
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
