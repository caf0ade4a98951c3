//! Metrics of workers and jobsenders, at `/metrics`. `docs/METRICS.md` lists them.

mod collector;

use std::sync::Arc;

use hyper::StatusCode;
use migration_core::config::JobIdentity;
use migration_engine::gauges::ProcessState;
use migration_engine::telemetry::Telemetry;
use migration_engine::transfer::TransferLimits;
use migration_program::{http, metrics};
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use crate::setup::AwsProcess;
use crate::traces::SpanCounts;
use collector::Collector;

/// What the metrics are read from.
#[derive(Clone)]
pub(crate) struct Sources {
    /// What the process did.
    pub(crate) telemetry: Arc<Telemetry>,
    /// Returns what it holds and waits for.
    pub(crate) state: Arc<dyn Fn() -> ProcessState + Send + Sync>,
    /// Memory and objects at once, in a worker.
    pub(crate) transfers: Option<Arc<TransferLimits>>,
    /// Spans of traces; all 0 while they are off.
    pub(crate) spans: Arc<SpanCounts>,
}

impl Sources {
    /// Returns those of a process, and of its worker if it is one.
    pub(crate) fn of(process: &AwsProcess, transfers: Option<Arc<TransferLimits>>) -> Self {
        let gauges = process.gauges();
        let telemetry = process.runtime.telemetry.clone();
        Self { telemetry, state: Arc::new(move || gauges.read()), transfers, spans: Arc::default() }
    }

    /// Adds the numbers of spans.
    pub(crate) fn with_spans(self, spans: Arc<SpanCounts>) -> Self {
        Self { spans, ..self }
    }
}

/// Serves the metrics at a port while the program runs; port 0 serves nothing. A port that is taken is logged: metrics
/// don't keep a program from its work.
pub(crate) async fn serve(port: u16, job: &JobIdentity, sources: Sources) {
    if port == 0 {
        return;
    }
    match http::listen(port).await {
        Ok(listener) => {
            info!(port, "serving metrics");
            let registry = Arc::new(registry(job, sources));
            tokio::spawn(http::serve(listener, move |request| match request.uri().path() {
                "/metrics" => metrics::answer(&registry, request.headers()),
                _ => http::text(StatusCode::NOT_FOUND, "only /metrics exists\n", "text/plain"),
            }));
        }
        Err(error) => warn!(port, %error, "failed to serve metrics"),
    }
}

/// Returns the registry of a program that works for this job.
fn registry(job: &JobIdentity, sources: Sources) -> Registry {
    // Not `job` and `namespace`, which Prometheus sets to those of what it reads from.
    let labels = [("job_namespace", &job.namespace), ("job_name", &job.name)];
    let labels = labels.map(|(name, value)| (name.into(), value.clone().into())).into_iter();
    let mut registry = Registry::with_prefix_and_labels(metrics::PREFIX, labels);
    registry.register_collector(Box::new(Collector(sources)));
    registry
}

#[cfg(test)]
mod tests;
