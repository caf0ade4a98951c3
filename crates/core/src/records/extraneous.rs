//! Objects of the destination that a mirroring run may delete.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, object_sort_key};
use crate::etag::ETag;
use crate::object::ListedObject;
use crate::ports::{Condition, Item, LedgerKey, Write};

/// An object that stood at the destination under a key that no source key maps to. Written while the scan goes on, and
/// removed when the object is deleted or it is clear that it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraneousRecord {
    /// Place of its pair among the run's.
    pub pair: u32,
    /// Its key at the destination.
    pub key: String,
    /// Its ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// When it was modified, in milliseconds since 1970.
    pub modified: i64,
}

impl ExtraneousRecord {
    /// The record of an object of a pair's destination.
    pub fn of(pair: u32, object: &ListedObject) -> Self {
        Self { pair, key: object.key.clone(), etag: object.etag.clone(), modified: object.modified }
    }

    /// Its key in the ledger.
    pub fn ledger_key(&self, job: &str, run: &str) -> LedgerKey {
        LedgerKey::new(extraneous_partition(job, run, self.pair), object_sort_key(&self.key))
    }
}

/// Partition of the [`ExtraneousRecord`]s of a pair.
pub fn extraneous_partition(job: &str, run: &str, pair: u32) -> String {
    format!("extra/{job}/{run}/{pair}")
}

/// The write of a record; writing one twice changes nothing.
pub fn extraneous_write(job: &str, run: &str, extra: &ExtraneousRecord, now: i64) -> Write {
    let item = Item::of(extra.ledger_key(job, run), extra).expiring(now + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}
