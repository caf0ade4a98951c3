//! What the services of destination buckets can do: found out once, remembered in the ledger for all workers.

use std::collections::HashMap;

use migration_core::ports::{Condition, Item, Ledger, ObjectStore, Queue, Write};
use migration_core::records::{self, BucketRecord, Support};
use tokio::sync::{Mutex, MutexGuard};
use tracing::info;

use crate::{Interruption, Process};

/// What is known of destination buckets.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    known: Mutex<HashMap<String, BucketRecord>>,
    /// Held by who finds out whether a condition is kept: the others wait for the answer.
    probe: Mutex<()>,
}

/// AWS itself can do everything: there is nothing to find out.
const AWS: BucketRecord =
    BucketRecord { conditional_writes: Support::Yes, checksums: Support::Yes, streamed_parts: Support::Yes };

impl<S: ObjectStore, Q: Queue, L: Ledger> Process<S, Q, L> {
    /// What is known of a destination bucket; the ledger is asked once.
    pub(crate) async fn bucket(&self, bucket: &str) -> Result<BucketRecord, Interruption> {
        if self.config.destination.service.endpoint.is_none() {
            return Ok(AWS);
        }
        let mut known = self.buckets.known.lock().await;
        if let Some(record) = known.get(bucket) {
            return Ok(*record);
        }
        let key = records::bucket_key(&self.config.job.uid, bucket);
        let item = self.ledger(|| self.ports.ledger.get(&key)).await?;
        let record: BucketRecord = item.and_then(|item| item.read().ok()).unwrap_or_default();
        known.insert(bucket.to_owned(), record);
        Ok(record)
    }

    /// Remembers what was found out of a destination bucket, here and in the ledger.
    pub(crate) async fn learn(&self, bucket: &str, found: BucketRecord) -> Result<(), Interruption> {
        let before = self.bucket(bucket).await?;
        let now = before.merged(found);
        if now == before {
            return Ok(());
        }
        info!(bucket, ?now, "the destination's service was found out");
        self.buckets.known.lock().await.insert(bucket.to_owned(), now);
        let key = records::bucket_key(&self.config.job.uid, bucket);
        let write = Write::Put { item: Item::of(key, &now), condition: Condition::Always };
        self.write(&[write]).await.map(|_| ())
    }

    /// Waits until nobody else finds out what this one wants to.
    pub(crate) async fn probing(&self) -> MutexGuard<'_, ()> {
        self.buckets.probe.lock().await
    }
}
