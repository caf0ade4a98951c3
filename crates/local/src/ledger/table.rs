//! The table of the ledger.

use migration_core::error::ServiceError;
use migration_core::ports::{Condition, Item, LedgerKey, Operation, QueryPage, Write, WriteError};
use migration_core::records::value_size;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value};

use super::bounds::{Sizes, refused};
use crate::state::{WorkError, item_checksum};

/// Bytes of a page's items, of which the last may exceed it. Source: `Query` in the DynamoDB API reference.
const MAX_PAGE: usize = 1 << 20;

/// The rows of a query: those of a partition from one sort key to before another.
#[derive(Debug)]
pub(super) struct Range {
    partition: String,
    start: Vec<u8>,
    end: Vec<u8>,
}

impl Range {
    pub(super) fn new(partition: &str, prefix: &str, after: Option<&str>) -> Self {
        let start = after.filter(|after| *after >= prefix).map_or_else(|| prefix.into(), first_after);
        Self { partition: partition.to_owned(), start, end: end_of(prefix) }
    }
}

/// Returns the least key that is greater than this one.
fn first_after(key: &str) -> Vec<u8> {
    [key.as_bytes(), &[0]].concat()
}

/// Returns a key that is greater than all that start with a prefix, and not greater than any other that is greater than
/// the prefix. UTF-8 has no byte 255.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(u8::MAX),
    }
    end
}

pub(super) fn get(connection: &Connection, key: &LedgerKey) -> Result<Option<Item>, WorkError<ServiceError>> {
    find(connection, key)
}

/// Reads a page: up to `limit` items, and up to the first that fills it.
pub(super) fn query(connection: &Connection, range: &Range, limit: u32) -> Result<QueryPage, WorkError<ServiceError>> {
    let mut statement = connection.prepare_cached(
        "SELECT attributes, expires_at, checksum, sort FROM ledger
         WHERE partition = ?1 AND sort >= ?2 AND sort < ?3 ORDER BY sort LIMIT ?4",
    )?;
    let mut rows = statement.query(params![range.partition.as_bytes(), range.start, range.end, limit])?;
    let (mut items, mut bytes, mut count) = (Vec::new(), 0, 0);
    while let Some(row) = rows.next()? {
        let sort = row.get_ref(3)?.as_blob()?;
        bytes += range.partition.len() + sort.len() + row.get_ref(0)?.as_bytes()?.len();
        count += 1;
        items.push(item_of(row, range.partition.as_bytes(), sort)?);
        if bytes >= MAX_PAGE {
            break;
        }
    }
    let is_full = bytes >= MAX_PAGE || count == limit;
    let next = items.last().filter(|_| is_full).map(|item| item.key.sort.clone());
    Ok(QueryPage { items, next })
}

/// Does writes to different items in their order. If one fails, the caller undoes those before it.
pub(super) fn write(connection: &Connection, writes: Vec<Write>) -> Result<(), WorkError<WriteError>> {
    let mut failed = Vec::new();
    for (place, write) in writes.iter().enumerate() {
        if !holds(connection, write)? {
            failed.push(place);
        }
    }
    if !failed.is_empty() {
        return Err(WorkError::Answer(WriteError::Condition(failed)));
    }
    let mut sizes = Sizes::of(writes.len());
    for write in writes {
        match write {
            Write::Put { item, condition: _ } => put(connection, item, &mut sizes)?,
            Write::Delete { key, condition: _ } => {
                let mut statement =
                    connection.prepare_cached("DELETE FROM ledger WHERE partition = ?1 AND sort = ?2")?;
                statement.execute(params![key.partition.as_bytes(), key.sort.as_bytes()])?;
            }
            Write::Add { key, deltas, expires_at } => {
                let found = find(connection, &key)?;
                let item = found.unwrap_or_else(|| Item { key, attributes: Map::new(), expires_at: None });
                put(connection, sum(item, deltas, expires_at).map_err(answer)?, &mut sizes)?;
            }
        }
    }
    Ok(())
}

fn answer(error: ServiceError) -> WorkError<WriteError> {
    WorkError::Answer(error.into())
}

/// Returns true if the condition of a write holds.
fn holds(connection: &Connection, write: &Write) -> Result<bool, WorkError<WriteError>> {
    let (Write::Put { item: Item { key, .. }, condition } | Write::Delete { key, condition }) = write else {
        return Ok(true);
    };
    Ok(match condition {
        Condition::Always => true,
        Condition::Absent => !exists(connection, key)?,
        Condition::Revision(revision) => {
            let item = find(connection, key)?;
            item.and_then(|item| item.attributes.get("revision")?.as_u64()) == Some(*revision)
        }
    })
}

/// Adds to the attributes of an item.
fn sum(mut item: Item, deltas: Vec<(String, i64)>, expires_at: Option<i64>) -> Result<Item, ServiceError> {
    for (name, delta) in deltas {
        let sum = match item.attributes.get(&name) {
            None => Some(delta),
            Some(value) => value.as_i64().and_then(|number| number.checked_add(delta)),
        };
        let sum = sum.ok_or_else(|| {
            refused(Operation::WriteItems, "an operand in the update expression has an incorrect data type")
        })?;
        item.attributes.insert(name, sum.into());
    }
    item.expires_at = expires_at.or(item.expires_at);
    Ok(item)
}

fn put(connection: &Connection, item: Item, sizes: &mut Sizes) -> Result<(), WorkError<WriteError>> {
    let Item { key, attributes, expires_at } = item;
    let attributes = Value::Object(attributes);
    sizes.add(value_size(&attributes)).map_err(answer)?;
    let attributes = attributes.to_string();
    let (partition, sort) = (key.partition.as_bytes(), key.sort.as_bytes());
    let checksum = item_checksum(partition, sort, &attributes, expires_at);
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO ledger (partition, sort, attributes, expires_at, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    statement.execute(params![partition, sort, attributes, expires_at, checksum])?;
    Ok(())
}

fn exists(connection: &Connection, key: &LedgerKey) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM ledger WHERE partition = ?1 AND sort = ?2")?;
    statement.exists(params![key.partition.as_bytes(), key.sort.as_bytes()])
}

fn find<E>(connection: &Connection, key: &LedgerKey) -> Result<Option<Item>, WorkError<E>> {
    let (partition, sort) = (key.partition.as_bytes(), key.sort.as_bytes());
    let mut statement = connection
        .prepare_cached("SELECT attributes, expires_at, checksum FROM ledger WHERE partition = ?1 AND sort = ?2")?;
    let found = statement.query_row(params![partition, sort], |row| Ok(item_of(row, partition, sort)));
    found.optional()?.transpose()
}

/// Reads an item from a row that begins with `attributes`, `expires_at` and `checksum`.
fn item_of<E>(row: &Row<'_>, partition: &[u8], sort: &[u8]) -> Result<Item, WorkError<E>> {
    let text = row.get_ref(0)?.as_str()?;
    let expires_at = row.get(1)?;
    let is_right = item_checksum(partition, sort, text, expires_at) == row.get::<_, i64>(2)?;
    let read = |key: &[u8]| String::from_utf8(key.to_vec()).ok();
    let item = || {
        let attributes = serde_json::from_str(text).ok()?;
        Some(Item { key: LedgerKey::new(read(partition)?, read(sort)?), attributes, expires_at })
    };
    let wrong = || {
        let [partition, sort] = [partition, sort].map(String::from_utf8_lossy);
        WorkError::Damaged(format!("the ledger item {partition} / {sort} is not as it was written"))
    };
    Some(()).filter(|()| is_right).and_then(|()| item()).ok_or_else(wrong)
}
