//! A DynamoDB table in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use migration_core::error::{ErrorClass, Rejected, ServiceError};
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, QueryPage, Write, WriteError};
use migration_core::records::value_size;
use serde_json::{Map, Value};

use crate::Operation;
use crate::denial::Denials;
use crate::lock;

/// Writes per transaction. Source: "Quotas in Amazon DynamoDB".
const MAX_WRITES: usize = 100;
/// Bytes of a partition key.
const MAX_PARTITION: usize = 2_048;
/// Bytes of a sort key.
const MAX_SORT: usize = 1_024;
/// Bytes of an item, names and values.
const MAX_ITEM: usize = 400 << 10;
/// Bytes of all items of a transaction.
const MAX_TRANSACTION: usize = 4 << 20;
/// Attribute names reserved by the ledger's table.
const RESERVED: [&str; 3] = ["pk", "sk", "ttl"];

type Items = BTreeMap<LedgerKey, Item>;

/// A table in memory. Clones are the same table.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger {
    items: Arc<Mutex<Items>>,
    page: Option<usize>,
    denials: Denials,
}

impl MemoryLedger {
    /// Creates an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty table whose pages hold at most `page` items (at least 1), whatever limit is requested, as pages
    /// of real tables end at 1 MiB.
    pub fn with_page(page: usize) -> Self {
        Self { page: Some(page), ..Self::default() }
    }

    /// Returns the same table for another caller, with its own switches.
    #[must_use]
    pub fn with_own_denials(&self) -> Self {
        Self { denials: Denials::default(), ..self.clone() }
    }

    /// Returns the switches that reject this caller's requests.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Returns all items in key order.
    pub fn items(&self) -> Vec<Item> {
        lock(&self.items).values().cloned().collect()
    }

    /// Writes an item regardless of conditions, limits and denials.
    pub fn insert(&self, item: Item) {
        lock(&self.items).insert(item.key.clone(), item);
    }

    /// Removes an item regardless of conditions, as expiry does.
    pub fn remove(&self, key: &LedgerKey) {
        lock(&self.items).remove(key);
    }
}

fn refused(operation: Operation, message: &str) -> ServiceError {
    let told = ServiceError::new(ErrorClass::Refused, operation.as_str(), "ValidationException", message);
    told.rejecting(Rejected::Record)
}

fn check_key(operation: Operation, key: &LedgerKey) -> Result<(), ServiceError> {
    if !(1..=MAX_PARTITION).contains(&key.partition.len()) {
        return Err(refused(operation, "the partition key must have 1 to 2048 bytes"));
    }
    if !(1..=MAX_SORT).contains(&key.sort.len()) {
        return Err(refused(operation, "the sort key must have 1 to 1024 bytes"));
    }
    Ok(())
}

fn check(writes: &[Write]) -> Result<(), ServiceError> {
    const WRITE: Operation = Operation::WriteItems;
    if !(1..=MAX_WRITES).contains(&writes.len()) {
        return Err(refused(WRITE, "a transaction must have 1 to 100 writes"));
    }
    let mut keys = BTreeSet::new();
    for write in writes {
        check_key(WRITE, write.key())?;
        if !keys.insert(write.key()) {
            return Err(refused(WRITE, "a transaction cannot contain multiple writes to one item"));
        }
        match write {
            Write::Add { deltas, expires_at: None, .. } if deltas.is_empty() => {
                return Err(refused(WRITE, "the addition has neither deltas nor an expiry"));
            }
            Write::Put { item, .. } if RESERVED.iter().any(|name| item.attributes.contains_key(*name)) => {
                return Err(refused(WRITE, "an attribute has a name that the table uses itself"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn holds(items: &Items, key: &LedgerKey, condition: &Condition) -> bool {
    let found = items.get(key);
    match condition {
        Condition::Always => true,
        Condition::Absent => found.is_none(),
        Condition::Revision(revision) => {
            found.and_then(|item| item.attributes.get("revision")).and_then(Value::as_u64) == Some(*revision)
        }
    }
}

/// Returns the item after a write; `None` if the write deletes it.
fn result_of(items: &Items, write: &Write) -> Result<Option<Item>, WriteError> {
    match write {
        Write::Put { item, condition } if holds(items, &item.key, condition) => Ok(Some(item.clone())),
        Write::Delete { key, condition } if holds(items, key, condition) => Ok(None),
        Write::Put { .. } | Write::Delete { .. } => Err(WriteError::Condition),
        Write::Add { key, deltas, expires_at } => {
            let empty = || Item { key: key.clone(), attributes: Map::new(), expires_at: None };
            let mut item = items.get(key).cloned().unwrap_or_else(empty);
            for (name, delta) in deltas {
                let sum = match item.attributes.get(name) {
                    None => Some(*delta),
                    Some(value) => value.as_i64().and_then(|number| number.checked_add(*delta)),
                };
                let sum = sum.ok_or_else(|| {
                    refused(Operation::WriteItems, "an operand in the update expression has an incorrect data type")
                })?;
                item.attributes.insert(name.clone(), sum.into());
            }
            item.expires_at = expires_at.or(item.expires_at);
            Ok(Some(item))
        }
    }
}

impl Ledger for MemoryLedger {
    async fn get(&self, key: &LedgerKey) -> Result<Option<Item>, ServiceError> {
        self.denials.check(Operation::GetItem)?;
        check_key(Operation::GetItem, key)?;
        Ok(lock(&self.items).get(key).cloned())
    }

    /// A full page has a continuation even if nothing follows, as in DynamoDB.
    async fn query(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, ServiceError> {
        const QUERY: Operation = Operation::QueryItems;
        self.denials.check(QUERY)?;
        if limit == 0 {
            return Err(refused(QUERY, "the limit must be at least 1"));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.page.unwrap_or(usize::MAX)).max(1);
        let start = LedgerKey::new(partition, after.unwrap_or(prefix));
        let start = if after.is_some() { Bound::Excluded(start) } else { Bound::Included(start) };
        let items = lock(&self.items);
        let found: Vec<Item> = items
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| key.partition == partition)
            .skip_while(|(key, _)| key.sort.as_str() < prefix)
            .take_while(|(key, _)| key.sort.starts_with(prefix))
            .take(limit)
            .map(|(_, item)| item.clone())
            .collect();
        let next = found.last().filter(|_| found.len() == limit).map(|item| item.key.sort.clone());
        Ok(QueryPage { items: found, next })
    }

    async fn write(&self, writes: &[Write]) -> Result<(), WriteError> {
        self.denials.check(Operation::WriteItems)?;
        check(writes)?;
        let mut items = lock(&self.items);
        // All results are computed before any is stored: all or nothing.
        let mut results = Vec::with_capacity(writes.len());
        let mut bytes = 0;
        for write in writes {
            let result = result_of(&items, write)?;
            let size = result.as_ref().map_or(0, |item| value_size(&Value::Object(item.attributes.clone())));
            bytes += size;
            if size > MAX_ITEM {
                return Err(refused(Operation::WriteItems, "item size has exceeded the maximum allowed size").into());
            }
            if writes.len() > 1 && bytes > MAX_TRANSACTION {
                let message = "the aggregate size of the items in the transaction is over 4 MB";
                return Err(refused(Operation::WriteItems, message).into());
            }
            results.push((write.key().clone(), result));
        }
        for (key, result) in results {
            match result {
                Some(item) => items.insert(key, item),
                None => items.remove(&key),
            };
        }
        Ok(())
    }
}
