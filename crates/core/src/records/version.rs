//! Which version of a source object was copied last.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ports::LedgerKey;

/// Shards of the version records of one pair, each a partition of its own, that are read back as ordered streams.
pub const VERSION_SHARDS: u8 = 16;

/// Which version of a source object was copied last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionRecord {
    /// The version; none for the version `null` of buckets that keep none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
    /// [Name](crate::config::S3Side::place_name) of the place that it was copied to; none in records of versions that did
    /// not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Bytes.
    pub size: u64,
    /// When it was recorded, in milliseconds since 1970.
    pub at: i64,
}

impl VersionRecord {
    /// The version, where it was copied to this place: of another one it says nothing.
    pub fn at_place(&self, place: &str) -> Option<&str> {
        let is_here = self.place.as_ref().is_none_or(|recorded| recorded == place);
        self.version_id.as_deref().filter(|_| is_here)
    }
}

/// The shard of a source key, below [`VERSION_SHARDS`].
pub fn version_shard(key: &str) -> u8 {
    Sha256::digest(key)[0] % VERSION_SHARDS
}

/// Partition of one shard of the versions of a pair. The pair is named by a hash of all that it is made of: places in
/// the resource change.
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
