//! A counting HTTP proxy in front of each service, to measure a job's requests.
//!
//! Bodies are streamed in both directions, and nothing covered by a signature is changed, not even the `Host` header,
//! apart from the [`quirks`] that a case sets.

pub mod admin;
pub mod classify;
pub mod delays;
pub mod log;
pub mod quirks;
pub mod refusals;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use self::log::{Log, Moment};
use self::quirks::{Canned, Drawn, Quirks};

/// Body of a request or response.
pub type Body = BoxBody<Bytes, hyper::Error>;

/// A proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    side: String,
    upstream: SocketAddr,
    log: Log,
    quirks: Quirks,
    client: Client<HttpConnector, Body>,
}

impl Proxy {
    /// Creates a proxy of a service that appears as `side` in the log.
    pub fn new(side: &str, upstream: SocketAddr, log: Log) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { side: side.to_owned(), upstream, log, quirks: Quirks::default(), client }
    }

    /// Returns the proxy with quirks.
    #[must_use]
    pub fn with(self, quirks: &Quirks) -> Self {
        Self { quirks: quirks.clone(), ..self }
    }

    /// Serves connections until the listener fails.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        loop {
            let (stream, peer) = listener.accept().await.context("failed to accept a connection")?;
            stream.set_nodelay(true).context("failed to set TCP_NODELAY")?;
            let proxy = self.clone();
            tokio::spawn(async move {
                proxy.log.connected();
                let service = service_fn(|request| proxy.pass(request, peer.ip()));
                let served = hyper::server::conn::http1::Builder::new()
                    .half_close(true)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if served.is_err() {
                    proxy.log.broke();
                }
            });
        }
    }

    async fn pass(&self, request: Request<Incoming>, peer: IpAddr) -> anyhow::Result<Response<Body>> {
        let target = request.headers().get(classify::TARGET).and_then(|target| target.to_str().ok());
        // An error closes the connection without an answer.
        ensure!(!target.is_some_and(|target| self.log.is_cut(peer, target)), "{peer} is cut off from {}", self.side);
        let (what, request) = classified(request).await?;
        let delayed = self.log.delays.arrived(&what);
        let drawn = self.quirks.draw(&self.side, &what, request.headers());
        let refused = self.log.refusals.draw(&what);
        let number = self.log.arrived(&self.side, peer, what, announced(request.headers()));
        delayed.wait().await;
        self.log.reached(Moment::Arrived, number).await;
        let request = self.rewrite(request, number, &drawn).await?;
        if let Some(canned) = refused.or_else(|| drawn.instead()) {
            return self.canned(canned, request.into_body(), number).await;
        }
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                let text = format!("the proxy failed to reach {}: {error}", self.side);
                let mut response = Response::new(full(text));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                self.log.answered(number, StatusCode::BAD_GATEWAY.as_u16());
                return Ok(response);
            }
        };
        let shown = classify::telling(response.headers());
        self.log.update(number, |event| event.shown = shown);
        self.log.answered(number, response.status().as_u16());
        self.log.reached(Moment::Answered, number).await;
        if let Some(canned) = drawn.after() {
            return self.canned(canned, response.into_body().boxed(), number).await;
        }
        let log = self.log.clone();
        let (mut parts, body) = response.into_parts();
        drop_hop_headers(&mut parts.headers);
        let body = body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            log.sent(number, bytes as u64);
            frame
        });
        let body = drawn.answer(&mut parts, body.boxed()).await?;
        Ok(Response::from_parts(parts, body))
    }

    /// Responds in place of the service after reading the whole body.
    async fn canned(&self, canned: Canned, mut body: Body, number: usize) -> anyhow::Result<Response<Body>> {
        // A body that breaks off is answered too; the client does not see it.
        while let Some(Ok(_)) = body.frame().await {}
        self.log.answered(number, canned.status);
        canned.response()
    }

    async fn rewrite(&self, request: Request<Body>, number: usize, drawn: &Drawn) -> anyhow::Result<Request<Body>> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().context("failed to read a request: it has no path")?;
        parts.uri = Uri::builder()
            .scheme("http")
            .authority(self.upstream.to_string())
            .path_and_query(path)
            .build()
            .context("failed to build the URL of the service")?;
        drop_hop_headers(&mut parts.headers);
        let log = self.log.clone();
        let body = body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            log.update(number, |e| e.received += bytes as u64);
            frame
        });
        let body = drawn.request(&mut parts, body.boxed()).await?;
        Ok(Request::from_parts(parts, body))
    }
}

/// Returns a request and what it is. SQS and DynamoDB say in the body what a request is about.
async fn classified(request: Request<Incoming>) -> anyhow::Result<(classify::Request, Request<Body>)> {
    let what = classify::of_request(&request);
    let (parts, body) = request.into_parts();
    if !parts.headers.contains_key(classify::TARGET) {
        return Ok((what, Request::from_parts(parts, body.boxed())));
    }
    let body = body.collect().await.context("failed to read a request")?.to_bytes();
    Ok((what.with_body(&body), Request::from_parts(parts, full(body))))
}

/// Returns the bytes of content that a request announces. Bodies in signed chunks announce it in a header of S3.
fn announced(headers: &HeaderMap) -> u64 {
    let number = |value: &hyper::header::HeaderValue| value.to_str().ok()?.parse().ok();
    let decoded = headers.get("x-amz-decoded-content-length").or_else(|| headers.get(CONTENT_LENGTH));
    decoded.and_then(number).unwrap_or_default()
}

fn drop_hop_headers(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove("keep-alive");
}

/// Returns a body of one piece.
pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}
