//! What a run did about extraneous objects, as its record keeps it.

use serde::{Deserialize, Serialize};

/// What a run did about what is extra.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MirrorCounts {
    /// Objects that were deleted.
    pub deleted: u64,
    /// Objects that stayed: the source has them by now, they changed, or nobody can say.
    pub kept: u64,
    /// More were extra than may be deleted, so that all stayed.
    pub refused: bool,
    /// Extra objects whose fate was known when the run was [reopened](crate::reopen), of ranges that were left as they were.
    #[serde(skip_serializing_if = "is_zero")]
    pub settled: u64,
    /// Objects that were deleted before the run was reopened.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted_before: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl MirrorCounts {
    /// How many objects the run may delete in all, reopenings included, by the extra objects that its ranges found.
    pub fn deletions(&self, found: u64) -> u64 {
        found.saturating_sub(self.settled) + self.deleted_before
    }
}
