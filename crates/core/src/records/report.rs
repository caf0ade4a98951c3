//! That the report of a run is written.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, job_partition};
use crate::ports::{Condition, Item, LedgerKey, Write};

/// That the report of a run is written, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportRecord {
    /// When it was written, in milliseconds since 1970.
    pub at: i64,
    /// The bucket of its `manifest.json`.
    pub bucket: String,
    /// The key of its `manifest.json`.
    pub key: String,
    /// Objects in it that are at the destination.
    pub succeeded: u64,
    /// Objects in it that failed.
    pub failed: u64,
    /// Objects that were moved, or were gone, and are not in it: their workers could not write what they did.
    #[serde(default)]
    pub unreported: u64,
}

/// Key of the [`ReportRecord`] of a run.
pub fn report_key(job: &str, run: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("report/{run}"))
}

/// The write of a record.
pub fn report_write(job: &str, run: &str, record: &ReportRecord) -> Write {
    let item = Item::of(report_key(job, run), record).expiring(record.at + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}
