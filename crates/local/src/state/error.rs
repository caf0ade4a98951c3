//! Errors of the state: why it can't be opened, and what its requests say.

use std::io;
use std::path::{Path, PathBuf};

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::Operation;
use rusqlite::ErrorCode;

/// What to do about a damaged file.
const DAMAGED: &str =
    "move the directory away and start again: the next run compares both sides and transfers only what is missing";

/// Why state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "failed to lock state directory: a run is live in {}: {}; wait for it, stop it, or use another directory",
        directory.display(), name(*process)
    )]
    InUse {
        /// The state directory.
        directory: PathBuf,
        /// Process ID of the other process; `None` if it has just started.
        process: Option<u32>,
    },
    /// There is nothing to attach to.
    #[error("failed to find state: {} does not exist; name the directory of a job that was run", path.display())]
    Absent {
        /// The database.
        path: PathBuf,
    },
    /// The file belongs to another program.
    #[error("failed to open state: {} is not a state file of s3migrate; use another directory", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// The file was written by another version of the program.
    #[error(
        "failed to open state: {} has format {found}, and this program reads format {known}; use the version that \
         wrote it, or another directory", path.display()
    )]
    Version {
        /// The database.
        path: PathBuf,
        /// Format of the file.
        found: i64,
        /// Format of this program.
        known: i64,
    },
    /// The file is not as it was written.
    #[error("failed to read state: {} is damaged ({detail}); {DAMAGED}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The first damage found.
        detail: String,
    },
    /// A file or the directory can't be used.
    #[error("failed to open {}: {source}; check that the directory can be written", path.display())]
    File {
        /// File or directory.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// `SQLite` can't open the file for another reason.
    #[error("failed to open state: {}: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Error of `SQLite`.
        source: rusqlite::Error,
    },
}

impl OpenError {
    /// Returns the error for one of `SQLite`.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if is_damage(&error) {
            return Self::Damaged { path, detail: error.to_string() };
        }
        Self::Database { path, source: error }
    }
}

fn name(process: Option<u32>) -> String {
    process.map_or("a process that has just started".to_owned(), |process| format!("process {process}"))
}

/// Returns true if an error means that the file is not as it was written: `SQLite` says so, or a column has a type that
/// is never written.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            error,
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
        )
}

/// Returns the error of a request for one of `SQLite`.
///
/// | error | class | code |
/// |---|---|---|
/// | the file is not as it was written | refused | `StateDamaged` |
/// | busy, locked | transient | `StateBusy` |
/// | disk full | transient | `DiskFull` |
/// | reading or writing failed, no permission, read-only, out of memory | transient | `StateUnavailable` |
/// | any other | refused | `StateFailed` |
pub(super) fn service_error(operation: Operation, path: &Path, error: &rusqlite::Error) -> ServiceError {
    use ErrorCode as Code;
    let file = path.display();
    let (class, code, message) = match error.sqlite_error_code() {
        _ if is_damage(error) => return damaged(operation, path, &error.to_string()),
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
            let message = format!("another process keeps {file} locked ({error}); end it if it hangs");
            (ErrorClass::Transient, "StateBusy", message)
        }
        Some(Code::DiskFull) => {
            let message = format!("no space is left for {file}; free some, and the work goes on");
            (ErrorClass::Transient, "DiskFull", message)
        }
        Some(
            Code::SystemIoFailure | Code::CannotOpen | Code::PermissionDenied | Code::ReadOnly | Code::OutOfMemory,
        ) => {
            let message = format!("{file} can't be read or written ({error}); check the disk and its free space");
            (ErrorClass::Transient, "StateUnavailable", message)
        }
        _ => (ErrorClass::Refused, "StateFailed", format!("{file}: {error}")),
    };
    ServiceError::new(class, operation.as_str(), code, message)
}

/// Returns the error of a request that met damage.
pub(super) fn damaged(operation: Operation, path: &Path, detail: &str) -> ServiceError {
    let message = format!("{} is damaged ({detail}); {DAMAGED}", path.display());
    ServiceError::new(ErrorClass::Refused, operation.as_str(), "StateDamaged", message)
}

/// Returns the error of a request whose transaction was rolled back because of another one.
pub(super) fn rolled_back(operation: Operation, path: &Path) -> ServiceError {
    let message = format!("the transaction was rolled back by {}, in which another request failed", path.display());
    ServiceError::new(ErrorClass::Transient, operation.as_str(), "StateUnavailable", message)
}

/// Returns the error of a request after the state was closed.
pub(super) fn closed(operation: Operation, path: &Path) -> ServiceError {
    let message = format!("{} is closed; the program is ending", path.display());
    ServiceError::new(ErrorClass::Refused, operation.as_str(), "StateClosed", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn errors_are_classified_as_the_table_says() {
        for (code, class, name) in [
            (ffi::SQLITE_CORRUPT, ErrorClass::Refused, "StateDamaged"),
            (ffi::SQLITE_NOTADB, ErrorClass::Refused, "StateDamaged"),
            (ffi::SQLITE_BUSY, ErrorClass::Transient, "StateBusy"),
            (ffi::SQLITE_LOCKED, ErrorClass::Transient, "StateBusy"),
            (ffi::SQLITE_FULL, ErrorClass::Transient, "DiskFull"),
            (ffi::SQLITE_IOERR_FSYNC, ErrorClass::Transient, "StateUnavailable"),
            (ffi::SQLITE_READONLY, ErrorClass::Transient, "StateUnavailable"),
            (ffi::SQLITE_CONSTRAINT, ErrorClass::Refused, "StateFailed"),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let told = service_error(Operation::WriteItems, Path::new("/s/state.db"), &error);
            assert_eq!((told.class, told.code.as_str()), (class, name), "{told}");
            assert!(told.message.contains("/s/state.db"), "{told}");
        }
    }
}
