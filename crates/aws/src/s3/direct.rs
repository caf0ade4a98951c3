//! The requests that are sent for every object and every page of a listing, without the SDK's orchestration of each of
//! them: `GetObject`, `HeadObject`, `PutObject`, `UploadPart`, `ListObjectsV2` and `ListObjectVersions`.
//!
//! The SDK builds runtime components, merges layers of configuration, evaluates endpoint rules and runs interceptors for
//! every request, which costs more than all else that is done for a small object (smithy-rs issue 4127). What it decides
//! is the same for all requests to a bucket, so it is learned from the first one that the SDK sends there: URL, region
//! and service of the signature, client and time-outs. Later requests are built here, signed by the SDK's signer with
//! the credentials of the SDK's cache, and sent over the SDK's connections.
//!
//! | the first request to the bucket | later ones |
//! |---|---|
//! | was signed with Signature Version 4, or not at all | are sent from here |
//! | was signed otherwise (directory buckets, multi-region access points), or has headers of its endpoint | by the SDK |
//! | had no answer | by the SDK, until one has an answer |
//!
//! A request is left to the SDK too where the service may have rejected our clock, so that its correction applies.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::error::ErrorMetadata;
use tokio::time::Instant;

pub(super) use self::answer::Received;
pub(super) use self::request::{Outgoing, Payload};
use self::route::Route;
use super::clock::ServiceClock;
use super::headers::Answered;

mod answer;
mod request;
mod route;

/// How far the service's clock may be off before it rejects a signature, less a minute. Source: `RequestTimeTooSkewed`
/// in "Error responses", S3 API reference: 15 minutes; others allow 5.
const SKEW: Duration = Duration::from_mins(4);

/// Error of a request sent from here.
pub(super) type DirectError = SdkError<ErrorMetadata, HttpResponse>;

/// Who sends the requests to a bucket.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Direct(Arc<Route>),
    BySdk,
}

impl From<Option<Route>> for Way {
    fn from(route: Option<Route>) -> Self {
        route.map_or(Self::BySdk, |route| Self::Direct(Arc::new(route)))
    }
}

/// What is known of a store's buckets.
pub(super) type Ways = RwLock<HashMap<String, Way>>;

/// The routes of a store's buckets. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Direct {
    /// `None` if all requests are left to the SDK.
    pub(super) ways: Option<Arc<Ways>>,
}

impl Direct {
    /// Learns routes, or leaves all requests to the SDK.
    pub(super) fn new(learns: bool) -> Self {
        Self { ways: learns.then(Arc::default) }
    }

    /// Returns what is needed to send a request to a bucket; `None` if the SDK has to send it.
    pub(super) fn sender(&self, bucket: &str) -> Option<Sender> {
        match way(self.ways.as_ref()?, bucket)? {
            Way::Direct(route) => Some(Sender(route)),
            Way::BySdk => None,
        }
    }

    /// Returns an interceptor for a request of the SDK to this bucket, which learns its route.
    pub(super) fn learn(&self, bucket: &str) -> Learn {
        let ways = self.ways.as_ref().map(Arc::downgrade).unwrap_or_default();
        Learn { ways, bucket: bucket.to_owned(), sent: Arc::default() }
    }
}

fn way(ways: &Ways, bucket: &str) -> Option<Way> {
    ways.read().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned()
}

/// Interceptor that learns the route of a bucket from a request with an answer.
#[derive(Clone, Debug)]
pub(super) struct Learn {
    /// A route holds the SDK's components, and these the interceptors of the request that taught it.
    ways: Weak<Ways>,
    bucket: String,
    /// That of the request that waits for its answer.
    sent: Arc<Mutex<Option<Way>>>,
}

impl Intercept for Learn {
    fn name(&self) -> &'static str {
        "LearnRoute"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.ways.upgrade().is_some_and(|ways| way(&ways, &self.bucket).is_none()) {
            let way = Route::of(context.request(), components, config).into();
            *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
        }
        Ok(())
    }

    /// Keeps the route now that it has led to an answer.
    fn read_after_transmit(
        &self,
        _context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(way), Some(ways)) = (sent, self.ways.upgrade()) {
            ways.write().unwrap_or_else(PoisonError::into_inner).entry(self.bucket.clone()).or_insert(way);
        }
        Ok(())
    }
}

/// Sends requests to one bucket.
pub(super) struct Sender(Arc<Route>);

/// A request that failed.
pub(super) struct Failed {
    pub error: DirectError,
    /// True if the service may have rejected the time of the signature: the SDK sends the request again with the
    /// service's time.
    pub may_be_clock: bool,
}

impl Failed {
    fn new(error: DirectError) -> Self {
        Self { error, may_be_clock: false }
    }
}

impl Sender {
    /// Sends a request and waits for the head of its answer, or for the whole of one with an error, at most this long.
    ///
    /// # Errors
    ///
    /// As the SDK's.
    pub(super) async fn send(
        &self,
        request: Outgoing<'_>,
        clock: &ServiceClock,
        within: Option<Duration>,
    ) -> Result<HttpResponse, Box<Failed>> {
        let exchange = self.exchange(request, clock);
        match within {
            Some(limit) => in_time(limit, exchange).await,
            None => exchange.await,
        }
    }

    /// As [`send`](Self::send), for an answer that is read to its end within this time.
    pub(super) async fn read(
        &self,
        request: Outgoing<'_>,
        clock: &ServiceClock,
        within: Duration,
    ) -> Result<Received, Box<Failed>> {
        let read = async {
            let answer = self.exchange(request, clock).await?;
            answer::whole(answer).await.map_err(|error| Box::new(Failed::new(error)))
        };
        in_time(within, read).await
    }

    async fn exchange(&self, request: Outgoing<'_>, clock: &ServiceClock) -> Result<HttpResponse, Box<Failed>> {
        let Self(route) = self;
        let failed = |error| Box::new(Failed::new(error));
        let identity = route.identity().await.map_err(|error| failed(not_sent(error)))?;
        let correction = clock.correction(SKEW).filter(|_| route.corrects_clock);
        let request = route.request(request, identity.as_ref(), correction);
        let request = request.map_err(|error| failed(SdkError::construction_failure(error)))?;
        let begun = Instant::now();
        let answer = route.send(request).await.map_err(|error| failed(SdkError::dispatch_failure(error)))?;
        clock.note_of(&answer, begun.elapsed());
        if answer.status().is_success() {
            return Ok(answer);
        }
        let is_off = correction.is_some() || clock.correction(SKEW).is_some();
        let error = answer::error(answer).await;
        let may_be_clock = is_off && route.scope.is_some() && answer::may_be_of_clock(&error);
        Err(Box::new(Failed { error, may_be_clock }))
    }

    /// As [`send`](Self::send), for an answer without content.
    pub(super) async fn write(
        &self,
        request: Outgoing<'_>,
        clock: &ServiceClock,
        within: Option<Duration>,
    ) -> Result<Answered, Box<Failed>> {
        let mut answer = self.send(request, clock, within).await?;
        let answered = Answered::of(&mut answer);
        answer::drain(answer.into_body()).await;
        Ok(answered)
    }
}

/// Waits for an answer at most this long.
async fn in_time<T>(limit: Duration, exchange: impl Future<Output = Result<T, Box<Failed>>>) -> Result<T, Box<Failed>> {
    let late = || SdkError::timeout_error(format!("no response came within {limit:?}"));
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(Box::new(Failed::new(late()))))
}

/// Error of a request whose credentials could not be loaded.
fn not_sent(error: BoxError) -> DirectError {
    SdkError::dispatch_failure(ConnectorError::other(error, None))
}
