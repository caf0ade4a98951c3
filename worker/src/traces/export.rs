//! Counts spans, and bounds those that wait to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tracing::{info, warn};

/// Numbers of spans, from the start of the process on.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    waiting: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// Returns the spans that wait to be sent.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns the spans by what became of them: `exported`, `failed` (the collector did not take them) and `dropped` (too
    /// many waited).
    pub(crate) fn read(&self) -> [(&'static str, u64); 3] {
        [("exported", &self.exported), ("failed", &self.failed), ("dropped", &self.dropped)]
            .map(|(result, number)| (result, number.load(Ordering::Relaxed)))
    }

    /// Takes a place among those that wait. Returns false if there is none.
    fn take_place(&self, most: u64) -> bool {
        let more = |waiting| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// Passes on spans as long as there are places for them. What follows has as many places, and so never drops one
/// uncounted.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    inner: P,
    counts: Arc<SpanCounts>,
    most: u64,
}

impl<P> Bounded<P> {
    /// Lets at most so many spans wait.
    pub(super) fn new(inner: P, counts: &Arc<SpanCounts>, most: usize) -> Self {
        Self { inner, counts: counts.clone(), most: most as u64 }
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.take_place(self.most) {
            self.inner.on_end(span);
        } else {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts what is sent, and logs when a collector stops to take it, and when it does again.
#[derive(Debug)]
pub(super) struct Counted<E> {
    inner: E,
    counts: Arc<SpanCounts>,
    fails: AtomicBool,
}

impl<E> Counted<E> {
    pub(super) fn new(inner: E, counts: &Arc<SpanCounts>) -> Self {
        Self { inner, counts: counts.clone(), fails: AtomicBool::new(false) }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        let result = self.inner.export(batch).await;
        let number = if result.is_ok() { &self.counts.exported } else { &self.counts.failed };
        number.fetch_add(spans, Ordering::Relaxed);
        let failed_before = self.fails.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !failed_before => {
                warn!(%error, "failed to export spans; the work goes on, and they are lost");
            }
            Ok(()) if failed_before => info!("spans are exported again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
