//! A table whose transactions may be seen by halves.

use std::collections::BTreeMap;

use serde_json::Value;

use super::JOB;
use crate::ports::{Condition, Item, LedgerKey, Write};
use crate::records::{PoolRecord, Portions, ShareRecord, pool_key, share_partition};
use crate::shares::holder::Look;

type Items = BTreeMap<LedgerKey, Item>;

#[derive(Default)]
pub(super) struct Table {
    items: Items,
    /// The items before the last transaction.
    before: Items,
}

impl Table {
    /// Does all writes, or none if a condition does not hold.
    pub(super) fn apply(&mut self, writes: &[Write]) -> bool {
        let holds = |write: &Write| {
            let (Write::Put { condition, .. } | Write::Delete { condition, .. }) = write else { return false };
            let found = self.items.get(write.key());
            match condition {
                Condition::Always => true,
                Condition::Absent => found.is_none(),
                Condition::Revision(revision) => {
                    found.and_then(|item| item.attributes.get("revision")).and_then(Value::as_u64) == Some(*revision)
                }
            }
        };
        if !writes.iter().all(holds) {
            return false;
        }
        self.before = self.items.clone();
        for write in writes {
            match write {
                Write::Put { item, .. } => drop(self.items.insert(item.key.clone(), item.clone())),
                Write::Delete { key, .. } => drop(self.items.remove(key)),
                Write::Add { .. } => {}
            }
        }
        true
    }

    pub(super) fn look(&self) -> Look {
        self.look_halfway(|_| true)
    }

    /// Returns what a query sees that reads some items before the last transaction, and others after it.
    pub(super) fn look_halfway(&self, mut is_after: impl FnMut(&LedgerKey) -> bool) -> Look {
        let keys = self.items.keys().chain(self.before.keys().filter(|key| !self.items.contains_key(*key)));
        let seen = keys.filter_map(|key| if is_after(key) { self.items.get(key) } else { self.before.get(key) });
        let items: Vec<Item> = seen.cloned().collect();
        Look::of(JOB, &items)
    }

    /// Makes the last transaction visible to all.
    pub(super) fn settle(&mut self) {
        self.before = self.items.clone();
    }

    pub(super) fn remove(&mut self, sort: &str) {
        self.items.remove(&LedgerKey::new(share_partition(JOB), sort));
    }

    /// Adds a record that can't be read, or makes one unreadable.
    pub(super) fn spoil(&mut self, sort: &str, revision: u64) {
        let item = Item::of(LedgerKey::new(share_partition(JOB), sort), &serde_json::json!({"revision": revision}));
        self.items.insert(item.key.clone(), item);
    }

    pub(super) fn shares(&self) -> usize {
        self.items.keys().filter(|key| **key != pool_key(JOB)).count()
    }

    /// Returns the parts of all records.
    pub(super) fn sum(&self) -> Portions {
        self.items.values().fold(Portions::default(), |sum, item| {
            let share = item.read::<ShareRecord>().map(|record| record.share);
            sum.plus(share.or_else(|_| item.read::<PoolRecord>().map(|pool| pool.free)).unwrap_or_default())
        })
    }
}
