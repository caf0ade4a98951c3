//! A DynamoDB table in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use migration_core::error::ServiceError;
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, QueryPage, Write, WriteError};
use migration_core::records::value_size;
use migration_local::ledger::bounds::{Sizes, check_key, check_limit, check_writes, refused};
use serde_json::{Map, Value};

use crate::Operation;
use crate::denial::Denials;
use crate::lock;

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

/// Returns the indices of the writes whose conditions don't hold.
fn failed(items: &Items, writes: &[Write]) -> Vec<usize> {
    let fails = |write: &Write| match write {
        Write::Put { item, condition } => !holds(items, &item.key, condition),
        Write::Delete { key, condition } => !holds(items, key, condition),
        Write::Add { .. } => false,
    };
    (0..writes.len()).filter(|place| writes.get(*place).is_some_and(fails)).collect()
}

/// Returns the item after a write; `None` if the write deletes it.
fn result_of(items: &Items, write: &Write) -> Result<Option<Item>, WriteError> {
    match write {
        Write::Put { item, .. } => Ok(Some(item.clone())),
        Write::Delete { .. } => Ok(None),
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
        check_limit(QUERY, limit)?;
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
        check_writes(writes)?;
        let mut items = lock(&self.items);
        let failed = failed(&items, writes);
        if !failed.is_empty() {
            return Err(WriteError::Condition(failed));
        }
        // All results are computed before any is stored: all or nothing.
        let mut results = Vec::with_capacity(writes.len());
        let mut sizes = Sizes::of(writes.len());
        for write in writes {
            let result = result_of(&items, write)?;
            sizes.add(result.as_ref().map_or(0, |item| value_size(&Value::Object(item.attributes.clone()))))?;
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
