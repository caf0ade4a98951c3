//! Opens the database: permissions, settings, format.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::OpenError;

/// Marks `SQLite` files of this program: `s3mg`.
const APPLICATION_ID: i64 = 0x7333_6d67;
/// Version of the tables.
const FORMAT: i64 = 1;
/// How long to wait for a lock of another process, which holds it for one transaction.
const BUSY: Duration = Duration::from_secs(10);
/// A commit returns after its fsync (`synchronous`, and `fullfsync` on macOS), and the log is truncated to 64 MiB after
/// it grew. A definition in a damaged file can't run functions.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -8192;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
";

/// Keys are BLOBs, so that they are compared by bytes. The index has all columns that a receive or a count needs.
/// `AUTOINCREMENT` never uses an ID again, so that a receipt names one message forever.
const SCHEMA: &str = "
    CREATE TABLE ledger (
        partition BLOB NOT NULL,
        sort BLOB NOT NULL,
        attributes TEXT NOT NULL,
        expires_at INTEGER,
        checksum INTEGER NOT NULL,
        PRIMARY KEY (partition, sort)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        dead INTEGER NOT NULL,
        visible_at INTEGER NOT NULL,
        receives INTEGER NOT NULL,
        sent_at INTEGER NOT NULL,
        received_at INTEGER,
        reason TEXT,
        checksum INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX by_visibility ON messages (queue, dead, visible_at, receives, sent_at);
";

/// Creates the state directory, for its owner only, unless it exists.
pub(super) fn make_directory(directory: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| OpenError::File { path: directory.to_owned(), source })
}

/// Opens the database, and creates it if it is absent. The caller has the lock.
pub(super) fn open_or_create(path: &Path) -> Result<Connection, OpenError> {
    if !exists(path)? {
        create(path)?;
    }
    open_existing(path)
}

/// Opens a database that exists.
pub(super) fn open_existing(path: &Path) -> Result<Connection, OpenError> {
    if !exists(path)? {
        return Err(OpenError::Absent { path: path.to_owned() });
    }
    let connection = connect(path)?;
    check_format(&connection, path)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).map_err(|error| OpenError::of(path, error))?;
    Ok(connection)
}

fn exists(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// Creates the database under another name first: a start that was interrupted leaves nothing under this one.
fn create(path: &Path) -> Result<(), OpenError> {
    let new = path.with_extension("new");
    let failed = |source| OpenError::File { path: new.clone(), source };
    create_empty(&new).map_err(failed)?;
    let created = connect(&new)?.execute_batch(&format!(
        "BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
    ));
    created.map_err(|error| OpenError::of(&new, error))?;
    std::fs::rename(&new, path).map_err(failed)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all()).map_err(failed)
}

/// Creates an empty file with its permissions, which `SQLite` gives to the log too.
fn create_empty(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map(drop)
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let failed = |error| OpenError::of(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(SETTINGS).map_err(failed)?;
    Ok(connection)
}

/// Checks that the file has the tables of this program.
fn check_format(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(path, error);
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);
    let application = number("PRAGMA application_id")?;
    let found = number("PRAGMA user_version")?;
    let definitions = definitions(connection).map_err(failed)?;
    let damaged = |detail: &str| Err(OpenError::Damaged { path: path.to_owned(), detail: detail.to_owned() });
    match (application, found) {
        (0, 0) if definitions.is_empty() => damaged("it is empty"),
        (APPLICATION_ID, FORMAT)
            if definitions != in_memory().and_then(|expected| self::definitions(&expected)).map_err(failed)? =>
        {
            damaged("it has other tables than it was made with")
        }
        (APPLICATION_ID, FORMAT) => Ok(()),
        (APPLICATION_ID, found) => Err(OpenError::Version { path: path.to_owned(), found, known: FORMAT }),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn definitions(connection: &Connection) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Returns an empty database with the tables of this program.
pub(crate) fn in_memory() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// Prepares the tables for a new owner, at a time in milliseconds since 1970: makes messages in flight visible, keeps
/// delays as long as they were if the clock was set back since, and removes expired ledger items.
pub(super) fn begin(connection: &mut Connection, now: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("UPDATE messages SET visible_at = ?1 WHERE visible_at > ?1 AND receives > 0", [now])?;
    transaction.execute(
        "UPDATE messages SET visible_at = visible_at - sent_at + ?1, sent_at = ?1 WHERE sent_at > ?1 AND receives = 0",
        [now],
    )?;
    transaction.execute("DELETE FROM ledger WHERE expires_at <= ?1", [now.div_euclid(1_000)])?;
    transaction.commit()
}
