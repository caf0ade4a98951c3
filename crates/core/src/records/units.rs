//! Units in which `DynamoDB` prices requests. Source: "DynamoDB read and write operations" in the developer guide.

use serde_json::{Map, Value};

use super::value_size;
use crate::ports::{Item, Write};

/// Bytes of an item per write unit.
const WRITTEN: usize = 1 << 10;
/// Bytes of items per read unit, of reads that see all writes before them.
const READ: usize = 4 << 10;

/// Returns the write units of a request: one for each KiB that an item has begun, twice that in a transaction. An
/// addition is one: the counters that it changes are small.
pub fn write_units(writes: &[Write]) -> u64 {
    // A lone addition is sent as a transaction, too.
    let is_transaction = writes.len() > 1 || matches!(writes, [Write::Add { .. }]);
    let units: usize = writes.iter().map(units_of).sum();
    number(units * if is_transaction { 2 } else { 1 })
}

fn units_of(write: &Write) -> usize {
    match write {
        Write::Put { item, .. } => size_of(item).div_ceil(WRITTEN).max(1),
        Write::Add { .. } | Write::Delete { .. } => 1,
    }
}

/// Returns the read units of a request that returned these items: one for each 4 KiB begun, at least one.
pub fn read_units<'a>(items: impl IntoIterator<Item = &'a Item>) -> u64 {
    let bytes: usize = items.into_iter().map(size_of).sum();
    number(bytes.div_ceil(READ).max(1))
}

fn size_of(item: &Item) -> usize {
    item.key.partition.len() + item.key.sort.len() + attributes_size(&item.attributes)
}

fn attributes_size(attributes: &Map<String, Value>) -> usize {
    attributes.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn number(units: usize) -> u64 {
    u64::try_from(units).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Condition, LedgerKey};

    fn item(bytes: usize) -> Item {
        Item::of(LedgerKey::new("p", "s"), &serde_json::json!({ "text": "x".repeat(bytes) }))
    }

    #[test]
    fn units_are_those_of_the_price_list() {
        let put = |bytes| Write::Put { item: item(bytes), condition: Condition::Always };
        let add = || Write::Add { key: LedgerKey::new("p", "s"), deltas: vec![], expires_at: None };
        let delete = || Write::Delete { key: LedgerKey::new("p", "s"), condition: Condition::Always };
        for (writes, expected) in [
            (vec![], 0),
            (vec![put(10)], 1),
            (vec![put(1_018)], 1),
            (vec![put(1_019)], 2),
            (vec![delete()], 1),
            (vec![add()], 2),
            (vec![put(10), add()], 4),
            (vec![put(5_000), put(10)], 12),
        ] {
            assert_eq!(write_units(&writes), expected, "{} writes", writes.len());
        }
        for (sizes, expected) in [(vec![], 1), (vec![10], 1), (vec![3_000, 1_000], 1), (vec![3_000, 2_000], 2)] {
            let items: Vec<_> = sizes.iter().map(|bytes| item(*bytes)).collect();
            assert_eq!(read_units(&items), expected, "{sizes:?}");
        }
    }
}
