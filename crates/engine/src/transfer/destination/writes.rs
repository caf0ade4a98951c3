//! Requests that make the object visible: PUT, copy, and the completion of an upload.

use migration_core::concurrency::RequestKind;
use migration_core::error::Rejected;
use migration_core::etag::ETag;
use migration_core::fidelity::Carried;
use migration_core::ports::{
    CompleteUpload, CompletedPart, CopyRequest, CopySource, ObjectStore, Operation, PutRequest, WriteCondition, Written,
};
use tokio::time::Instant;

use super::{DestinationObject, Landed};
use crate::transfer::error::TransferError;
use crate::transfer::source::Fetched;
use crate::{Interruption, Services};

impl<P: Services> DestinationObject<'_, P> {
    /// Writes the object by one PUT, with retries.
    pub(in crate::transfer) async fn put(
        &self,
        fetched: &Fetched,
        carried: &Carried,
        condition: &WriteCondition,
    ) -> Result<Landed, TransferError> {
        let meant = ETag::of_content(&fetched.digests.md5);
        let (store, kind) = (&self.process.ports.destination, RequestKind::of_put(fetched.bytes.len() as u64));
        self.write(Operation::PutObject, condition, Some(&meant), |condition| async move {
            let began = Instant::now();
            let answer = store.put(self.put_request(fetched, carried, &condition)).await;
            if let Some(kind) = kind {
                self.process.object_limit.answered(kind, began, &answer);
            }
            let answer = self.uploaded(fetched.bytes.len() as u64, answer);
            // A named MD5 can be wrong, and is as wrong the next time.
            answer.map_err(|error| if fetched.is_named { error.without_retry_of(&Rejected::Digest) } else { error })
        })
        .await
    }

    /// Like [`put`](Self::put), by one request without retries, for a test of the service.
    pub(in crate::transfer) async fn put_once(
        &self,
        fetched: &Fetched,
        carried: &Carried,
        condition: &WriteCondition,
    ) -> Result<Written, Interruption> {
        self.send_once(self.put_request(fetched, carried, condition)).await
    }

    /// Like [`put_once`](Self::put_once), but with a wrong Content-MD5.
    pub(in crate::transfer) async fn put_with_wrong_md5(
        &self,
        fetched: &Fetched,
        carried: &Carried,
        condition: &WriteCondition,
    ) -> Result<Written, Interruption> {
        let md5 = fetched.digests.md5.map(|byte| !byte);
        self.send_once(PutRequest { md5, ..self.put_request(fetched, carried, condition) }).await
    }

    async fn send_once(&self, request: PutRequest<'_>) -> Result<Written, Interruption> {
        let bytes = request.body.len() as u64;
        let access = self.access(Operation::PutObject).carrying(bytes);
        self.uploaded(bytes, self.process.destination_once(access, self.process.ports.destination.put(request)).await)
    }

    fn put_request<'b>(
        &'b self,
        fetched: &Fetched,
        carried: &'b Carried,
        condition: &'b WriteCondition,
    ) -> PutRequest<'b> {
        PutRequest {
            bucket: self.bucket,
            key: self.key,
            body: fetched.bytes.clone(),
            md5: fetched.digests.md5,
            attributes: &carried.attributes,
            tags: &carried.tags,
            condition,
        }
    }

    /// Has the service copy the object by one request.
    pub(in crate::transfer) async fn copy(
        &self,
        source: CopySource<'_>,
        carried: &Carried,
        condition: &WriteCondition,
    ) -> Result<Landed, TransferError> {
        let store = &self.process.ports.destination;
        self.write(Operation::CopyObject, condition, None, |condition| async move {
            let (bucket, key, attributes) = (self.bucket, self.key, &carried.attributes);
            store.copy(CopyRequest { source, bucket, key, attributes, condition: &condition }).await
        })
        .await
    }

    /// Completes an upload from these parts.
    pub(in crate::transfer) async fn complete(
        &self,
        upload_id: &str,
        parts: &[CompletedPart],
        condition: &WriteCondition,
        meant: Option<&ETag>,
    ) -> Result<Landed, TransferError> {
        let (store, upload) = (&self.process.ports.destination, self.upload(upload_id));
        self.write(Operation::CompleteUpload, condition, meant, |condition| async move {
            store.complete_upload(CompleteUpload { upload, parts, condition: &condition }).await
        })
        .await
    }

    /// Like [`complete`](Self::complete), by one request without retries, for a test of the service.
    pub(in crate::transfer) async fn complete_once(
        &self,
        upload_id: &str,
        parts: &[CompletedPart],
        condition: &WriteCondition,
    ) -> Result<Written, Interruption> {
        let request = CompleteUpload { upload: self.upload(upload_id), parts, condition };
        let complete = self.process.ports.destination.complete_upload(request);
        self.process.destination_once(self.access(Operation::CompleteUpload), complete).await
    }
}
