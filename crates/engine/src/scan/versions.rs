//! The versions that were recorded at the last copies, read back in the order of their keys.

use migration_core::pair::BucketPair;
use migration_core::records::{VERSION_SHARDS, VersionRecord, version_partition, version_shard};

use super::records::Records;
use crate::{Interruption, Process, Services};

/// The recorded versions of a range: 16 shards, each an ordered stream, merged.
pub(super) struct Versions {
    shards: Vec<Records<VersionRecord>>,
}

impl Versions {
    /// The versions of a pair, after a key or from the first one on. Nothing is read yet.
    pub(super) fn new(job: &str, pair: &BucketPair, after: Option<&str>) -> Self {
        let shard = |number| Records::new(version_partition(job, pair, number), after);
        Self { shards: (0..VERSION_SHARDS).map(shard).collect() }
    }

    /// The record of a key. Keys have to be asked for in order: those before this one are forgotten.
    pub(super) async fn of<P: Services>(
        &mut self,
        process: &Process<P>,
        key: &str,
    ) -> Result<Option<&VersionRecord>, Interruption> {
        match self.shards.get_mut(usize::from(version_shard(key))) {
            Some(shard) => shard.of(process, key).await,
            None => Ok(None),
        }
    }
}
