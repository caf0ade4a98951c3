//! Traces by OpenTelemetry: the spans of `migration_engine::traces`, sent to a collector by OTLP over HTTP. They are off
//! unless the standard variables name a collector. `docs/traces.md` describes them.

mod export;
mod sender;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use migration_engine::traces::{OBJECT, RANGE, TARGET};
use migration_program::ExtraLayer;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider};
use tracing::subscriber::Interest;
use tracing::{info, warn};
use tracing_subscriber::Layer as _;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::Context;

use export::{Bounded, Counted};
use sender::Sender;
use settings::{Settings, SettingsError, Switch};

pub(crate) use export::SpanCounts;

/// Time in which the last spans have to be sent when the program ends: well within what the pod's grace period leaves
/// after the work.
const TIME_TO_END: Duration = Duration::from_secs(5);
/// Name of this project's instrumentation.
const SCOPE: &str = "s3-migration";
/// Beginning of the name by which OpenTelemetry calls a program that has none.
const NAMELESS: &str = "unknown_service";

/// Failures to start traces. The program works on without them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TracesError {
    /// A variable has a value that can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// OpenTelemetry refuses the settings.
    #[error("failed to set up the export of traces: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] migration_aws::http::ReachError),
}

/// The traces of a program.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    provider: Option<SdkTracerProvider>,
    counts: Arc<SpanCounts>,
    /// Why there are none.
    problem: Option<TracesError>,
}

impl Traces {
    /// Starts traces if the environment asks for them. Returns what is to be put beside the log. `program` and
    /// `instance` name the process, unless the environment does. Call it within the runtime.
    pub(crate) fn start(program: &'static str, instance: &str) -> (Self, Option<ExtraLayer>) {
        match Settings::read(|name| std::env::var(name).ok()) {
            Ok(Switch::Off) => (Self::default(), None),
            Ok(Switch::On(settings)) => Self::start_with(&settings, program, instance),
            Err(error) => (Self { problem: Some(error.into()), ..Self::default() }, None),
        }
    }

    fn start_with(settings: &Settings, program: &'static str, instance: &str) -> (Self, Option<ExtraLayer>) {
        let counts = Arc::<SpanCounts>::default();
        match provider(settings, &counts, resource(program, instance)) {
            Ok(provider) => {
                let layer = layer(provider.tracer(SCOPE));
                (Self { provider: Some(provider), counts, problem: None }, Some(layer))
            }
            Err(error) => (Self { problem: Some(error), ..Self::default() }, None),
        }
    }

    /// Logs that there are traces, or why there are none.
    pub(crate) fn tell(&self) {
        match &self.problem {
            Some(error) => warn!(%error, "going on without traces"),
            None if self.provider.is_some() => info!("exporting traces"),
            None => {}
        }
    }

    /// Returns the numbers of spans.
    pub(crate) fn counts(&self) -> Arc<SpanCounts> {
        self.counts.clone()
    }

    /// Sends the spans that wait, for at most [`TIME_TO_END`]. A collector that does not answer loses them.
    pub(crate) async fn end(self) {
        let Some(provider) = self.provider else { return };
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(TIME_TO_END)).await;
        if !matches!(ended, Ok(Ok(()))) {
            warn!(waiting = self.counts.waiting(), "failed to send the last spans in time");
        }
    }
}

fn provider(
    settings: &Settings,
    counts: &Arc<SpanCounts>,
    resource: Resource,
) -> Result<SdkTracerProvider, TracesError> {
    let exporter = SpanExporter::builder().with_http().with_http_client(Sender::new(settings.within)?);
    let exporter = exporter.with_timeout(settings.within);
    let exporter = match &settings.url {
        Some(url) => exporter.with_endpoint(url),
        None => exporter,
    };
    let counted = Counted::new(exporter.build()?, counts);
    let config = BatchConfigBuilder::default().with_max_queue_size(settings.most_waiting);
    let batches = BatchSpanProcessor::builder(counted).with_batch_config(config.build()).build();
    let bounded = Bounded::new(batches, counts, settings.most_waiting);
    Ok(SdkTracerProvider::builder().with_span_processor(bounded).with_resource(resource).build())
}

/// Names the process, unless the environment does: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
fn resource(program: &'static str, instance: &str) -> Resource {
    let given = Resource::builder().build();
    let is_named =
        given.iter().any(|(key, name)| key.as_str() == "service.name" && !name.as_str().starts_with(NAMELESS));
    let has_instance = given.iter().any(|(key, _)| key.as_str() == "service.instance.id");
    let mut builder = Resource::builder();
    if !is_named {
        builder = builder.with_service_name(program);
    }
    if !has_instance {
        builder = builder.with_attribute(KeyValue::new("service.instance.id", instance.to_owned()));
    }
    builder.build()
}

/// Returns the layer that makes spans of OpenTelemetry of those for traces: of objects and ranges, and of what is below
/// them. Requests that no object causes, such as those for the next messages, have no span.
fn layer(tracer: SdkTracer) -> ExtraLayer {
    let is_wanted = |metadata: &tracing::Metadata<'_>, context: &Context<'_, Registry>| {
        metadata.target() == TARGET && (matches!(metadata.name(), OBJECT | RANGE) || context.lookup_current().is_some())
    };
    let filter = dynamic_filter_fn(is_wanted).with_callsite_filter(|metadata| {
        if metadata.target() == TARGET { Interest::sometimes() } else { Interest::never() }
    });
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_context_activation(false)
        .with_level(false)
        .with_location(false)
        .with_target(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter)
        .boxed()
}

#[cfg(test)]
mod tests;
