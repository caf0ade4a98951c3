//! Stores on disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::content::{Content, Place};
use super::directory::{BodyFile, Directory};
use super::index::{self, IndexError};
use super::journal::Journal;
use super::lock;
use super::state::StoreState;
use crate::lock::lock_exclusively;

/// Bits of a number that count within a run of the program; those above count the runs.
const RUN_SHIFT: u32 = 32;

/// Error of a directory that can't be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another store has it open.
    #[error("failed to open {}: another process serves it", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// It can't be read or written.
    #[error("failed to open {}: {source}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Its index can't be read.
    #[error("failed to open {}: {source}", directory.display())]
    Index {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: IndexError,
    },
}

/// A directory that was opened.
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) directory: Arc<Directory>,
    pub(super) state: StoreState,
}

/// Opens a directory, and makes it if it does not exist. Files that no record names are removed.
pub(super) fn open(directory: &Path) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Directory { directory: directory.to_owned(), source };
    let broken = |source| OpenError::Index { directory: directory.to_owned(), source };
    let bodies = directory.join("bodies");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&bodies).map_err(failed)?;
    let lock_file = lock_file(directory)?;
    let connection = index::open(&directory.join("index.db")).map_err(broken)?;
    let first = index::begin_run(&connection).map_err(broken)? << RUN_SHIFT;
    let files = Arc::new(Directory::new(bodies, first, lock_file));
    let named = Named { directory: files.clone(), files: Mutex::default() };
    let mut state = StoreState::after(first);
    let loaded = index::load(&connection, &mut state, &|places| named.content(places));
    if let Err(error) = loaded {
        // Nothing is removed of a store that can't be read.
        files.freeze();
        return Err(broken(error));
    }
    let named = lock(&named.files);
    files.retain(|id| named.contains_key(&id)).map_err(failed)?;
    let journal = Journal::start(connection, &files).map_err(failed)?;
    Ok(Opened { journal, directory: files, state })
}

/// Locks a directory for this process. The lock ends with it.
fn lock_file(directory: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory { directory: directory.to_owned(), source };
    let path = directory.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
    match lock_exclusively(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The files that records name.
struct Named {
    directory: Arc<Directory>,
    files: Mutex<BTreeMap<u64, Arc<BodyFile>>>,
}

impl Named {
    /// Returns a content in files, which have to be there as long as their records say.
    fn content(&self, places: &[Place]) -> Result<Content, String> {
        let segment = |(id, offset, len): &Place| {
            let mut files = lock(&self.files);
            let file = files.entry(*id).or_insert_with(|| Arc::new(self.directory.body(*id)));
            let size = fs::metadata(file.path()).map(|found| found.len());
            let size = size.map_err(|error| format!("failed to read {}: {error}", file.path().display()))?;
            if offset + len > size {
                return Err(format!("{} has only {size} bytes", file.path().display()));
            }
            Ok((file.clone(), *offset, *len))
        };
        Ok(Content::in_files(places.iter().map(segment).collect::<Result<Vec<_>, String>>()?))
    }
}
