//! What the service of a destination bucket can do.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::job_partition;
use crate::ports::LedgerKey;

/// Whether a service can do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Support {
    /// Nobody has found out yet.
    #[default]
    Unknown,
    /// It can.
    Yes,
    /// It can't: the safe other way is taken.
    No,
}

/// What the service of a destination bucket can do, as the first worker that had to know found out.
///
/// | what | how it is found out | where it can't |
/// |---|---|---|
/// | conditional writes | the first write asks for an ETag that nothing has: 412 or 404 = yes, done = no | both sides are looked at after each write, and the object is done again if they moved |
/// | checksums | the first upload names CRC-64/NVME: refused, or the answer to a part without one = no | ETags prove parts; where they can't, parts are held and sent with Content-MD5 |
/// | streamed parts | the first streamed part: refused, or other bytes arrived = no | parts are held and sent with Content-MD5 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BucketRecord {
    /// `If-Match` and `If-None-Match` are kept.
    pub conditional_writes: Support,
    /// CRC-64/NVME is taken as trailing checksum and kept for the whole object.
    pub checksums: Support,
    /// Parts are taken as they arrive, without digest in front.
    pub streamed_parts: Support,
}

impl BucketRecord {
    /// What two workers found out together; a no is never taken back.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let both = |a: Support, b: Support| match (a, b) {
            (Support::No, _) | (_, Support::No) => Support::No,
            (Support::Yes, _) | (_, Support::Yes) => Support::Yes,
            _ => Support::Unknown,
        };
        Self {
            conditional_writes: both(self.conditional_writes, other.conditional_writes),
            checksums: both(self.checksums, other.checksums),
            streamed_parts: both(self.streamed_parts, other.streamed_parts),
        }
    }
}

/// Key of a [`BucketRecord`].
pub fn bucket_key(job: &str, bucket: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("bucket/{}", hex::encode(Sha256::digest(bucket))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_stays_and_a_yes_outlives_not_knowing() {
        use Support::{No, Unknown, Yes};
        for (a, b, expected) in [(Unknown, Unknown, Unknown), (Unknown, Yes, Yes), (Yes, No, No), (No, Unknown, No)] {
            let record = |support| BucketRecord { checksums: support, ..BucketRecord::default() };
            assert_eq!(record(a).merged(record(b)), record(expected));
            assert_eq!(record(b).merged(record(a)), record(expected));
        }
    }
}
