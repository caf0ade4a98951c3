//! Limits of the ledger's requests, and errors that are permanent.
//!
//! Source of the limits: "Quotas in Amazon DynamoDB" and `TransactWriteItems` in the API reference: 100 writes and 4 MB
//! per transaction, each to a different item; items of up to 400 KB; sort keys of 1 … 1,024 bytes.

use std::collections::HashMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{ErrorClass, Rejected, ServiceError};
use crate::ports::{Condition, LedgerKey, Write};

/// Maximum number of writes per request.
const MOST_WRITES: usize = 100;
/// Maximum size of a request's writes as JSON, in bytes. A quarter of the service's limit, which counts differently.
const MOST_BYTES: usize = 1 << 20;
/// Maximum length of a sort key, in bytes.
const MOST_SORT: usize = 1_024;
/// Bytes of a too long key that stay readable in its replacement.
const READABLE: usize = 900;
/// Maximum length of a text for people, in bytes. A service's message may turn out to be a proxy's page.
const MOST_TEXT: usize = 4_096;

/// Returns the sort key for the record of an object: the object's key, or a replacement if the key is empty or over
/// 1,024 bytes. S3 has no such keys, but other services and messages may contain them.
pub fn object_sort_key(key: &str) -> String {
    if (1..=MOST_SORT).contains(&key.len()) {
        return key.to_owned();
    }
    let hash = hex::encode(&Sha256::digest(key)[..16]);
    format!("{}\u{1}{hash}", bounded(key, READABLE))
}

/// Returns the beginning of a text, of at most `most` bytes.
fn bounded(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// Truncates a text for people to fit a record.
pub fn record_text(text: &str) -> String {
    bounded(text, MOST_TEXT).to_owned()
}

/// Groups independent writes into requests that the ledger accepts: up to 100 writes of different items each. If an
/// item is written more than once, the last write wins, as if they were made in order.
pub fn requests(writes: impl IntoIterator<Item = Write>) -> Vec<Vec<Write>> {
    let mut all: Vec<Vec<Write>> = Vec::new();
    let mut open: Vec<Write> = Vec::new();
    let mut places: HashMap<LedgerKey, usize> = HashMap::new();
    let mut bytes = 0;
    for write in writes {
        let size = size_of(&write);
        let known = places.get(write.key()).copied();
        if let Some(before) = known.and_then(|place| open.get_mut(place))
            && is_replaced(before, &write)
        {
            bytes += size;
            *before = write;
            continue;
        }
        if known.is_some() || open.len() == MOST_WRITES || (bytes + size > MOST_BYTES && !open.is_empty()) {
            all.push(std::mem::take(&mut open));
            places.clear();
            bytes = 0;
        }
        bytes += size;
        places.insert(write.key().clone(), open.len());
        open.push(write);
    }
    if !open.is_empty() {
        all.push(open);
    }
    all
}

/// Returns true if the next write of the same item undoes all effects of a write.
fn is_replaced(before: &Write, after: &Write) -> bool {
    let always = |write: &Write| match write {
        Write::Put { condition, .. } | Write::Delete { condition, .. } => *condition == Condition::Always,
        Write::Add { .. } => false,
    };
    always(before) && always(after)
}

fn size_of(write: &Write) -> usize {
    let key = write.key();
    let attributes = match write {
        Write::Put { item, .. } => serde_json::to_string(&item.attributes).map_or(0, |json| json.len()),
        Write::Add { deltas, .. } => deltas.iter().map(|(name, _)| name.len() + 20).sum(),
        Write::Delete { .. } => 0,
    };
    key.partition.len() + key.sort.len() + attributes
}

/// Returns true if the ledger rejects a write permanently, because of the records themselves. Any other rejection may
/// come from a proxy and be transient.
pub fn is_refused_for_good(error: &ServiceError) -> bool {
    error.class == ErrorClass::Refused && error.rejects(&Rejected::Record)
}

/// Returns the size of an item's attributes as the service counts it: names and UTF-8 texts, one byte for booleans, and
/// a few for numbers, lists and maps. Source: "DynamoDB item sizes and formats" in the developer guide.
pub fn value_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(number) => number.to_string().len() / 2 + 2,
        Value::String(text) => text.len(),
        Value::Array(values) => 3 + values.iter().map(|value| 1 + value_size(value)).sum::<usize>(),
        Value::Object(map) => 3 + map.iter().map(|(name, value)| 1 + name.len() + value_size(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Item;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn put(sort: &str, value: usize) -> Write {
        let key = LedgerKey::new("p", sort);
        Write::Put { item: Item::of(key, &serde_json::json!({ "n": value })), condition: Condition::Always }
    }

    #[test]
    fn of_two_writes_of_one_item_the_last_one_stands() {
        assert_eq!(requests([put("a", 1), put("b", 2), put("a", 3)]), [[put("a", 3), put("b", 2)]]);
        let add = Write::Add { key: LedgerKey::new("p", "a"), deltas: vec![("n".into(), 1)], expires_at: None };
        let once = requests([add.clone(), add.clone(), put("b", 1)]);
        assert_eq!(once, [vec![add.clone()], vec![add, put("b", 1)]], "additions are made one after the other");
        assert_eq!(requests([]), Vec::<Vec<Write>>::new());
    }

    #[test]
    fn a_request_stays_far_below_four_megabytes() {
        let text = "x".repeat(100_000);
        let large = (0..40).map(|n| {
            let item = Item::of(LedgerKey::new("p", format!("{n}")), &serde_json::json!({ "text": text }));
            Write::Put { item, condition: Condition::Always }
        });
        let sent = requests(large);
        assert_eq!(sent.iter().map(Vec::len).sum::<usize>(), 40);
        assert!(sent.iter().all(|request| request.len() <= 10), "{:?}", sent.iter().map(Vec::len).collect::<Vec<_>>());
    }

    #[test]
    fn every_key_has_a_sort_key_that_the_ledger_takes() {
        let long = "é".repeat(600);
        assert_eq!(object_sort_key("a/b"), "a/b");
        assert_eq!(object_sort_key(&"x".repeat(1_024)).len(), 1_024);
        for key in ["", &long, &format!("{long}x")] {
            assert!((1..=1_024).contains(&object_sort_key(key).len()), "{key}");
        }
        assert_ne!(object_sort_key(&long), object_sort_key(&format!("{long}x")));
    }

    #[test]
    fn texts_end_between_characters() {
        assert_eq!(bounded("aé", 2), "a");
        assert_eq!(record_text(&"é".repeat(9_000)).len(), 4_096);
    }

    proptest! {
        /// Executed in order, the requests leave the same items as the writes.
        #[test]
        fn requests_leave_what_the_writes_leave(keys in prop::collection::vec(0_usize..150, 0..300)) {
            let writes: Vec<Write> = keys.iter().enumerate().map(|(n, key)| put(&key.to_string(), n)).collect();
            let state = |writes: &[Write]| -> HashMap<LedgerKey, Write> {
                writes.iter().map(|write| (write.key().clone(), write.clone())).collect()
            };
            let sent = requests(writes.clone());
            for request in &sent {
                let distinct: HashSet<_> = request.iter().map(Write::key).collect();
                prop_assert!(distinct.len() == request.len() && request.len() <= MOST_WRITES);
            }
            prop_assert_eq!(state(&sent.concat()), state(&writes));
        }
    }
}
