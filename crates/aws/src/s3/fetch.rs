//! Requests for pages of listings.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceError, ServiceFault};

use super::S3Store;
use super::direct::{Learn, Outgoing, Payload, Received};
use super::page::{self, Listed, Page, PageError};
use crate::error::{Api, no_answer, service_error};
use crate::sdk::SMALL_REQUEST;

/// Returns a parameter of a request, unless it is empty.
pub(super) fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Maps the error of a request without a key: "not found" then means the bucket.
pub(super) fn of_bucket(error: ServiceError) -> ServiceError {
    match error.class {
        ErrorClass::NoSuchKey => ServiceError { class: ErrorClass::Service(ServiceFault::NotFound), ..error },
        _ => error,
    }
}

/// Requests a page of a listing of a bucket, by a request of our own or by that of the SDK.
pub(super) async fn receive(
    store: &S3Store,
    operation: &str,
    bucket: &str,
    query: Vec<(&'static str, &str)>,
    by_sdk: impl AsyncFnOnce(Kept, Learn) -> Result<(), ServiceError>,
) -> Result<Received, ServiceError> {
    if let Some(sender) = store.direct.sender(bucket) {
        let page = Outgoing {
            method: "GET",
            key: None,
            query,
            headers: Vec::new(),
            unsigned: Vec::new(),
            body: SdkBody::empty(),
            payload: Payload::Empty,
        };
        match sender.read(page, &store.clock, SMALL_REQUEST).await {
            Err(failed) if failed.may_be_clock => {}
            read => return read.map_err(|failed| of_bucket(service_error(Api::S3, operation, &failed.error))),
        }
    }
    let kept = Kept::default();
    let sent = by_sdk(kept.clone(), store.direct.learn(bucket)).await;
    // What the SDK makes of a page does not matter.
    match (kept.take(), sent) {
        (Some(received), _) => Ok(received),
        (None, Err(error)) => Err(of_bucket(error)),
        (None, Ok(())) => Err(no_answer(operation, "body")),
    }
}

/// A successful answer to a request of the SDK, with its body. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Option<Received>>>);

impl Kept {
    fn take(&self) -> Option<Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for Kept {
    fn name(&self) -> &'static str {
        "KeepPage"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        if let Some(body) = answer.body().bytes().filter(|_| answer.status().is_success()) {
            let received = Received::new(answer, Bytes::copy_from_slice(body));
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(received);
        }
        Ok(())
    }
}

/// Reads a page. What is not the service's own tells nothing, and neither does a page that can't be read.
pub(super) fn read<'a>(received: &'a Received, listed: Listed, operation: &str) -> Result<Page<'a>, ServiceError> {
    page::read(&received.body, listed).map_err(|error| match error {
        // An error of the service may come with a status of success.
        PageError::Foreign => of_bucket(service_error(Api::S3, operation, &received.error())),
        error => {
            let request_id = received.head.headers().get("x-amz-request-id").map(ToOwned::to_owned);
            let told = ServiceError::new(ErrorClass::NoAnswer, operation, "InvalidResponse", error.to_string());
            ServiceError { request_id, ..told }
        }
    })
}
