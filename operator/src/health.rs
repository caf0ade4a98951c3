//! Serves `/healthz`, while the process runs, `/readyz`, once it may list `MigrationJobs`, and `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::debug;

use crate::metrics::{MEDIA_TYPE, Metrics};

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

/// Serves health and metrics until the process ends.
pub async fn serve(address: SocketAddr, ready: Readiness, metrics: Metrics) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (ready, metrics) = (ready.clone(), metrics.clone());
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let response = match request.uri().path() {
                    "/metrics" => of_metrics(&metrics),
                    path => of_health(path, ready.get()),
                };
                std::future::ready(Ok::<_, Infallible>(response))
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await {
                debug!(%error, "failed to answer health request");
            }
        });
    }
}

fn of_health(path: &str, ready: bool) -> Response<Full<Bytes>> {
    let (status, text) = answer(path, ready);
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn of_metrics(metrics: &Metrics) -> Response<Full<Bytes>> {
    // Writing into a string does not fail.
    let text = metrics.text().unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

fn answer(path: &str, ready: bool) -> (StatusCode, &'static str) {
    match (path, ready) {
        ("/healthz", _) => (StatusCode::OK, "ok\n"),
        ("/readyz", true) => (StatusCode::OK, "ready\n"),
        ("/readyz", false) => (StatusCode::SERVICE_UNAVAILABLE, "MigrationJobs cannot be listed yet\n"),
        _ => (StatusCode::NOT_FOUND, "only /healthz, /readyz and /metrics exist\n"),
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
