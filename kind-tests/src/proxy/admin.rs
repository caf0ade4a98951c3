//! Control API of the proxies' process, which reports requests, and sets delays, cuts and
//! refusals: JSON over HTTP on the loopback address.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::net::TcpListener;

use super::delays::Delay;
use super::log::{Cut, Event, Flow, Log};
use super::refusals::Refusal;
use super::{Body, full};

/// Serves requests until the listener fails.
pub async fn serve(listener: TcpListener, log: Log) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("failed to accept an administrator's connection")?;
        let log = log.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &log));
            // The client may have disconnected.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, log: &Log) -> anyhow::Result<Response<Body>> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let value = |name: &str| {
        let pair = query.split('&').filter_map(|p| p.split_once('=')).find(|(n, _)| *n == name);
        pair.map(|(_, v)| percent_decode_str(v).decode_utf8_lossy().into_owned())
    };
    let body = match (request.method(), request.uri().path()) {
        (&Method::GET, "/next") => serde_json::to_string(&log.next())?,
        (&Method::GET, "/events") => {
            let since = value("since").and_then(|n| n.parse().ok()).unwrap_or(0);
            serde_json::to_string(&log.since(since, value("bucket").as_deref()))?
        }
        (&Method::POST, "/delay") => {
            let body = request.into_body().collect().await?.to_bytes();
            log.delays.set(serde_json::from_slice(&body)?);
            "null".to_owned()
        }
        (&Method::POST, "/cuts") => {
            let body = request.into_body().collect().await?.to_bytes();
            log.set_cuts(serde_json::from_slice(&body)?);
            "null".to_owned()
        }
        (&Method::POST, "/refusals") => {
            let body = request.into_body().collect().await?.to_bytes();
            log.refusals.set(serde_json::from_slice(&body)?);
            "null".to_owned()
        }
        (&Method::GET, "/flow") => serde_json::to_string(&log.flow().unwrap_or_default())?,
        (&Method::POST, "/flow") => {
            let body = request.into_body().collect().await?.to_bytes();
            log.set_flow(serde_json::from_slice(&body)?);
            "null".to_owned()
        }
        _ => {
            let mut response =
                Response::new(full("use GET /next, GET /events, GET or POST /flow, POST /delay, /cuts or /refusals"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
    };
    Ok(Response::new(full(body)))
}

/// Client of the proxies' process.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
}

impl Admin {
    /// Creates a client for the process at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Returns the number that the next request will get.
    pub async fn next(&self) -> anyhow::Result<usize> {
        self.call(Method::GET, "/next", String::new()).await
    }

    /// Returns the requests on a bucket, starting at a number.
    pub async fn events(&self, since: usize, bucket: &str) -> anyhow::Result<Vec<Event>> {
        let bucket = utf8_percent_encode(bucket, NON_ALPHANUMERIC);
        self.call(Method::GET, &format!("/events?since={since}&bucket={bucket}"), String::new()).await
    }

    /// Sets the delay of an operation on a bucket in milliseconds; 0 removes it. It counts for requests that wait,
    /// too.
    pub async fn delay(&self, bucket: &str, operation: &str, millis: u64) -> anyhow::Result<()> {
        let delay = Delay { bucket: bucket.to_owned(), operation: operation.to_owned(), millis };
        self.call(Method::POST, "/delay", serde_json::to_string(&delay)?).await
    }

    /// Sets the clients that are cut off from a service; none ends all cuts.
    pub async fn cut(&self, cuts: &[Cut]) -> anyhow::Result<()> {
        self.call(Method::POST, "/cuts", serde_json::to_string(cuts)?).await
    }

    /// Sets what is refused in place of the services; none ends all refusals.
    pub async fn refuse(&self, refusals: &[Refusal]) -> anyhow::Result<()> {
        self.call(Method::POST, "/refusals", serde_json::to_string(refusals)?).await
    }

    /// Begins to record when the bodies of an operation on a bucket are sent.
    pub async fn record_flow(&self, bucket: &str, operation: &str) -> anyhow::Result<()> {
        let flow = Flow { bucket: bucket.to_owned(), operation: operation.to_owned(), ..Flow::default() };
        self.call(Method::POST, "/flow", serde_json::to_string(&flow)?).await
    }

    /// Returns when these bodies were sent.
    pub async fn flow(&self) -> anyhow::Result<Flow> {
        self.call(Method::GET, "/flow", String::new()).await
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<T> {
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
        let uri: Uri = format!("http://{}{path}", self.address).parse()?;
        let request = Request::builder().method(method).uri(uri).body(full(body))?;
        let response = client.request(request).await.context("failed to call the proxies' process")?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success(),
            "failed to call the proxies' process: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).context("failed to read the answer of the proxies' process")
    }
}
