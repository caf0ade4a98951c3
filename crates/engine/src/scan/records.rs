//! Records of the ledger, read back in the order of the keys that they are about.

use std::collections::VecDeque;

use migration_core::ports::Ledger;
use serde::de::DeserializeOwned;

use crate::{Interruption, Process, Services};

/// Records of one request. With `compareVersionId` there are 16 pages for each range under work.
const PAGE: u32 = 200;

/// The records of a partition whose sort keys are objects' keys. At most a page is in memory.
pub(super) struct Records<T> {
    partition: String,
    page: VecDeque<(String, T)>,
    next: Next,
}

/// Where the next page begins.
enum Next {
    First,
    /// After this key.
    After(String),
    End,
}

impl<T: DeserializeOwned> Records<T> {
    /// The records after a key, or from the first one on. Nothing is read yet.
    pub(super) fn new(partition: String, after: Option<&str>) -> Self {
        let next = after.map_or(Next::First, |after| Next::After(after.to_owned()));
        Self { partition, page: VecDeque::new(), next }
    }

    /// The record of a key. Keys have to be asked for in order: those before this one are forgotten.
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

    /// Reads the next page; false where there is none.
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
