//! Destination objects that a mirroring run may delete.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, object_sort_key};
use crate::etag::ETag;
use crate::object::ListedObject;
use crate::ports::{Condition, Item, LedgerKey, Write};

/// A destination object under a key that no source key maps to. Written during the scan, and deleted once the object is
/// deleted or is to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraneousRecord {
    /// Index of its pair in the run's pairs.
    pub pair: u32,
    /// Key at the destination.
    pub key: String,
    /// Its ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// Last modification, as Unix time in milliseconds.
    pub modified: i64,
}

impl ExtraneousRecord {
    /// Creates the record of a destination object.
    pub fn of(pair: u32, object: &ListedObject) -> Self {
        Self { pair, key: object.key.clone(), etag: object.etag.clone(), modified: object.modified }
    }

    /// Returns its ledger key.
    pub fn ledger_key(&self, job: &str, run: &str) -> LedgerKey {
        LedgerKey::new(extraneous_partition(job, run, self.pair), object_sort_key(&self.key))
    }
}

/// Partition of the [`ExtraneousRecord`]s of a pair.
pub fn extraneous_partition(job: &str, run: &str, pair: u32) -> String {
    format!("extra/{job}/{run}/{pair}")
}

/// Returns the idempotent write of a record.
pub fn extraneous_write(job: &str, run: &str, extra: &ExtraneousRecord, now: i64) -> Write {
    let item = Item::of(extra.ledger_key(job, run), extra).expiring(now + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}
