//! The ledger's table.

use std::future::Future;

use serde_json::{Map, Value};

use crate::error::ServiceError;

/// A table of items by partition and sort key, as `DynamoDB` has them. Every read sees all writes before it.
pub trait Ledger: Send + Sync + 'static {
    /// One item.
    fn get(&self, key: &LedgerKey) -> impl Future<Output = Result<Option<Item>, ServiceError>> + Send;

    /// A page of the items of a partition whose sort keys start with `prefix`, in order, after a sort key.
    /// Expired items may still be among them.
    fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> impl Future<Output = Result<QueryPage, ServiceError>> + Send;

    /// Does all of up to 100 writes to different items, of 4 MB together, or none. What breaks these bounds is refused:
    /// [`crate::records::requests`] keeps to them.
    fn write(&self, writes: &[Write]) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// Names an item.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerKey {
    /// Partition key; up to 2,048 bytes.
    pub partition: String,
    /// Sort key; 1 … 1,024 bytes.
    pub sort: String,
}

impl LedgerKey {
    /// A key.
    pub fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: LedgerKey,
    /// Its attributes; integers are within `i64`.
    pub attributes: Map<String, Value>,
    /// When it may be forgotten, in seconds since 1970.
    pub expires_at: Option<i64>,
}

/// A page of a query.
#[derive(Clone, Debug, Default)]
pub struct QueryPage {
    /// The items.
    pub items: Vec<Item>,
    /// The sort key to go on after; none at the end.
    pub next: Option<String>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts an item in place of what is there.
    Put {
        /// The item.
        item: Item,
        /// When.
        condition: Condition,
    },
    /// Adds to numbers of an item, which is made where it is absent.
    Add {
        /// The item.
        key: LedgerKey,
        /// Attribute and what is added to it.
        deltas: Vec<(String, i64)>,
        /// When it may be forgotten, in seconds since 1970.
        expires_at: Option<i64>,
    },
    /// Removes an item; nothing happens where it is absent.
    Delete {
        /// The item.
        key: LedgerKey,
        /// When.
        condition: Condition,
    },
}

impl Write {
    /// The item that it is about.
    pub fn key(&self) -> &LedgerKey {
        match self {
            Self::Put { item, .. } => &item.key,
            Self::Add { key, .. } | Self::Delete { key, .. } => key,
        }
    }
}

/// When a write happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    #[default]
    Always,
    /// If there is no such item.
    Absent,
    /// If the item's attribute `revision` has this value.
    Revision(u64),
}

/// Why nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Conditions do not hold: those of the writes with these indices, in order, as far as the service tells. Not said
    /// where an earlier try of the same request was the one that broke it, unless its answer was lost: who must know
    /// reads the item.
    #[error("failed to write ledger record: another writer was first")]
    Condition(Vec<usize>),
    /// The service.
    #[error(transparent)]
    Service(#[from] ServiceError),
}
