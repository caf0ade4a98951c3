//! Completed reports of runs.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, job_partition};
use crate::ports::{Condition, Item, LedgerKey, Write};

/// The completed report of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportRecord {
    /// When it was written, as Unix time in milliseconds.
    pub at: i64,
    /// Bucket of its `manifest.json`.
    pub bucket: String,
    /// Key of its `manifest.json`.
    pub key: String,
    /// Number of reported objects that are at the destination.
    pub succeeded: u64,
    /// Number of reported objects that failed.
    pub failed: u64,
    /// Objects missing from the report: copied objects whose workers could not write to the report's bucket or were
    /// killed, and failed objects whose failure records cannot be read.
    #[serde(default)]
    pub unreported: u64,
}

/// Key of a run's [`ReportRecord`].
pub fn report_key(job: &str, run: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("report/{run}"))
}

/// Returns the write of the record.
pub fn report_write(job: &str, run: &str, record: &ReportRecord) -> Write {
    let item = Item::of(report_key(job, run), record).expiring(record.at + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}
