//! Reads many records, some of which may be unreadable.

use std::fmt;

use migration_core::ports::Item;
use migration_core::records::RecordError;
use serde::de::DeserializeOwned;

/// The records of a query, and the number of those that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable<T> {
    /// The records that can be read, in the order of the query.
    pub records: Vec<T>,
    /// The records that cannot be read.
    pub unreadable: Unreadable,
}

impl<T> Default for Readable<T> {
    fn default() -> Self {
        Self { records: Vec::new(), unreadable: Unreadable::default() }
    }
}

impl<T: DeserializeOwned> Readable<T> {
    /// Reads the records of these items.
    pub fn of(items: &[Item]) -> Self {
        let mut found = Self::default();
        found.extend(items);
        found
    }

    /// Reads the records of more items and adds them.
    pub fn extend(&mut self, items: &[Item]) {
        for item in items {
            match item.read() {
                Ok(record) => self.records.push(record),
                Err(error) => self.unreadable.add(error),
            }
        }
    }
}

/// Number of records that cannot be read, and the error of the first. Its size does not depend on that number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// Number of records.
    pub count: u64,
    /// Error of the first of them; `None` if there are none.
    pub first: Option<RecordError>,
}

impl Unreadable {
    /// Adds one record.
    pub fn add(&mut self, error: RecordError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    /// Adds the records of a later part of the query.
    pub fn merge(&mut self, others: Self) {
        self.count += others.count;
        self.first = self.first.take().or(others.first);
    }

    /// Returns true if all records could be read.
    pub fn is_none(&self) -> bool {
        self.count == 0
    }
}

/// Shows the number and the first error, or nothing if all records could be read.
impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.count, &self.first) {
            (0, _) | (_, None) => Ok(()),
            (1, Some(error)) => write!(f, "1 record: {error}"),
            (count, Some(error)) => write!(f, "{count} records, the first: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use migration_core::ports::LedgerKey;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_not_be_read_is_counted_and_leaves_the_rest() {
        let item = |sort: &str, value| Item::of(LedgerKey::new("p", sort), &value);
        let items = [item("1", json!({"n": 1})), item("2", json!({"n": "x"})), item("3", json!({"n": 3}))];
        let read = |item: &Item| item.read::<std::collections::BTreeMap<String, u32>>();
        let found = Readable::<std::collections::BTreeMap<String, u32>>::of(&items);
        assert_eq!(found.records, [read(&items[0]).unwrap(), read(&items[2]).unwrap()]);
        assert_eq!(found.unreadable.count, 1);
        let mut all = Unreadable::default();
        assert!(all.is_none() && all.to_string().is_empty());
        all.merge(found.unreadable.clone());
        assert!(all.to_string().starts_with("1 record: failed to read ledger record p 2: n: "), "{all}");
        all.add(RecordError { key: LedgerKey::new("q", "1"), member: None, reason: "no".into() });
        assert!(all.to_string().starts_with("2 records, the first: failed to read ledger record p 2"), "{all}");
    }
}
