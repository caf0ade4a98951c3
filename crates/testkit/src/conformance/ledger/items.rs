//! Rules of single items: what is read is what was written.

use migration_core::error::{ErrorClass, Rejected};
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Write, WriteError};
use serde_json::{Value, json};

use super::{attributes, item, put, write};
use crate::conformance::report::{CaseResult, Failure};
use crate::conformance::store::odd_keys;
use crate::conformance::{ensure, ensure_class, ensure_eq, ensure_rejected};

pub(super) async fn an_item_is_put_and_got<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("job/1", "current");
    ensure_eq!(ledger.get(&key).await?, None, "the item before it is put");
    let stored = Item { expires_at: Some(4_102_444_800), ..item(&key, json!({"run": "r1", "revision": 7})) };
    write(ledger, &[Write::Put { item: stored.clone(), condition: Condition::Always }]).await?;
    ensure_eq!(ledger.get(&key).await?, Some(stored), "the item");
    write(ledger, &[Write::Delete { key: key.clone(), condition: Condition::Always }]).await?;
    ensure_eq!(ledger.get(&key).await?, None, "the item after it was deleted");
    write(ledger, &[Write::Delete { key, condition: Condition::Always }]).await?;
    Ok(())
}

pub(super) async fn values_come_back_as_they_were<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("values", "all");
    let values = json!({
        "zero": 0, "negative": -17, "largest": i64::MAX, "smallest": i64::MIN, "millis": 1_767_225_600_123_i64,
        "true": true, "false": false, "nothing": null,
        "text": "é e\u{301} \u{1f600} \"quoted\" \\ / \n \u{1}", "empty": "", "number in text": "007",
        "list": [1, "two", null, [3, []], {"four": 4}], "no items": [],
        "map": {"nested": {"deeper": {"deepest": [true, {"n": -1}]}}, "empty": {}, "": "no name"},
        "size": 1, "status": "words that are reserved", "a.b-c d": "a name with a dot", "#n": ":v",
        "partition": "p", "sort": 1, "key": "k", "expiresAt": 3,
    });
    write(ledger, &[put(&key, values.clone())]).await?;
    let found = attributes(ledger, &key).await?.unwrap_or(Value::Null);
    for (name, value) in values.as_object().into_iter().flatten() {
        ensure_eq!(found.get(name), Some(value), "attribute {name:?}");
    }
    ensure_eq!(found, values, "all attributes");
    ensure_eq!(ledger.get(&key).await?.and_then(|item| item.expires_at), None, "when it may be forgotten");
    Ok(())
}

pub(super) async fn names_that_the_table_uses_are_refused<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "s");
    for name in ["pk", "sk", "ttl"] {
        let written = service_error(write(ledger, &[put(&key, json!({name: 1}))]).await)?;
        ensure_class!(written, ErrorClass::Refused, "an attribute named {name}");
    }
    ensure_eq!(ledger.get(&key).await?, None, "the item");
    Ok(())
}

pub(super) async fn a_second_put_replaces_the_first<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "s");
    let first = Item { expires_at: Some(4_102_444_800), ..item(&key, json!({"a": 1, "b": 2})) };
    write(ledger, &[Write::Put { item: first, condition: Condition::Always }]).await?;
    write(ledger, &[put(&key, json!({"b": 3}))]).await?;
    ensure_eq!(ledger.get(&key).await?, Some(item(&key, json!({"b": 3}))), "the item");
    Ok(())
}

pub(super) async fn keys_are_opaque<L: Ledger>(ledger: &L) -> CaseResult {
    let mut sorts = odd_keys();
    for sort in &sorts {
        write(ledger, &[put(&LedgerKey::new("failure/uid/run/pair", sort.clone()), json!({"key": sort}))]).await?;
    }
    for sort in &sorts {
        let found = attributes(ledger, &LedgerKey::new("failure/uid/run/pair", sort.clone())).await?;
        ensure_eq!(found, Some(json!({"key": sort})), "the item with sort key {sort:?}");
    }
    let pages = super::pages(ledger, "failure/uid/run/pair", "", 1_000).await?;
    let found: Vec<String> = pages.concat().into_iter().map(|item| item.key.sort).collect();
    sorts.sort();
    ensure_eq!(found, sorts, "all sort keys in order");

    let longest = LedgerKey::new("p".repeat(2_048), "s".repeat(1_024));
    write(ledger, &[put(&longest, json!({"a": 1}))]).await?;
    ensure_eq!(attributes(ledger, &longest).await?, Some(json!({"a": 1})), "the item with the longest key");
    Ok(())
}

pub(super) async fn keys_beyond_their_bounds_are_refused<L: Ledger>(ledger: &L) -> CaseResult {
    for (what, partition, sort) in [
        ("a partition of 2,049 bytes", 2_049, 1),
        ("no partition", 0, 1),
        ("a sort key of 1,025 bytes", 1, 1_025),
        ("no sort key", 1, 0),
    ] {
        let key = LedgerKey::new("p".repeat(partition), "s".repeat(sort));
        let written = service_error(write(ledger, &[put(&key, json!({"a": 1}))]).await)?;
        ensure_class!(written, ErrorClass::Refused, "writing with {what}");
        ensure_class!(ledger.get(&key).await, ErrorClass::Refused, "reading with {what}");
    }
    Ok(())
}

pub(super) async fn items_over_400_kib_are_refused<L: Ledger>(ledger: &L) -> CaseResult {
    let key = LedgerKey::new("p", "large");
    write(ledger, &[put(&key, json!({"text": "x".repeat(399 << 10)}))]).await?;
    let written = service_error(write(ledger, &[put(&key, json!({"text": "x".repeat(401 << 10)}))]).await)?;
    ensure_rejected!(written, ErrorClass::Refused, Rejected::Record, "an item of 401 KiB");
    let found = attributes(ledger, &key).await?.unwrap_or(Value::Null);
    let length = found.get("text").and_then(Value::as_str).map(str::len);
    ensure!(length == Some(399 << 10), "the item has a text of {length:?} bytes");
    Ok(())
}

/// Returns the service's error. A failed condition is a failure of the case, since none was sent.
pub(super) fn service_error(
    result: Result<(), WriteError>,
) -> Result<Result<(), migration_core::error::ServiceError>, Failure> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(WriteError::Service(error)) => Ok(Err(error)),
        Err(WriteError::Condition(_)) => Err(Failure::new("a condition failed where none was sent")),
    }
}
