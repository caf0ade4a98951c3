//! What every program of the project does at its start: logging and signals.

mod log;
mod signals;

pub use log::{LogFormat, start_logging};
pub use signals::stop_on_signals;
