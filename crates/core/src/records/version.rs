//! Versions of source objects at their last copy.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ports::LedgerKey;

/// Number of shards of a pair's version records. Each is a partition, and is read back in key order.
pub const VERSION_SHARDS: u8 = 16;

/// The version of a source object at its last copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionRecord {
    /// The version ID. `None` for the version `null` of buckets without versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// [Name](crate::config::S3Side::place_name) of the place that it was copied to. `None` in records of versions that
    /// did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// When it was recorded, as Unix time in milliseconds.
    pub at: i64,
}

impl VersionRecord {
    /// Returns the version if it was copied to this place, otherwise `None`.
    pub fn at_place(&self, place: &str) -> Option<&str> {
        let is_here = self.place.as_ref().is_none_or(|recorded| recorded == place);
        self.version_id.as_deref().filter(|_| is_here)
    }
}

/// Returns the shard of a source key, below [`VERSION_SHARDS`].
pub fn version_shard(key: &str) -> u8 {
    Sha256::digest(key)[0] % VERSION_SHARDS
}

/// Partition of one shard of a pair's versions. The pair is identified by a hash of its members, since its index in the
/// resource may change.
pub fn version_partition(job: &str, pair: &crate::pair::BucketPair, shard: u8) -> String {
    let mut hash = Sha256::new();
    for text in [&pair.source_bucket, &pair.source_prefix, &pair.destination_bucket, &pair.destination_prefix] {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hash.update([u8::from(pair.prefix_mode == crate::pair::PrefixMode::Replace)]);
    format!("version/{job}/{}/{shard:x}", hex::encode(&hash.finalize()[..16]))
}

/// Key of a [`VersionRecord`].
pub fn version_key(job: &str, pair: &crate::pair::BucketPair, key: &str) -> LedgerKey {
    LedgerKey::new(version_partition(job, pair, version_shard(key)), super::object_sort_key(key))
}
