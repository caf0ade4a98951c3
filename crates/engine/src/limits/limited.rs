//! A store under limits.

use std::sync::Arc;

use migration_core::error::ServiceError;
use migration_core::events::NotificationConfig;
use migration_core::ports::{
    Body, BucketAdmin, Capabilities, CompleteUpload, CopyPart, CopyRequest, CreateUpload, DeleteRequest, GetRequest,
    GetResponse, HeadRequest, ListPage, ListRequest, ObjectHead, ObjectStore, OpenUpload, PartsPage, PutPart,
    PutRequest, PutTags, Tags, UploadRef, Written,
};

use super::bandwidth::Bandwidth;
use super::paced::paced;
use super::pacer::Pacer;
use super::stopping::Stopping;

/// A store whose requests wait for their turn, and whose bodies pass at a limited rate. Without limits it is the store
/// itself. Clones share the limits.
///
/// Each call counts as one request, also where the adapter repeats a request after an error or reads several pages.
/// Completions and aborts of uploads never wait, so that what is open gets closed; the requests after them wait
/// instead. Bytes are counted once on their way, when they are read; what a service copies itself passes no limit.
///
/// When the process has to stop, what waits fails with
/// [`ErrorClass::Stopped`](migration_core::error::ErrorClass::Stopped), but for bodies whose rest passes in the time
/// that work in flight has, and for requests that send what is in memory, which then don't wait any longer.
#[derive(Clone)]
pub struct Limited<S> {
    store: S,
    requests: Option<Arc<Pacer>>,
    bandwidth: Option<Arc<Bandwidth>>,
    stopping: Stopping,
}

impl<S> Limited<S> {
    pub(super) fn new(
        store: S,
        requests: Option<Arc<Pacer>>,
        bandwidth: Option<Arc<Bandwidth>>,
        stopping: Stopping,
    ) -> Self {
        Self { store, requests, bandwidth, stopping }
    }

    /// Waits for the turn of a request.
    async fn turn(&self) -> Result<(), ServiceError> {
        let Some(requests) = &self.requests else { return Ok(()) };
        self.stopping.or_stop(requests.pass(|_| 1)).await.map(|_| ())
    }

    /// Waits for the turn of a request that sends what is in memory, until the process has to stop: what was read for it
    /// would be lost.
    async fn turn_until_stop(&self) {
        if self.turn().await.is_err() {
            self.count();
        }
    }

    /// Counts a request that does not wait.
    fn count(&self) {
        if let Some(requests) = &self.requests {
            requests.pass_at_once(1);
        }
    }
}

impl<S: ObjectStore> ObjectStore for Limited<S> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn clock_offset(&self) -> Option<i64> {
        self.store.clock_offset()
    }

    fn abort_command(&self, upload: UploadRef<'_>) -> String {
        self.store.abort_command(upload)
    }

    async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.turn().await?;
        self.store.list(request).await
    }

    async fn list_versions(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        self.turn().await?;
        self.store.list_versions(request).await
    }

    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        if let Some(bandwidth) = &self.bandwidth {
            // No connection waits for a share.
            self.stopping.or_stop(bandwidth.pacer().ready()).await?;
        }
        self.turn().await?;
        let response = self.store.get(request).await?;
        let Some(bandwidth) = &self.bandwidth else { return Ok(response) };
        Ok(GetResponse { body: paced(response.body, response.len, bandwidth, &self.stopping)?, ..response })
    }

    async fn head(&self, request: HeadRequest<'_>) -> Result<Option<ObjectHead>, ServiceError> {
        self.turn().await?;
        self.store.head(request).await
    }

    async fn tags(&self, bucket: &str, key: &str, version_id: Option<&str>) -> Result<Tags, ServiceError> {
        // They go with a body that was read.
        self.turn_until_stop().await;
        self.store.tags(bucket, key, version_id).await
    }

    async fn put_tags(&self, request: PutTags<'_>) -> Result<(), ServiceError> {
        self.turn_until_stop().await;
        self.store.put_tags(request).await
    }

    async fn put(&self, request: PutRequest<'_>) -> Result<Written, ServiceError> {
        self.turn_until_stop().await;
        self.store.put(request).await
    }

    async fn copy(&self, request: CopyRequest<'_>) -> Result<Written, ServiceError> {
        self.turn().await?;
        self.store.copy(request).await
    }

    async fn delete(&self, request: DeleteRequest<'_>) -> Result<(), ServiceError> {
        self.turn().await?;
        self.store.delete(request).await
    }

    async fn create_upload(&self, request: CreateUpload<'_>) -> Result<String, ServiceError> {
        self.turn().await?;
        self.store.create_upload(request).await
    }

    async fn put_part(&self, request: PutPart<'_>) -> Result<Written, ServiceError> {
        match request.body {
            Body::Held { .. } => self.turn_until_stop().await,
            Body::Streamed { .. } => self.turn().await?,
        }
        self.store.put_part(request).await
    }

    async fn copy_part(&self, request: CopyPart<'_>) -> Result<Written, ServiceError> {
        self.turn().await?;
        self.store.copy_part(request).await
    }

    async fn list_parts(&self, upload: UploadRef<'_>, after: Option<u32>) -> Result<PartsPage, ServiceError> {
        self.turn().await?;
        self.store.list_parts(upload, after).await
    }

    async fn complete_upload(&self, request: CompleteUpload<'_>) -> Result<Written, ServiceError> {
        self.count();
        self.store.complete_upload(request).await
    }

    async fn abort_upload(&self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.count();
        self.store.abort_upload(upload).await
    }

    async fn list_uploads(&self, bucket: &str, key: &str) -> Result<Vec<OpenUpload>, ServiceError> {
        self.turn().await?;
        self.store.list_uploads(bucket, key).await
    }
}

