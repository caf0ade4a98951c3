//! The server: connections, signatures, and what of requests the library does not take as clients send it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use migration_local::store::LocalStore;
use s3s::auth::{S3Auth, SecretKey};
use s3s::host::{DomainError, MultiDomain};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3ErrorCode, S3Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::service::Service;

/// A pair of keys that may do everything.
#[derive(Clone)]
pub struct Credentials {
    /// The access key, which becomes the initiator of uploads.
    pub access_key: String,
    /// The secret key.
    pub secret_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// What a server serves, where and to whom.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Address to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// Keys that requests may be signed with. Unsigned requests are denied.
    pub credentials: Vec<Credentials>,
    /// The buckets.
    pub store: LocalStore,
    /// Domains whose subdomains name buckets, with their ports where they are not 80: `localhost:9000` takes
    /// `http://BUCKET.localhost:9000/KEY`. Requests to an IP address, and all requests if there are no domains, name the
    /// bucket in the path.
    pub domains: Vec<String>,
}

/// Error of a start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened on.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The domains can't be told apart, or one is none.
    #[error("failed to read domains: {0}")]
    Domains(DomainError),
}

/// Numbers of requests. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<String, u64>>>);

impl Requests {
    /// Returns how many requests came, by HTTP method.
    pub fn by_method(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, method: &Method) {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match requests.get_mut(method.as_str()) {
            Some(number) => *number += 1,
            None => drop(requests.insert(method.as_str().to_owned(), 1)),
        }
    }
}

/// A running server. It stops when this is dropped, or at the latest with the runtime.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    requests: Requests,
    connections: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Server {
    /// Starts a server in the background.
    pub async fn start(settings: ServerSettings) -> Result<Self, StartError> {
        let ServerSettings { address, credentials, store, domains } = settings;
        let mut builder = S3ServiceBuilder::new(Service { store });
        builder.set_auth(Keys::from(credentials));
        if !domains.is_empty() {
            builder.set_host(MultiDomain::new(&domains).map_err(StartError::Domains)?);
        }
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
        let requests = Requests::default();
        let served = Served { service: builder.build(), numbers: Arc::default(), requests: requests.clone() };
        connections.spawn(accept(listener, served, connections.clone(), stop.clone()));
        connections.close();
        Ok(Self { address, requests, connections, _stop_on_drop: stop.clone().drop_guard(), stop })
    }

    /// Returns the address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the numbers of its requests, which go on counting.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the server: no connection is accepted any more, and requests in progress are answered first.
    pub async fn stop(self) {
        self.stop.cancel();
        self.connections.wait().await;
    }
}

/// What connections are served with.
#[derive(Clone)]
struct Served {
    service: S3Service,
    /// The last request id.
    numbers: Arc<AtomicU64>,
    requests: Requests,
}

/// Accepts connections until the server stops.
async fn accept(listener: TcpListener, served: Served, connections: TaskTracker, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, served.clone(), stop.clone()));
            }
            // Sockets can run out for a moment; others go on.
            Err(error) => {
                tracing::warn!("failed to accept connection: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Serves a connection until it is closed or the server stops.
async fn serve(stream: TcpStream, served: Served, stop: CancellationToken) {
    // Answers are sent at once: with Nagle's algorithm, small ones wait for the client's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("failed to set TCP_NODELAY: {error}");
    }
    let answer = service_fn(|request: Request<Incoming>| {
        let number = served.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        served.requests.add(request.method());
        answer(served.service.clone(), request, number)
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke: {error}");
    }
}

/// Answers a request. Every answer has a request id.
async fn answer(service: S3Service, mut request: Request<Incoming>, number: u64) -> Result<Response<Body>, Infallible> {
    fold(request.headers_mut());
    let mut answer = match service.call(request.map(Body::from)).await {
        Ok(answer) => answer,
        Err(error) => {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::warn!("failed to answer request {number}: {error}");
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    };
    answer.headers_mut().insert("x-amz-request-id", HeaderValue::from(number));
    Ok(answer)
}

/// Joins the lines of `Content-Encoding` into one, as signatures do. The AWS SDK for Rust sends two for an encoded
/// object in chunks, and the library takes one.
fn fold(headers: &mut HeaderMap) {
    let lines: Vec<&[u8]> = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1
        && let Ok(folded) = HeaderValue::from_bytes(&lines.join(&b","[..]))
    {
        headers.insert(CONTENT_ENCODING, folded);
    }
}

/// The keys that requests may be signed with.
struct Keys(BTreeMap<String, SecretKey>);

impl From<Vec<Credentials>> for Keys {
    fn from(credentials: Vec<Credentials>) -> Self {
        Self(credentials.into_iter().map(|pair| (pair.access_key, pair.secret_key.into())).collect())
    }
}

#[async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let unknown = || {
            let message = "the AWS access key ID you provided does not exist in our records";
            S3Error::with_message(S3ErrorCode::InvalidAccessKeyId, message)
        };
        self.0.get(access_key).cloned().ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_header_are_joined_in_their_order() {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(CONTENT_ENCODING, HeaderValue::from_static("aws-chunked"));
        fold(&mut headers);
        assert_eq!(headers.get_all(CONTENT_ENCODING).iter().collect::<Vec<_>>(), ["gzip,aws-chunked"]);
    }

    #[test]
    fn secrets_are_in_no_debug_output() {
        let pair = Credentials { access_key: "id".into(), secret_key: "s3cr3t".into() };
        assert!(!format!("{pair:?}").contains("s3cr3t"));
    }
}
