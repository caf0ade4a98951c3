//! Reads records of the ledger in the order of their object keys.

use std::collections::VecDeque;

use migration_ledger::Pager;
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::{Interruption, Process, Services};

/// Records per request. With `compareVersionId` there are 16 pages in memory for each range.
const PAGE: u32 = 200;

/// Reads the records of a partition whose sort keys are object keys. Holds at most one page in memory. Records that
/// cannot be read are skipped, and the log names the first of them: an object without a known record is copied again.
/// If only the existence of a record matters, its type is [`serde::de::IgnoredAny`], which reads any record.
pub(super) struct Records<T> {
    page: VecDeque<(String, T)>,
    pager: Pager,
    is_warned: bool,
}

impl<T: DeserializeOwned> Records<T> {
    /// Creates a reader of the records after a key, or of all. Reads nothing yet.
    pub(super) fn new(partition: String, after: Option<&str>) -> Self {
        let pager = Pager::new(partition, "", PAGE).after(after.map(ToOwned::to_owned));
        Self { page: VecDeque::new(), pager, is_warned: false }
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
        let Some(items) = self.pager.next_page(process).await? else { return Ok(false) };
        for item in items {
            match item.read() {
                Ok(record) => self.page.push_back((item.key.sort, record)),
                Err(error) if !self.is_warned => {
                    warn!(%error, "an object whose record can't be read counts as having none");
                    self.is_warned = true;
                }
                Err(_) => {}
            }
        }
        Ok(true)
    }
}
