//! Reads query results page by page.

use migration_core::ports::Item;

use crate::read::LedgerRead;

/// Reads the items of a partition whose sort keys start with a prefix, in order of sort key. Holds at most one page in
/// memory.
#[derive(Clone, Debug)]
pub struct Pager {
    partition: String,
    prefix: String,
    limit: u32,
    next: Next,
}

/// The position of the next page.
#[derive(Clone, Debug)]
enum Next {
    First,
    /// Starts after this sort key.
    After(String),
    End,
}

impl Pager {
    /// Maximum number of items per page requested by [`all`](Self::all). The service also ends a page at 1 MB.
    const LARGE: u32 = 1_000;

    /// Creates a pager at the first item, with at most `limit` items per page (at least 1). Sends no request.
    pub fn new(partition: impl Into<String>, prefix: impl Into<String>, limit: u32) -> Self {
        Self { partition: partition.into(), prefix: prefix.into(), limit, next: Next::First }
    }

    /// Creates a pager over all items under a prefix, with pages as large as the service returns them.
    pub fn all(partition: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self::new(partition, prefix, Self::LARGE)
    }

    /// Starts after this sort key, or at the first item for `None`.
    #[must_use]
    pub fn after(self, after: Option<String>) -> Self {
        Self { next: after.map_or(Next::First, Next::After), ..self }
    }

    /// Reads the next page. Returns `None` after the last page. A page may be empty. After an error, the next call
    /// reads the same page.
    pub async fn next_page<R: LedgerRead>(&mut self, ledger: &R) -> Result<Option<Vec<Item>>, R::Error> {
        let after = match &self.next {
            Next::First => None,
            Next::After(sort) => Some(sort.as_str()),
            Next::End => return Ok(None),
        };
        let page = ledger.query_items(&self.partition, &self.prefix, after, self.limit).await?;
        self.next = page.next.map_or(Next::End, Next::After);
        Ok(Some(page.items))
    }

    /// Reads the items of all remaining pages.
    pub async fn rest<R: LedgerRead>(&mut self, ledger: &R) -> Result<Vec<Item>, R::Error> {
        let mut items = self.next_page(ledger).await?.unwrap_or_default();
        while let Some(page) = self.next_page(ledger).await? {
            items.extend(page);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use migration_core::error::ErrorClass;
    use migration_core::ports::{Condition, Ledger, LedgerKey, Write};
    use migration_testkit::MemoryLedger;

    use super::*;

    async fn ledger() -> MemoryLedger {
        let ledger = MemoryLedger::with_page(2);
        for sort in ["a/1", "b/1", "b/2", "b/3", "b/4", "c/1"] {
            let item = Item::of(LedgerKey::new("p", sort), &serde_json::json!({}));
            ledger.write(&[Write::Put { item, condition: Condition::Always }]).await.unwrap();
        }
        ledger
    }

    fn sorts(items: &[Item]) -> Vec<&str> {
        items.iter().map(|item| item.key.sort.as_str()).collect()
    }

    #[tokio::test]
    async fn pages_hold_every_item_of_the_prefix_once_and_in_order() {
        let ledger = ledger().await;
        for limit in 1..=5 {
            let found = Pager::new("p", "b/", limit).rest(&ledger).await.unwrap();
            assert_eq!(sorts(&found), ["b/1", "b/2", "b/3", "b/4"], "{limit}");
        }
        let mut pager = Pager::all("p", "b/").after(Some("b/3".into()));
        assert_eq!(sorts(&pager.rest(&ledger).await.unwrap()), ["b/4"]);
        assert_eq!(pager.next_page(&ledger).await.unwrap(), None);
        assert_eq!(Pager::all("nothing", "").rest(&ledger).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_page_that_could_not_be_read_is_read_again() {
        let ledger = ledger().await;
        let mut pager = Pager::new("p", "b/", 2);
        pager.next_page(&ledger).await.unwrap();
        ledger.denials().deny_all(ErrorClass::Throttled, "ThrottlingException");
        assert!(pager.next_page(&ledger).await.is_err());
        ledger.denials().heal();
        let page = pager.next_page(&ledger).await.unwrap().unwrap();
        assert_eq!(sorts(&page), ["b/3", "b/4"]);
    }
}
