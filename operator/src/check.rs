//! `operator check`, for `helm test`: whether the cluster serves `MigrationJobs`, and an operator is ready.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::api::{Api, ListParams};
use migration_api::MigrationJob;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Time for one answer of the operator.
const ANSWER: Duration = Duration::from_secs(5);

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The resource is not served, or may not be listed.
    #[error("failed to list MigrationJobs: {0}")]
    List(#[from] kube::Error),
    /// The URL has no host.
    #[error("failed to read URL {0}: it must look like http://s3-migration:8080")]
    Url(Uri),
    /// Nobody listens there.
    #[error("failed to connect to operator at {0}: {1}")]
    Connect(String, std::io::Error),
    /// The connection ended before the answer.
    #[error("failed to get answer of operator at {0}: {1}")]
    Answer(String, hyper::Error),
    /// The answer took too long.
    #[error("failed to get answer of operator at {0} within {ANSWER:?}")]
    Slow(String),
    /// The operator runs and cannot work.
    #[error("failed to find ready operator: {0} answers {1}")]
    NotReady(String, StatusCode),
}

/// Checks until everything is as it should be, for at most `limit`.
///
/// # Errors
/// The last check's [`CheckError`].
pub async fn check(
    client: &Client,
    operator: &Uri,
    namespace: Option<&str>,
    limit: Duration,
) -> Result<(), CheckError> {
    let end = Instant::now() + limit;
    loop {
        match once(client, operator, namespace).await {
            Err(error) if Instant::now() + PAUSE >= end => return Err(error),
            Err(_) => sleep(PAUSE).await,
            Ok(()) => return Ok(()),
        }
    }
}

async fn once(client: &Client, operator: &Uri, namespace: Option<&str>) -> Result<(), CheckError> {
    let client = client.clone();
    let jobs: Api<MigrationJob> =
        namespace.map_or_else(|| Api::all(client.clone()), |namespace| Api::namespaced(client.clone(), namespace));
    jobs.list(&ListParams::default().limit(1)).await?;
    is_ready(operator).await
}

async fn is_ready(operator: &Uri) -> Result<(), CheckError> {
    let authority = operator.authority().ok_or_else(|| CheckError::Url(operator.clone()))?;
    let place = authority.to_string();
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let answer = timeout(ANSWER, status_of(&place, &address)).await;
    match answer.map_err(|_| CheckError::Slow(place.clone()))?? {
        StatusCode::OK => Ok(()),
        status => Err(CheckError::NotReady(place, status)),
    }
}

async fn status_of(place: &str, address: &str) -> Result<StatusCode, CheckError> {
    let failed = |error| CheckError::Answer(place.to_owned(), error);
    let stream = TcpStream::connect(address).await.map_err(|error| CheckError::Connect(place.to_owned(), error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let driven = tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from_static("/readyz");
    if let Ok(host) = place.parse() {
        request.headers_mut().insert(HOST, host);
    }
    let response = sender.send_request(request).await.map_err(failed);
    driven.abort();
    Ok(response?.status())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that answers once, with this text.
    async fn asked(answer: &'static str) -> Result<(), CheckError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let result = is_ready(&format!("http://{address}").parse().unwrap()).await;
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /readyz HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
        result
    }

    #[tokio::test]
    async fn only_a_ready_operator_passes() {
        asked("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let busy = asked("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(busy, Err(CheckError::NotReady(_, StatusCode::SERVICE_UNAVAILABLE))), "{busy:?}");
        assert!(matches!(asked("").await, Err(CheckError::Answer(..))));
    }

    #[tokio::test]
    async fn an_address_without_an_operator_does_not_pass() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let result = is_ready(&format!("http://{free}").parse().unwrap()).await;
        assert!(matches!(result, Err(CheckError::Connect(..))), "{result:?}");
        assert!(matches!(is_ready(&Uri::from_static("/readyz")).await, Err(CheckError::Url(_))));
    }
}