impl<S: BucketAdmin> BucketAdmin for Limited<S> {
    async fn notifications(&self, bucket: &str) -> Result<NotificationConfig, ServiceError> {
        self.turn().await?;
        self.store.notifications(bucket).await
    }

    async fn put_notifications(&self, bucket: &str, config: &NotificationConfig) -> Result<(), ServiceError> {
        self.turn().await?;
        self.store.put_notifications(bucket, config).await
    }

    async fn keeps_versions(&self, bucket: &str) -> Result<bool, ServiceError> {
        self.turn().await?;
        self.store.keeps_versions(bucket).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures::future::join_all;
    use futures::{FutureExt, StreamExt};
    use md5::{Digest, Md5};
    use migration_core::config::RateLimits;
    use migration_core::error::{ErrorClass, Service};
    use migration_core::ports::{Attributes, Clock, Span, WriteCondition};
    use migration_core::timetable::{Timetable, Unit};
    use migration_testkit::{MemoryStore, TestClock};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::limits::{Fleet, Limits, UTC};

    /// Puts an object of these bytes.
    async fn put<S: ObjectStore>(store: &S, body: Vec<u8>) -> Result<Written, ServiceError> {
        let (attributes, condition, body) = (Attributes::default(), WriteCondition::Any, Bytes::from(body));
        let md5 = Md5::digest(&body).into();
        let (bucket, key, tags) = ("b", "k", &vec![]);
        store.put(PutRequest { bucket, key, body, md5, attributes: &attributes, tags, condition: &condition }).await
    }

    async fn limited() -> Limited<MemoryStore> {
        limited_until(CancellationToken::new()).await
    }

    /// A store with an object of 64 KiB, under 10 requests per second and 8 KiB/s.
    async fn limited_until(stop: CancellationToken) -> Limited<MemoryStore> {
        let clock: Arc<dyn Clock> = Arc::new(TestClock::following_tokio(0));
        let store = MemoryStore::new(TestClock::at(0), "a");
        store.create_bucket("b");
        put(&store, vec![7; 64 << 10]).await.unwrap();
        let rates = RateLimits {
            bandwidth: Timetable::parse("8k", Unit::Bytes).ok(),
            requests: Timetable::parse("10", Unit::Requests).ok(),
        };
        let stopping = Stopping::new(stop, Duration::ZERO);
        Limits::new(&rates, Fleet::Alone, &clock, UTC).limit(store, Service::Source, &stopping)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_all_clones_wait_for_their_turn() {
        let store = limited().await;
        let begin = Instant::now();
        let heads = (0..50).map(|number| {
            let store = store.clone();
            async move {
                // Requests of any kind take turns.
                if number % 2 == 0 {
                    store.head(HeadRequest::new("b", "k")).await.map(|_| ())
                } else {
                    store.tags("b", "k", None).await.map(|_| ())
                }
            }
        });
        assert!(join_all(heads).await.iter().all(Result::is_ok));
        let elapsed = begin.elapsed();
        assert!((Duration::from_millis(4_800)..Duration::from_millis(5_100)).contains(&elapsed), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_are_read_pass_at_the_rate_and_whole() {
        let store = limited().await;
        let begin = Instant::now();
        let request = GetRequest { bucket: "b", key: "k", span: Span::Whole, if_match: None, version_id: None };
        let response = store.get(request).await.unwrap();
        assert_eq!((response.len, response.head.size), (64 << 10, 64 << 10));
        let pieces: Vec<_> = response.body.map(Result::unwrap).collect().await;
        assert!(pieces.concat() == vec![7; 64 << 10]);
        let elapsed = begin.elapsed();
        assert!((Duration::from_millis(7_700)..Duration::from_millis(8_200)).contains(&elapsed), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_closes_an_upload_does_not_wait() {
        let store = limited().await;
        store.head(HeadRequest::new("b", "k")).await.unwrap();
        assert!(store.head(HeadRequest::new("b", "k")).now_or_never().is_none());
        let upload = UploadRef { bucket: "b", key: "k", upload_id: "u" };
        assert!(store.abort_upload(upload).now_or_never().is_some());
        let begin = Instant::now();
        store.head(HeadRequest::new("b", "k")).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(190), "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_what_waits_and_nothing_else() {
        let stop = CancellationToken::new();
        let (store, begin) = (limited_until(stop.clone()).await, Instant::now());
        let waits = join_all((0..10).map(|_| store.head(HeadRequest::new("b", "k"))));
        let later = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            stop.cancel();
        };
        let (heads, ()) = tokio::join!(waits, later);
        let ended = heads.iter().filter(|head| head.as_ref().is_err_and(|error| error.class == ErrorClass::Stopped));
        assert_eq!((heads.iter().filter(|head| head.is_ok()).count(), ended.count()), (3, 7));
        assert_eq!(begin.elapsed(), Duration::from_millis(250));
        let upload = UploadRef { bucket: "b", key: "k", upload_id: "u" };
        assert!(store.abort_upload(upload).now_or_never().is_some());
        assert!(store.head(HeadRequest::new("b", "k")).now_or_never().is_some_and(|head| head.is_err()));
        // What need not wait goes on.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(store.head(HeadRequest::new("b", "k")).await.unwrap().is_some());
        let request = GetRequest { bucket: "b", key: "k", span: Span::Whole, if_match: None, version_id: None };
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.get(request).await.err().map(|error| error.class), Some(ErrorClass::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_memory_is_sent_at_the_stop_and_counts() {
        let stop = CancellationToken::new();
        let (store, begin) = (limited_until(stop.clone()).await, Instant::now());
        let upload = UploadRef { bucket: "b", key: "k", upload_id: "u" };
        let part = |body| store.put_part(PutPart { upload, number: 1, body, checksum: false });
        let held = || Body::Held { bytes: Bytes::from_static(b"a"), md5: Md5::digest(b"a").into() };
        store.head(HeadRequest::new("b", "k")).await.unwrap();
        let puts = join_all((0..10).map(|_| put(&store, vec![8])));
        let later = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            stop.cancel();
        };
        let (puts, ()) = tokio::join!(puts, later);
        assert!(puts.iter().all(Result::is_ok) && begin.elapsed() == Duration::from_millis(250));
        assert_ne!(part(held()).await.unwrap_err().class, ErrorClass::Stopped, "it was sent");
        let streamed = Body::Streamed { stream: futures::stream::empty().boxed(), len: 1 };
        assert_eq!(part(streamed).await.unwrap_err().class, ErrorClass::Stopped);
        // Twelve requests took 1.2 s of the limit.
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert!(store.head(HeadRequest::new("b", "k")).await.is_err());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(store.head(HeadRequest::new("b", "k")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_waits() {
        let Limited { store, stopping, .. } = limited().await;
        let free = Limited::new(store, None, None, stopping);
        for _ in 0..1_000 {
            assert!(free.head(HeadRequest::new("b", "k")).now_or_never().unwrap().unwrap().is_some());
        }
    }
}
