//! Counts the reads of a ledger.

use std::sync::atomic::{AtomicUsize, Ordering};

use migration_core::error::ServiceError;
use migration_core::ports::{Item, Ledger, LedgerKey, QueryPage};
use migration_ledger::LedgerRead;

/// A ledger whose reads are counted.
pub struct Counted<'a, L> {
    ledger: &'a L,
    reads: AtomicUsize,
}

impl<'a, L: Ledger> Counted<'a, L> {
    /// Counts from zero.
    pub fn new(ledger: &'a L) -> Self {
        Self { ledger, reads: AtomicUsize::new(0) }
    }

    /// Returns the number of reads so far, those that failed included.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

impl<L: Ledger> LedgerRead for Counted<'_, L> {
    type Error = ServiceError;

    async fn get_item(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.ledger.get(key).await
    }

    async fn query_items(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.ledger.query(partition, prefix, after, limit).await
    }
}
