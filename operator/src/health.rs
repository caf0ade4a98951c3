//! Serves `/healthz`, while the process runs, and `/readyz`, once it may list `MigrationJobs`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::debug;

/// A flag that is set once the operator is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets the operator ready.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves the health endpoints until the process ends.
pub async fn serve(address: SocketAddr, ready: Readiness) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let ready = ready.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let (status, text) = answer(request.uri().path(), ready.get());
                let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
                *response.status_mut() = status;
                std::future::ready(Ok::<_, Infallible>(response))
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await {
                debug!(%error, "failed to answer health request");
            }
        });
    }
}

fn answer(path: &str, ready: bool) -> (StatusCode, &'static str) {
    match (path, ready) {
        ("/healthz", _) => (StatusCode::OK, "ok\n"),
        ("/readyz", true) => (StatusCode::OK, "ready\n"),
        ("/readyz", false) => (StatusCode::SERVICE_UNAVAILABLE, "MigrationJobs cannot be listed yet\n"),
        _ => (StatusCode::NOT_FOUND, "only /healthz and /readyz exist\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_more_than_life() {
        assert_eq!(answer("/healthz", false).0, StatusCode::OK);
        assert_eq!(answer("/readyz", false).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer("/readyz", true).0, StatusCode::OK);
        assert_eq!(answer("/", true).0, StatusCode::NOT_FOUND);
    }
}
