//! Sends requests to the collector, on the runtime of the program: OpenTelemetry has a thread of its own, without one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use migration_aws::http::{ReachError, tls_of_image};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

/// Most bytes of an answer. A collector answers with a few.
const MOST_OF_AN_ANSWER: usize = 1 << 20;

/// Sends requests, directly or with TLS, each within a time limit.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    within: Duration,
}

impl Sender {
    /// Creates a sender on the current runtime. Sends nothing yet.
    pub(super) fn new(within: Duration) -> Result<Self, ReachError> {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        let connector = HttpsConnector::from((plain, Arc::new(tls_of_image()?)));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, runtime: Handle::current(), within })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = self.client.request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, MOST_OF_AN_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sender = self.clone();
        self.runtime
            .spawn(async move { tokio::time::timeout(sender.within, sender.clone().send(request)).await })
            .await??
    }
}
