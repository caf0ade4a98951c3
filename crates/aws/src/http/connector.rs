//! The SDK's requests over hyper's client, and hyper's errors for the SDK.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::HttpError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::ErrorKind;
use http::header::PROXY_AUTHORIZATION;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::dial::{BoxError, ConnectTimedOut, Dial};

/// Most bytes read from a connection at once, and of what is written at once but for its body; the head of an answer has
/// to fit. Memory is taken before the bytes are there, so that what is not filled is held until the rest is written: with
/// hyper's 408 KiB, most of a process's memory.
const LONGEST_READ: usize = 128 << 10;

/// Sends requests over a pool of connections. It has as many as requests were ever in flight at once, and each is
/// closed after 90 s without a request, or when the service closes it.
pub(super) struct PooledConnector {
    client: Client<Dial, SdkBody>,
    proxies: Arc<Matcher>,
    /// Time limit from the start of a request to the head of its answer.
    within: Option<Duration>,
}

/// Headers with secrets, whose values are not printed with a request: the session token of temporary credentials, and
/// the token with which a credential service is asked.
const SECRETS: [&str; 2] = ["authorization", "x-amz-security-token"];

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("no response within {0:?}")]
struct ReadTimedOut(Duration);

impl PooledConnector {
    pub(super) fn new(dial: Dial, proxies: Arc<Matcher>, within: Option<Duration>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            // Without a timer, idle connections are not closed.
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(LONGEST_READ)
            .build(dial);
        Self { client, proxies, within }
    }

    /// Adds the credentials of the proxy to a request that goes through one as it is. A tunnel has its own.
    fn authorize(&self, request: &mut http::Request<SdkBody>) {
        if request.uri().scheme() == Some(&Scheme::HTTP)
            && let Some(proxy) = self.proxies.intercept(request.uri())
            && let Some(credentials) = proxy.basic_auth()
        {
            request.headers_mut().entry(PROXY_AUTHORIZATION).or_insert_with(|| credentials.clone());
        }
    }
}

/// Leaves out the proxies: their URLs may hold a password.
impl fmt::Debug for PooledConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnector").field("within", &self.within).finish_non_exhaustive()
    }
}

impl HttpConnector for PooledConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match converted(request) {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        self.authorize(&mut request);
        let connection = capture_connection(&mut request);
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            capture.set_connection_retriever(move || metadata(&connection));
        }
        let (answer, within) = (self.client.request(request), self.within);
        HttpConnectorFuture::new(async move {
            let answer = match within {
                None => answer.await,
                Some(limit) => match tokio::time::timeout(limit, answer).await {
                    Ok(answer) => answer,
                    Err(_) => return Err(ConnectorError::timeout(ReadTimedOut(limit).into())),
                },
            };
            let answer = answer.map_err(sorted)?.map(SdkBody::from_body_1_x);
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Returns how the SDK keeps a connection from being used again.
fn metadata(connection: &CaptureConnection) -> Option<ConnectionMetadata> {
    let is_proxied = connection.connection_metadata().as_ref()?.is_proxied();
    let connection = connection.clone();
    let poison = move || {
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(is_proxied).poison_fn(poison).build())
}

/// Converts a request of the SDK for hyper, which can't tell by itself which headers are secrets.
fn converted(request: HttpRequest) -> Result<http::Request<SdkBody>, HttpError> {
    let mut request = request.try_into_http1x()?;
    for name in SECRETS {
        if let Some(value) = request.headers_mut().get_mut(name) {
            value.set_sensitive(true);
        }
    }
    Ok(request)
}

/// Sorts an error as the SDK's own connector does.
fn sorted(error: ClientError) -> ConnectorError {
    if source::<ConnectTimedOut>(&error).is_some() {
        return ConnectorError::timeout(error.into());
    }
    let (is_connect, is_io) = (error.is_connect(), source::<io::Error>(&error).is_some());
    let kind: fn(BoxError) -> ConnectorError = match source::<hyper::Error>(&error) {
        Some(inner) if inner.is_timeout() => ConnectorError::timeout,
        Some(inner) if inner.is_user() => ConnectorError::user,
        Some(inner) if inner.is_closed() || inner.is_canceled() || is_io => ConnectorError::io,
        // S3 closes a connection that was idle while a request is under way to it.
        Some(inner) if inner.is_incomplete_message() => {
            |error| ConnectorError::other(error, Some(ErrorKind::TransientError))
        }
        None if is_connect || is_io => ConnectorError::io,
        _ => |error| ConnectorError::other(error, None),
    };
    kind(error.into())
}

/// Returns the first error of this type in a chain.
fn source<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Time limits of a connection and of an answer.
    const WITHIN: Duration = Duration::from_secs(5);

    async fn error_of(url: String) -> ConnectorError {
        let proxies = Arc::new(Matcher::builder().build());
        let dial = Dial::new(Arc::new(super::super::tls(None).unwrap()), proxies.clone(), None, Some(WITHIN));
        PooledConnector::new(dial, proxies, Some(2 * WITHIN)).call(HttpRequest::get(url).unwrap()).await.unwrap_err()
    }

    /// Starts a server that treats each connection so.
    async fn server<F: Future<Output = ()> + Send>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                treat(stream).await;
            }
        });
        address
    }

    #[test]
    fn a_request_is_printed_without_its_secrets() {
        let mut request = HttpRequest::get("https://s3").unwrap();
        for (name, value) in [("x-amz-security-token", "t0k3n"), ("authorization", "b34r3r"), ("x-amz-date", "now")] {
            request.headers_mut().insert(name, value);
        }
        let request = converted(request).unwrap();
        let printed = format!("{request:?}");
        assert!(!printed.contains("t0k3n") && !printed.contains("b34r3r") && printed.contains("now"), "{printed}");
        assert_eq!(request.headers()["x-amz-security-token"], "t0k3n", "it is sent");
    }

    #[tokio::test]
    async fn what_ends_a_request_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let refused = error_of(format!("http://{nobody}")).await;
        assert!(refused.is_io(), "{refused:?}");

        let closing = server(|mut stream| async move {
            let _ = stream.read(&mut [0; 512]).await;
        });
        let closed = error_of(format!("http://{}", closing.await)).await;
        assert_eq!(closed.as_other(), Some(ErrorKind::TransientError), "{closed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_ends_the_time() {
        for scheme in ["https", "http"] {
            let silent = server(|stream| async move {
                tokio::spawn(async move {
                    tokio::time::sleep(100 * WITHIN).await;
                    drop(stream);
                });
            });
            let late = error_of(format!("{scheme}://{}", silent.await)).await;
            assert!(late.is_timeout(), "{scheme}: {late:?}");
        }
    }
}
