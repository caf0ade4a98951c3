//! Reads the versions recorded for the last copies, in the order of their keys.

use migration_core::pair::BucketPair;
use migration_core::records::{VERSION_SHARDS, VersionRecord, version_partition, version_shard};

use super::records::Records;
use crate::{Interruption, Process, Services};

/// The recorded versions of a range: 16 ordered shards.
pub(super) struct Versions {
    shards: Vec<Records<VersionRecord>>,
}

impl Versions {
    /// Creates a reader of the versions of a pair, after a key or from the beginning. Reads nothing yet.
    pub(super) fn new(job: &str, pair: &BucketPair, after: Option<&str>) -> Self {
        let shard = |number| Records::new(version_partition(job, pair, number), after);
        Self { shards: (0..VERSION_SHARDS).map(shard).collect() }
    }

    /// Returns the record of a key. Must be called in the order of keys: earlier records are dropped.
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
