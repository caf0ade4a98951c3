//! Serves `/healthz`, while the process runs, `/readyz`, once it may list `MigrationJobs`, and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use migration_program::http;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

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
    match http::serve(listener, move |request| match request.uri().path() {
        "/metrics" => metrics.answer(request.headers()),
        path => {
            let (status, text) = answer(path, ready.get());
            http::text(status, text, "text/plain")
        }
    })
    .await {}
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
