//! The index of a store on disk: what is in which bucket, and where its bytes are.
//!
//! | table | a row is |
//! |---|---|
//! | `bucket` | a bucket, by name |
//! | `version` | a version or delete marker, by bucket, key and number; the highest number is the newest |
//! | `upload` | an open upload, by bucket and number |
//! | `part` | a part of it, by its own number too |
//! | `run` | the number of times that the store was opened |
//!
//! What is removed from the index may keep its file until the removal is committed, but what is in the index has its
//! file before.

use std::path::Path;

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::changes::{BucketChange, Change, Changes};
use super::content::Content;
use super::record::{BucketRecord, Open, PartRecord, UploadRecord, VersionRecord};
use super::state::StoreState;
use super::upload::Upload;

/// Marks the file as ours: `S3ST`.
const APPLICATION: i64 = 0x5333_5354;
/// Version of the tables.
const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE bucket (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE version (
    bucket TEXT, key TEXT, number INTEGER, record TEXT NOT NULL, PRIMARY KEY (bucket, key, number)
) WITHOUT ROWID;
CREATE TABLE upload (bucket TEXT, number INTEGER, record TEXT NOT NULL, PRIMARY KEY (bucket, number)) WITHOUT ROWID;
CREATE TABLE part (
    bucket TEXT, upload INTEGER, number INTEGER, record TEXT NOT NULL, PRIMARY KEY (bucket, upload, number)
) WITHOUT ROWID;
CREATE TABLE run (number INTEGER NOT NULL);
INSERT INTO run VALUES (0);
";

/// Error of an index that can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file can't be read or written.
    #[error("failed to read index: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file belongs to another program.
    #[error("failed to read index: it was not written by this program")]
    Foreign,
    /// The file was written by a later version.
    #[error("failed to read index: its version is {0}, and this program knows version {VERSION}; use a newer program")]
    Newer(i64),
    /// A record is not what it was written as, or a file that it names is gone.
    #[error("failed to read record of {what}: {why}")]
    Record {
        /// Bucket and key.
        what: String,
        /// What is wrong.
        why: String,
    },
}

/// Opens the file; makes the tables if it is new.
pub(super) fn open(path: &Path) -> Result<Connection, IndexError> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let number = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let is_empty = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0;
    match (is_empty, application, version) {
        (true, 0, 0) => {
            connection.execute_batch(&format!(
                "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            ))?;
            Ok(connection)
        }
        (false, APPLICATION, VERSION) => Ok(connection),
        (false, APPLICATION, newer) => Err(IndexError::Newer(newer)),
        _ => Err(IndexError::Foreign),
    }
}

/// Counts this run, and returns its number.
pub(super) fn begin_run(connection: &Connection) -> Result<u64, IndexError> {
    Ok(connection.query_row("UPDATE run SET number = number + 1 RETURNING number", [], |row| number(row, 0))?)
}

/// Reads a number of a version or an upload, which are never negative.
fn number(row: &rusqlite::Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// Returns a number of a version or an upload as the database holds it. They count up from 2³².
fn held(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, IndexError> {
    serde_json::from_str(text).map_err(|error| broken(what, &error.to_string()))
}

fn broken(what: &str, why: &str) -> IndexError {
    IndexError::Record { what: what.to_owned(), why: why.to_string() }
}

/// Reads the whole index.
pub(super) fn load(connection: &Connection, state: &mut StoreState, open: Open<'_>) -> Result<(), IndexError> {
    let mut rows = connection.prepare("SELECT name, record FROM bucket")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (name, record): (String, String) = (row.get(0)?, row.get(1)?);
        let (settings, created, notifications) = parse::<BucketRecord>(&name, &record)?.read();
        state.add_bucket(name, settings, created).notifications = notifications;
    }
    let mut rows =
        connection.prepare("SELECT bucket, key, number, record FROM version ORDER BY bucket, key, number")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (bucket, key, record): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let number = number(row, 2)?;
        let what = format!("{bucket}/{key}");
        let version = parse::<VersionRecord>(&what, &record)?.read(number, open).map_err(|why| broken(&what, &why))?;
        let found = state.buckets.get_mut(&bucket).ok_or_else(|| broken(&what, "its bucket is gone"))?;
        found.objects.entry(key).or_default().push(version);
    }
    load_uploads(connection, state, open)
}

fn load_uploads(connection: &Connection, state: &mut StoreState, open: Open<'_>) -> Result<(), IndexError> {
    let mut rows = connection.prepare("SELECT bucket, number, record FROM upload")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (bucket, number, record): (String, u64, String) = (row.get(0)?, number(row, 1)?, row.get(2)?);
        let what = format!("{bucket}, upload {number}");
        let found = state.buckets.get_mut(&bucket).ok_or_else(|| broken(&what, "its bucket is gone"))?;
        found.uploads.insert(Upload::id_of(number), parse::<UploadRecord>(&what, &record)?.read(number));
    }
    let mut rows = connection.prepare("SELECT bucket, upload, number, record FROM part")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (bucket, upload, number, record): (String, u64, u32, String) =
            (row.get(0)?, number(row, 1)?, row.get(2)?, row.get(3)?);
        let what = format!("{bucket}, upload {upload}, part {number}");
        let part = parse::<PartRecord>(&what, &record)?.read(open).map_err(|why| broken(&what, &why))?;
        let found = state.buckets.get_mut(&bucket).and_then(|found| found.uploads.get_mut(&Upload::id_of(upload)));
        found.ok_or_else(|| broken(&what, "its upload is gone"))?.parts.insert(number, part);
    }
    Ok(())
}

