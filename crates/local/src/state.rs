//! The state directory of one machine: ledger and queues in one `SQLite` file.
//!
//! | file | content |
//! |---|---|
//! | `lock` | locked by the process that runs jobs; contains its process ID |
//! | `state.db` | the tables of [`crate::ledger`] and [`crate::queue`] |
//! | `state.db-wal`, `state.db-shm` | `SQLite`'s write-ahead log and its index, while a process has the file open |
//!
//! One process runs jobs ([`State::open`]); others read and write beside it ([`State::attach`]). Each uses one thread
//! for all of its requests. Requests that wait are executed in one transaction and answered after its commit, so that
//! they share one fsync.

mod checksum;
mod database;
mod error;
mod file;
mod lock;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use migration_core::ports::Clock;
use tokio::sync::Notify;

pub(crate) use checksum::{item_checksum, message_checksum};
pub(crate) use database::{Database, WorkError};
pub use error::OpenError;
#[cfg(test)]
pub(crate) use file::in_memory;

use database::DatabaseThread;
use lock::Lock;

/// Name of the database in the state directory.
const DATABASE: &str = "state.db";

/// An open state directory. Dropping it executes the requests that wait, which blocks for some commits, closes the file
/// and releases the lock; after that, requests of its ledger and queues fail.
pub struct State {
    directory: PathBuf,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    thread: DatabaseThread,
    // Dropped last: nobody else may open the state before its file is closed.
    lock: Option<Lock>,
}

impl State {
    /// Opens the state for running jobs, and creates it if it is absent. Only one process at a time can have it open
    /// so; the operating system releases the lock when that process ends, however it ends.
    ///
    /// The whole file is read and verified. Since all former owners of leases are dead, messages in flight become
    /// visible at once and keep their number of receives. Ledger items that have expired are removed.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        file::make_directory(directory)?;
        let lock = Lock::take(directory)?;
        let path = directory.join(DATABASE);
        let mut connection = file::open_or_create(&path)?;
        verify::verify(&connection, &path)?;
        file::begin(&mut connection, clock.now()).map_err(|error| OpenError::of(&path, error))?;
        Self::on(directory, connection, clock, Some(lock))
    }

    /// Opens existing state beside a process that may run jobs on it, to read and to write. Takes no lock and leaves
    /// messages in flight alone.
    pub fn attach(directory: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let connection = file::open_existing(&directory.join(DATABASE))?;
        Self::on(directory, connection, clock, None)
    }

    fn on(
        directory: &Path,
        connection: rusqlite::Connection,
        clock: Arc<dyn Clock>,
        lock: Option<Lock>,
    ) -> Result<Self, OpenError> {
        let thread = DatabaseThread::start(connection, directory.join(DATABASE))?;
        Ok(Self { directory: directory.to_owned(), clock, changed: Arc::default(), thread, lock })
    }

    /// Returns the state directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns true if this process holds the lock, as opposed to being attached.
    pub fn is_exclusive(&self) -> bool {
        self.lock.is_some()
    }

    /// Returns true if a process has the state open for running jobs.
    pub fn is_in_use(&self) -> Result<bool, OpenError> {
        lock::is_taken(&self.directory)
    }

    pub(crate) fn database(&self) -> Database {
        self.thread.database()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Returns what wakes receivers of this process when messages may have become visible.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("directory", &self.directory)
            .field("is_exclusive", &self.is_exclusive())
            .finish_non_exhaustive()
    }
}
