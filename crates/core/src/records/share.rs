//! How the limits of a job are divided among its processes.

use serde::{Deserialize, Serialize};

use crate::ports::{Condition, Item, LedgerKey, Write};

/// A whole limit, in parts.
pub const WHOLE: u32 = 1_000_000;
/// Lifetime of these records after they are written, in milliseconds.
const KEEP_MS: i64 = 7 * 24 * 3_600 * 1_000;
const POOL: &str = "pool";
/// Prefix of the sort keys of [`ShareRecord`]s.
pub const SHARE_PREFIX: &str = "share/";

/// Parts of the two limits, each of [`WHOLE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Portions {
    /// Of the bytes per second.
    pub bytes: u32,
    /// Of the requests per second, to each side.
    pub requests: u32,
}

impl Portions {
    /// Both limits.
    pub const WHOLE: Self = Self { bytes: WHOLE, requests: WHOLE };

    /// Combines each limit's parts with those of another.
    #[must_use]
    pub fn with(self, other: Self, combine: impl Fn(u32, u32) -> u32) -> Self {
        Self { bytes: combine(self.bytes, other.bytes), requests: combine(self.requests, other.requests) }
    }

    /// Returns the sums; at most the largest number.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u32::saturating_add)
    }

    /// Returns the differences; at least zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(other, u32::saturating_sub)
    }

    /// Returns the lower ones.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.with(other, u32::min)
    }

    /// Returns true if there is nothing of either limit.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// What no process holds. Together with all [`ShareRecord`]s it is always [`Portions::WHOLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRecord {
    /// Increases with each write.
    pub revision: u64,
    /// The parts.
    pub free: Portions,
}

/// What one process holds. A process that dies leaves it until another one has seen it unchanged for longer than a
/// lease lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareRecord {
    /// Increases with each write.
    pub revision: u64,
    /// What the process may take.
    pub share: Portions,
    /// What it could use.
    pub need: Portions,
}

/// Partition of a job's shares.
pub fn share_partition(job: &str) -> String {
    format!("limits/{job}")
}

/// Key of a job's [`PoolRecord`].
pub fn pool_key(job: &str) -> LedgerKey {
    LedgerKey::new(share_partition(job), POOL)
}

/// Key of a process's [`ShareRecord`].
pub fn share_key(job: &str, process: &str) -> LedgerKey {
    LedgerKey::new(share_partition(job), format!("{SHARE_PREFIX}{process}"))
}

/// Returns when the [`ShareRecord`] of an item was written, by the clock of its process, in milliseconds since 1970, exact
/// to a second. Returns `None` if it does not say.
pub fn share_written(item: &Item) -> Option<i64> {
    Some(item.expires_at?.saturating_mul(1_000).saturating_sub(KEEP_MS))
}

/// Returns the process whose [`ShareRecord`] has this sort key.
pub fn share_process(sort: &str) -> Option<&str> {
    sort.strip_prefix(SHARE_PREFIX)
}

/// Returns the condition that a record has the revision before this one, or is absent before the first.
fn over(revision: u64) -> Condition {
    match revision {
        1 => Condition::Absent,
        revision => Condition::Revision(revision - 1),
    }
}

impl PoolRecord {
    /// Returns the write of the record over the revision before it.
    pub fn write(&self, job: &str, now: i64) -> Write {
        Write::Put { item: Item::of(pool_key(job), self).expiring(now + KEEP_MS), condition: over(self.revision) }
    }
}

impl ShareRecord {
    /// Returns the write of the record over the revision before it.
    pub fn write(&self, job: &str, process: &str, now: i64) -> Write {
        let item = Item::of(share_key(job, process), self).expiring(now + KEEP_MS);
        Write::Put { item, condition: over(self.revision) }
    }

    /// Returns the deletion of the record, if it still has this revision.
    pub fn delete(&self, job: &str, process: &str) -> Write {
        Write::Delete { key: share_key(job, process), condition: Condition::Revision(self.revision) }
    }
}
