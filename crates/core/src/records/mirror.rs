//! What a run did with extraneous objects, as kept in its record.

use serde::{Deserialize, Serialize};

/// What a run did with extraneous objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MirrorCounts {
    /// Number of objects deleted.
    pub deleted: u64,
    /// Number of objects kept: they now exist at the source, have changed, or their absence there is unclear.
    pub kept: u64,
    /// True if more objects were extraneous than may be deleted, so that all were kept.
    pub refused: bool,
    /// When the run was [reopened](crate::reopen), the number of extraneous objects in ranges kept as they were.
    #[serde(skip_serializing_if = "is_zero")]
    pub settled: u64,
    /// Number of objects deleted before the run was reopened.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted_before: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl MirrorCounts {
    /// Returns how many objects the run would delete in all, including before it was reopened, if its ranges found this
    /// many.
    pub fn deletions(&self, found: u64) -> u64 {
        found.saturating_sub(self.settled) + self.deleted_before
    }
}