/// A change of a row.
#[derive(Debug)]
pub(super) enum Row {
    Bucket { name: String, record: String },
    BucketRemoved { name: String },
    Version { bucket: String, key: String, number: i64, record: String },
    VersionRemoved { bucket: String, key: String, number: i64 },
    Upload { bucket: String, number: i64, record: String },
    UploadRemoved { bucket: String, number: i64 },
    Part { bucket: String, upload: i64, number: u32, record: String },
}

/// Changes of rows that belong together, and contents that are used no more once they are committed.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    retired: Vec<Content>,
}

fn json(record: &impl Serialize) -> String {
    // Records have string keys only, and no type of theirs can fail.
    serde_json::to_string(record).unwrap_or_default()
}

impl Batch {
    pub(super) fn of(changes: Changes, state: &StoreState) -> Self {
        let mut batch = Self::default();
        for change in changes.buckets {
            batch.add_bucket(change, state);
        }
        for (name, changes) in changes.objects {
            for change in changes {
                batch.add(&name, change, state);
            }
        }
        batch
    }

    fn add_bucket(&mut self, change: BucketChange, state: &StoreState) {
        match change {
            BucketChange::Bucket { name } => {
                if let Some(bucket) = state.buckets.get(&name) {
                    self.rows.push(Row::Bucket { record: json(&BucketRecord::of(bucket)), name });
                }
            }
            BucketChange::BucketRemoved { name, bucket } => {
                let versions = bucket.objects.into_values().flatten();
                self.retired.extend(versions.filter_map(|version| Some(version.object?.content)));
                for upload in bucket.uploads.into_values() {
                    self.retire(upload);
                }
                self.rows.push(Row::BucketRemoved { name });
            }
        }
    }

    fn retire(&mut self, upload: Upload) {
        self.retired.extend(upload.parts.into_values().map(|part| part.received.content));
    }

    fn add(&mut self, name: &str, change: Change, state: &StoreState) {
        let Some(found) = state.buckets.get(name) else { return };
        let bucket = name.to_owned();
        match change {
            Change::Version { key, number, .. } => {
                if let Some(version) = found.version(&key, number) {
                    self.rows.push(Row::Version {
                        record: json(&VersionRecord::of(version)),
                        bucket,
                        key,
                        number: held(number),
                    });
                }
            }
            Change::VersionRemoved { key, version } => {
                self.rows.push(Row::VersionRemoved { bucket, key, number: held(version.number) });
                self.retired.extend(version.object.map(|object| object.content));
            }
            Change::Upload { id } => {
                if let Some(upload) = found.uploads.get(&id) {
                    let record = json(&UploadRecord::of(upload));
                    self.rows.push(Row::Upload { bucket, number: held(upload.number), record });
                }
            }
            Change::UploadRemoved { upload } => {
                self.rows.push(Row::UploadRemoved { bucket, number: held(upload.number) });
                self.retire(upload);
            }
            Change::Part { id, number, replaced } => {
                let upload = found.uploads.get(&id);
                if let Some((upload, part)) = upload.and_then(|upload| Some((upload, upload.parts.get(&number)?))) {
                    let record = json(&PartRecord::of(part));
                    self.rows.push(Row::Part { bucket, upload: held(upload.number), number, record });
                }
                self.retired.extend(replaced.map(|part| part.received.content));
            }
        }
    }
}

/// Writes the rows of several batches in one transaction.
pub(super) fn commit<'a>(
    connection: &mut Connection,
    rows: impl Iterator<Item = &'a Row>,
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    for row in rows {
        write(&transaction, row)?;
    }
    transaction.commit()
}

fn write(transaction: &Transaction<'_>, row: &Row) -> Result<(), rusqlite::Error> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<(), rusqlite::Error> {
        transaction.prepare_cached(sql)?.execute(values).map(drop)
    };
    match row {
        Row::Bucket { name, record } => run("INSERT OR REPLACE INTO bucket VALUES (?, ?)", params![name, record]),
        Row::BucketRemoved { name } => {
            run("DELETE FROM bucket WHERE name = ?", params![name])?;
            for table in ["version", "upload", "part"] {
                run(&format!("DELETE FROM {table} WHERE bucket = ?"), params![name])?;
            }
            Ok(())
        }
        Row::Version { bucket, key, number, record } => {
            run("INSERT OR REPLACE INTO version VALUES (?, ?, ?, ?)", params![bucket, key, number, record])
        }
        Row::VersionRemoved { bucket, key, number } => {
            let sql = "DELETE FROM version WHERE bucket = ? AND key = ? AND number = ?";
            run(sql, params![bucket, key, number])
        }
        Row::Upload { bucket, number, record } => {
            run("INSERT OR REPLACE INTO upload VALUES (?, ?, ?)", params![bucket, number, record])
        }
        Row::UploadRemoved { bucket, number } => {
            run("DELETE FROM upload WHERE bucket = ? AND number = ?", params![bucket, number])?;
            run("DELETE FROM part WHERE bucket = ? AND upload = ?", params![bucket, number])
        }
        Row::Part { bucket, upload, number, record } => {
            run("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?)", params![bucket, upload, number, record])
        }
    }
}
