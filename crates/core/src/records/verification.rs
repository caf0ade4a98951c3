//! Results of verifications.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, job_partition};
use crate::ports::{Condition, Item, LedgerKey, Write};
use crate::verification::{Verification, VerifyMethod};

/// The result of a run's verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationRecord {
    /// When it ended, as Unix time in milliseconds.
    pub at: i64,
    /// How copies were verified.
    pub method: VerifyMethod,
    /// The numbers of objects.
    #[serde(flatten)]
    pub found: Verification,
}

/// Key of a run's [`VerificationRecord`].
pub fn verification_key(job: &str, run: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("verification/{run}"))
}

/// Returns the write of the record. The last write wins.
pub fn verification_write(job: &str, run: &str, record: &VerificationRecord) -> Write {
    let item = Item::of(verification_key(job, run), record).expiring(record.at + RETENTION_MS);
    Write::Put { item, condition: Condition::Always }
}
