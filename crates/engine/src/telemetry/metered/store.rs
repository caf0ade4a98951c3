use futures::StreamExt;
use migration_core::error::ServiceError;
use migration_core::events::NotificationConfig;
use migration_core::operation::Operation;
use migration_core::ports::{
    BucketAdmin, ByteStream, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest,
    GetRequest, GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage,
    PutPart, PutRequest, PutTags, Tags, UploadRef, Written,
};

use super::Metered;
use crate::telemetry::RequestStatus;

impl<S> Metered<S> {
    /// Counts the keys of a page.
    fn listed(&self, page: Result<ListPage, ServiceError>) -> Result<ListPage, ServiceError> {
        page.inspect(|page| self.telemetry.listed.add(self.side, page.objects.len() as u64))
    }

    /// Counts the bytes of a request that succeeded.
    fn uploaded(&self, bytes: u64, answer: Result<Written, ServiceError>) -> Result<Written, ServiceError> {
        answer.inspect(|_| self.telemetry.uploaded.add(self.side, bytes))
    }

    /// Counts the bytes of a body as they are read.
    fn counted(&self, body: ByteStream) -> ByteStream {
        let (telemetry, side) = (self.telemetry.clone(), self.side);
        body.inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                telemetry.downloaded.add(side, chunk.len() as u64);
            }
        })
        .boxed()
    }
}

impl<S: ObjectStore> ObjectStore for Metered<S> {
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
        let timer = self.begin(Operation::ListObjects);
        self.listed(timer.answered(self.inner.list(request).await))
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let timer = self.begin(Operation::ListVersions);
        self.listed(timer.answered(self.inner.list_versions(request).await))
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        let timer = self.begin(Operation::GetObject);
        let response = timer.answered(self.inner.get(request).await)?;
        Ok(GetResponse { body: self.counted(response.body), ..response })
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        let timer = self.begin(Operation::HeadObject);
        let answer = self.inner.head(request).await;
        if matches!(answer, Ok(None)) {
            timer.ended(RequestStatus::NotFound);
            return answer;
        }
        timer.answered(answer)
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        let timer = self.begin(Operation::GetTags);
        timer.answered(self.inner.tags(bucket, key, version_id).await)
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        let timer = self.begin(Operation::PutTags);
        timer.answered(self.inner.put_tags(request).await)
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        let (timer, bytes) = (self.begin(Operation::PutObject), request.body.len() as u64);
        self.uploaded(bytes, timer.answered(self.inner.put(request).await))
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        let timer = self.begin(Operation::CopyObject);
        timer.answered(self.inner.copy(request).await)
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        let timer = self.begin(Operation::DeleteObject);
        timer.answered(self.inner.delete(request).await)
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        let timer = self.begin(Operation::CreateUpload);
        timer.answered(self.inner.create_upload(request).await)
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        let (timer, bytes) = (self.begin(Operation::PutPart), request.body.len());
        self.uploaded(bytes, timer.answered(self.inner.put_part(request).await))
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        let timer = self.begin(Operation::CopyPart);
        timer.answered(self.inner.copy_part(request).await)
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        let timer = self.begin(Operation::ListParts);
        timer.answered(self.inner.list_parts(upload, after).await)
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        let timer = self.begin(Operation::CompleteUpload);
        timer.answered(self.inner.complete_upload(request).await)
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        let timer = self.begin(Operation::AbortUpload);
        timer.answered(self.inner.abort_upload(upload).await)
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        let timer = self.begin(Operation::ListUploads);
        timer.answered(self.inner.list_uploads(bucket, key).await)
    }
}

impl<S: BucketAdmin> BucketAdmin for Metered<S> {
    async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, ServiceError> {
        let timer = self.begin(Operation::GetNotifications);
        timer.answered(self.inner.notifications(bucket).await)
    }

    async fn put_notifications(&self, bucket: &str, config: &NotificationConfig) -> Result<(), ServiceError> {
        let timer = self.begin(Operation::PutNotifications);
        timer.answered(self.inner.put_notifications(bucket, config).await)
    }

    async fn keeps_versions(&self, bucket: &str) -> Result<bool, ServiceError> {
        let timer = self.begin(Operation::GetVersioning);
        timer.answered(self.inner.keeps_versions(bucket).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use md5::{Digest, Md5};
    use migration_core::error::Service;
    use migration_core::ports::{Attributes, Span, WriteCondition};
    use migration_testkit::{MemoryStore, TestClock};

    use super::*;
    use crate::telemetry::{Counters, Telemetry};

    #[tokio::test]
    async fn requests_bytes_and_keys_are_counted_at_their_side() {
        let telemetry = Arc::new(Telemetry::default());
        let store = MemoryStore::new(TestClock::at(0), "a");
        store.create_bucket("b");
        let store = Metered::new(store, Service::Destination, &telemetry);
        let body = Bytes::from(vec![7; 1_000]);
        let (attributes, tags, condition) = (Attributes::default(), vec![], WriteCondition::Any);
        let md5 = Md5::digest(&body).into();
        let put = |bucket| PutRequest {
            bucket,
            key: "k",
            body: body.clone(),
            md5,
            attributes: &attributes,
            tags: &tags,
            condition: &condition,
        };
        store.put(put("b")).await.unwrap();
        assert!(store.put(put("missing")).await.is_err(), "what fails is not uploaded");
        assert!(store.head(HeadRequest::new("b", "other")).await.unwrap().is_none());
        let request = GetRequest { bucket: "b", key: "k", span: Span::Whole, if_match: None, version_id: None };
        let response = store.get(request).await.unwrap();
        assert_eq!(telemetry.downloaded.get(Service::Destination), 0, "nothing was read yet");
        let read: Vec<_> = response.body.map(|chunk| chunk.unwrap().len()).collect().await;
        assert_eq!(read.iter().sum::<usize>(), 1_000);
        let list = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
        store.list(list).await.unwrap();
        let numbers = |counters: &Counters<Service>| counters.read().map(|(_, n)| n).collect::<Vec<_>>();
        assert_eq!(numbers(&telemetry.downloaded), [0, 1_000, 0, 0]);
        assert_eq!(numbers(&telemetry.uploaded), [0, 1_000, 0, 0]);
        assert_eq!(numbers(&telemetry.listed), [0, 1, 0, 0]);
        let counted: Vec<_> = telemetry
            .requests
            .read()
            .flat_map(|(side, operation, counters)| counters.ended.read().map(move |(s, n)| (side, operation, s, n)))
            .filter(|(_, _, _, number)| *number > 0)
            .collect();
        let at = Service::Destination;
        let expected = [
            (at, Operation::ListObjects, RequestStatus::Ok, 1),
            (at, Operation::GetObject, RequestStatus::Ok, 1),
            (at, Operation::HeadObject, RequestStatus::NotFound, 1),
            (at, Operation::PutObject, RequestStatus::Ok, 1),
            (at, Operation::PutObject, RequestStatus::ServiceFault, 1),
        ];
        assert_eq!(counted, expected);
    }
}
