//! Answers a few small HTTP requests: health and metrics.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use crate::connections::{self, Impatient};

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// Connections that are open at the same time. A further one ends the oldest: a probe of the kubelet waits for nobody.
const CONNECTIONS: usize = 32;
/// Time in which a client has to send the headers of its request.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// Time in which it has to have taken the answer, from its connection on. Prometheus allows itself 10 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// Returns an answer in plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>, media_type: &'static str) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Listens at a port of all addresses, of both families where the system has both.
pub async fn listen(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
    }
}

/// Answers one request of each connection until it is dropped; connections that are open then end with the runtime.
pub async fn serve<F>(listener: TcpListener, answer: F) -> Infallible
where
    F: Fn(&Request<Incoming>) -> Answer + Clone + Send + Sync + 'static,
{
    connections::accept(listener, CONNECTIONS, |stream, _| converse(stream, answer.clone())).await
}

/// Answers the request of a connection.
async fn converse<F>(stream: Impatient<TcpStream>, answer: F)
where
    F: Fn(&Request<Incoming>) -> Answer + Send,
{
    let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&request))));
    let mut http = connections::http(HEADERS_WITHIN);
    http.keep_alive(false);
    match timeout(ANSWERED_WITHIN, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "failed to answer an HTTP request"),
        Err(_) => debug!("a client did not take the answer to its HTTP request in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Serves two paths. Returns the port.
    async fn served() -> u16 {
        let listener = listen(0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(serve(listener, |request| match request.uri().path() {
            "/a" => text(StatusCode::OK, "one", "text/plain"),
            _ => text(StatusCode::NOT_FOUND, "none", "text/plain"),
        }));
        port
    }

    async fn connect(port: u16) -> TcpStream {
        TcpStream::connect(("127.0.0.1", port)).await.unwrap()
    }

    /// Returns the whole answer. It ends with the connection, though nothing asks for that.
    async fn get(port: u16, path: &str) -> String {
        let mut stream = connect(port).await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(HEADERS_WITHIN / 2, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn each_path_has_its_answer() {
        let port = served().await;
        for (path, status, body) in [("/a", "200", "one"), ("/b", "404", "none")] {
            let answer = get(port, path).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with(body), "{answer}");
        }
    }

    #[tokio::test]
    async fn connections_that_send_nothing_keep_nobody_from_an_answer() {
        let port = served().await;
        let mut idle = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            idle.push(connect(port).await);
        }
        assert!(get(port, "/a").await.ends_with("one"));
        // The oldest had to go, and the newest may still ask.
        assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
        let newest = idle.last_mut().unwrap();
        newest.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        newest.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("one"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_ends() {
        let mut idle = connect(served().await).await;
        assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    }
}
