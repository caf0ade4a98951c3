//! The log of a program.

use std::io;

use clap::ValueEnum;
use migration_engine::traces;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

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

/// Starts logging to standard error. `RUST_LOG` sets what is logged; if it is not set or can't be parsed, `filter` does,
/// in the same syntax. May be called once in a process.
pub fn start_logging(format: LogFormat, filter: &str) {
    start_logging_with(format, filter, None);
}

/// Like [`start_logging`], with another reader beside the log.
pub fn start_logging_with(format: LogFormat, filter: &str, extra: Option<ExtraLayer>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    // Spans for traces are no context of records.
    let filter = match format!("{}=off", traces::TARGET).parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let log = fmt::layer().with_ansi(false).with_writer(io::stderr);
    let log: ExtraLayer = match format {
        LogFormat::Text => log.with_filter(filter).boxed(),
        LogFormat::Json => log.json().with_filter(filter).boxed(),
    };
    let layers: Vec<ExtraLayer> = [Some(log), extra].into_iter().flatten().collect();
    tracing_subscriber::registry().with(layers).init();
}
