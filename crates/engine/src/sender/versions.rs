//! The versions that were recorded at the last copies, read back in the order of their keys.

use std::collections::VecDeque;

use migration_core::pair::BucketPair;
use migration_core::ports::{Ledger, ObjectStore, Queue};
use migration_core::records::{VERSION_SHARDS, VersionRecord, version_partition};

use crate::{Interruption, Process};

/// Records of one request. There are 16 pages for each range under work.
const PAGE: u32 = 200;

/// The recorded versions of a range: 16 shards, each an ordered stream, merged. At most a page of each is in memory.
pub(super) struct Versions {
    shards: Vec<Shard>,
}

struct Shard {
    partition: String,
    page: VecDeque<(String, VersionRecord)>,
    /// Where the next page begins; none at the end.
    next: Next,
}

enum Next {
    First,
    /// After this key.
    After(String),
    End,
}

impl Versions {
    /// The versions of a pair, after a key or from the first one on. Nothing is read yet.
    pub(super) fn new(job: &str, pair: &BucketPair, after: Option<&str>) -> Self {
        let shard = |number| Shard {
            partition: version_partition(job, pair, number),
            page: VecDeque::new(),
            next: after.map_or(Next::First, |after| Next::After(after.to_owned())),
        };
        Self { shards: (0..VERSION_SHARDS).map(shard).collect() }
    }

    /// The record of a key. Keys have to be asked for in order: those before this one are forgotten.
    pub(super) async fn of<S: ObjectStore, Q: Queue, L: Ledger>(
        &mut self,
        process: &Process<S, Q, L>,
        key: &str,
    ) -> Result<Option<VersionRecord>, Interruption> {
        let number = usize::from(migration_core::records::version_shard(key));
        let Some(shard) = self.shards.get_mut(number) else { return Ok(None) };
        loop {
            match shard.page.front() {
                Some((found, _)) if found.as_bytes() < key.as_bytes() => {
                    shard.page.pop_front();
                }
                Some((found, record)) => return Ok((found == key).then(|| record.clone())),
                None => {
                    if !shard.read(process).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

impl Shard {
    /// Reads the next page; false where there is none.
    async fn read<S: ObjectStore, Q: Queue, L: Ledger>(
        &mut self,
        process: &Process<S, Q, L>,
    ) -> Result<bool, Interruption> {
        let after = match &self.next {
            Next::First => None,
            Next::After(key) => Some(key.as_str()),
            Next::End => return Ok(false),
        };
        let query = || process.ports.ledger.query(&self.partition, "", after, PAGE);
        let page = process.ledger(query).await?;
        let records = page.items.iter().filter_map(|item| Some((item.key.sort.clone(), item.read().ok()?)));
        self.page = records.collect();
        self.next = page.next.map_or(Next::End, Next::After);
        Ok(true)
    }
}
