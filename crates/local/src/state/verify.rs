//! Verifies the whole file before it is used.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::error::OpenError;
use super::{item_checksum, message_checksum};

/// Verifies that the file is as it was written: `SQLite`'s structures, indexes against tables, and the checksum of each
/// row. Reads all of it.
pub(super) fn verify(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let found = first_damage(connection).map_err(|error| OpenError::of(path, error))?;
    found.map_or(Ok(()), |detail| Err(OpenError::Damaged { path: path.to_owned(), detail }))
}

fn first_damage(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let told: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if told != "ok" {
        return Ok(Some(told));
    }
    let items = "SELECT partition, sort, attributes, expires_at, checksum FROM ledger";
    if let Some(row) = first_wrong(connection, items, is_item_right)? {
        return Ok(Some(format!("the checksum of ledger item {row} is wrong")));
    }
    let messages = "SELECT queue, body, reason, checksum FROM messages";
    let message = first_wrong(connection, messages, is_message_right)?;
    Ok(message.map(|row| format!("the checksum of message {row} is wrong")))
}

/// Returns the number of the first row that is not right, from 1.
fn first_wrong(
    connection: &Connection,
    sql: &str,
    is_right: fn(&Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Option<u64>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        if !is_right(row)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn is_item_right(row: &Row<'_>) -> rusqlite::Result<bool> {
    let (partition, sort) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
    Ok(item_checksum(partition, sort, row.get_ref(2)?.as_str()?, row.get(3)?) == row.get::<_, i64>(4)?)
}

fn is_message_right(row: &Row<'_>) -> rusqlite::Result<bool> {
    let (queue, body) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
    Ok(message_checksum(queue, body, row.get_ref(2)?.as_str_or_null()?) == row.get::<_, i64>(3)?)
}
