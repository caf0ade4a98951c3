//! The log of a program.

mod lines;
mod transfer_lines;

use std::io;

use clap::ValueEnum;
use migration_engine::telemetry::transfer_lines::TRANSFER_LINE;
use migration_engine::traces;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

pub use transfer_lines::TransferLines;

use lines::Lines;

/// Format of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Plain text, one line per record.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Returns the value of the argument.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Another reader of spans and records, beside the log.
pub type ExtraLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The least important records of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed for good.
    Error,
    /// And what needs attention.
    Warn,
    /// And changes of a state that a person acts on.
    Info,
    /// And what becomes of each object.
    Debug,
}

impl LogLevel {
    /// Returns the value of the argument.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Returns the filter in the syntax of `RUST_LOG`. `Debug` is of this project's crates only.
    pub const fn filter(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info,kube_runtime=warn",
            Self::Debug => "info,kube_runtime=warn,migration_=debug,s3_migration=debug,s3migrate=debug,operator=debug",
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Format of the records.
    pub format: LogFormat,
    /// What is logged, in the syntax of `RUST_LOG`, which is used instead if it is set and can be parsed.
    pub filter: &'static str,
    /// The job that this process works for, as `namespace/name`: each record names it.
    pub job: Option<String>,
    /// Lines with the bytes of each transfer, in this form of the predecessor's.
    pub transfer_lines: Option<TransferLines>,
}

impl LogSettings {
    /// Creates the settings of a log of this format and level, without a job and without transfer lines.
    pub const fn new(format: LogFormat, filter: &'static str) -> Self {
        Self { format, filter, job: None, transfer_lines: None }
    }
}

/// Starts logging to standard error. May be called once in a process.
pub fn start_logging(settings: &LogSettings) {
    start_logging_with(settings, None);
}

/// Like [`start_logging`], with another reader of spans and records beside the log.
pub fn start_logging_with(settings: &LogSettings, extra: Option<ExtraLayer>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(settings.filter));
    let mut all = layers(settings, filter, io::stderr);
    all.extend(extra);
    tracing_subscriber::registry().with(all).init();
}

/// Returns the log of these settings, with what `filter` lets pass, as a subscriber that writes a line at a time.
pub fn log_to<W>(
    settings: &LogSettings,
    filter: EnvFilter,
    writer: W,
) -> impl Subscriber + Send + Sync + 'static + use<W>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(layers(settings, filter, writer))
}

fn layers<W>(settings: &LogSettings, filter: EnvFilter, writer: W) -> Vec<ExtraLayer>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    // Transfer lines are no records, and spans for traces no context of records.
    let not_logged = [TRANSFER_LINE, traces::TARGET].map(|target| format!("{target}=off").parse().ok());
    let filter = not_logged.into_iter().flatten().fold(filter, EnvFilter::add_directive);
    let (job, has_warning) = (settings.job.clone(), settings.transfer_lines.is_some());
    let lines = Lines { format: settings.format, job, has_warning };
    let layer = fmt::layer().with_ansi(false).with_writer(writer.clone());
    let records: ExtraLayer = match settings.format {
        LogFormat::Text => layer.map_event_format(|format| lines.of(format)).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().map_event_format(|format| lines.of(format)).with_filter(filter).boxed(),
    };
    let transfers = settings.transfer_lines.map(|form| transfer_lines::layer(form, writer));
    [Some(records), transfers].into_iter().flatten().collect()
}
