//! Reads records of the ledger in the order of their object keys.

use std::collections::VecDeque;

use migration_core::ports::Ledger;
use serde::de::DeserializeOwned;

use crate::{Interruption, Process, Services};

/// Records per request. With `compareVersionId` there are 16 pages in memory for each range.
const PAGE: u32 = 200;

/// The records of a partition whose sort keys are object keys. Holds at most one page in memory.
pub(super) struct Records<T> {
    partition: String,
    page: VecDeque<(String, T)>,
    next: Next,
}

/// Position of the next page.
enum Next {
    First,
    /// After this key.
    After(String),
    End,
}

impl<T: DeserializeOwned> Records<T> {
    /// Creates a reader of the records after a key, or of all. Reads nothing yet.
    pub(super) fn new(partition: String, after: Option<&str>) -> Self {
        let next = after.map_or(Next::First, |after| Next::After(after.to_owned()));
        Self { partition, page: VecDeque::new(), next }
    }

    /// Returns the record of a key. Must be called in the order of keys: earlier records are dropped.
    pub(super) async fn of<P: Services>(
        &mut self,
        process: &Process<P>,
        key: &str,
    ) -> Result<Option<&T>, Interruption> {
        loop {
            while self.page.front().is_some_and(|(found, _)| found.as_str() < key) {
                self.page.pop_front();
            }
            if !self.page.is_empty() || !self.read(process).await? {
                return Ok(self.page.front().filter(|(found, _)| found == key).map(|(_, record)| record));
            }
        }
    }

    /// Reads the next page. Returns false if there is none.
    async fn read<P: Services>(&mut self, process: &Process<P>) -> Result<bool, Interruption> {
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
