//! What a verification of a run found.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, job_partition};
use crate::ports::{Condition, Item, LedgerKey, Write};
use crate::verification::{Verification, VerifyMethod};

/// What a verification of a run found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationRecord {
    /// When it ended, in milliseconds since 1970.
    pub at: i64,
    /// By what.
    pub method: VerifyMethod,
    /// The numbers.
    #[serde(flatten)]
    pub found: Verification,
}

/// Key of the [`VerificationRecord`] of a run.
pub fn verification_key(job: &str, run: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("verification/{run}"))
}

/// The write of a record. The last word on a run stands.
pub fn verification_write(job: &str, run: &str, record: &VerificationRecord) -> Write {
    let item = Item::of(verification_key(job, run), record).expiring(record.at + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}
