//! One JSON object per event, on standard output.

use std::io::Write;

use migration_core::printable::printable_json;

use super::Display;
use crate::event::Event;

/// Prints events as JSON.
pub(super) struct Json;

impl Display for Json {
    fn show(&self, event: &Event) {
        let Ok(line) = serde_json::to_string(event) else { return };
        let line = format!("{}\n", printable_json(&line));
        // Who reads may have gone: the run goes on.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}
