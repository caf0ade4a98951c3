//! The log of a program.

use std::io;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

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

/// Starts logging to standard error. `RUST_LOG` sets what is logged; if it is not set or can't be parsed, `filter` does,
/// in the same syntax. May be called once in a process.
pub fn start_logging(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
