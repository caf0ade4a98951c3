//! What the programs of the project have in common: logging, signals, schedules, plans, verifications, metrics, and how
//! they accept connections.

pub mod connections;
pub mod findings;
pub mod http;
mod log;
pub mod metrics;
pub mod plan;
mod run_id;
mod runtime;
pub mod schedule;
mod signals;
pub mod verification;

pub use log::{ExtraLayer, LogFormat, LogLevel, LogSettings, TransferLines, log_to, start_logging, start_logging_with};
pub use run_id::{new_run_id, report_time};
pub use runtime::run;
pub use signals::stop_on_signals;
