//! What a program takes of the clock for a run: its ID, and the time of its report.

use jiff::Timestamp;

/// Returns the ID of a new run, which no other has. IDs sort by time.
pub fn new_run_id() -> String {
    format!("{}-{:04x}", Timestamp::now().strftime("%Y%m%dt%H%M%Sz"), rand::random::<u16>())
}

/// Returns the current time as reports have it.
pub fn report_time() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
