//! Files of bodies in the directory of a store on disk.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;

/// Characters of a file's name: its number in hexadecimal digits.
const NAME: usize = 16;

/// The files of a store, one for each body. A file is part of the store once a committed record of the index names it;
/// any other is what an interrupted request left, and is removed when the store is opened.
#[derive(Debug)]
pub(super) struct Directory {
    bodies: PathBuf,
    last: AtomicU64,
    /// True once the index can't be written: what it names is not known any more, so that no file is removed.
    is_frozen: AtomicBool,
    /// Locked as long as the store is open.
    _lock: File,
}

/// A file with a body. It is removed when nobody uses it any more, unless the store was closed before.
#[derive(Debug)]
pub(super) struct BodyFile {
    pub(super) id: u64,
    path: PathBuf,
    directory: Weak<Directory>,
}

impl Directory {
    /// Takes a directory of bodies. Files get numbers after `last`.
    pub(super) fn new(bodies: PathBuf, last: u64, lock: File) -> Self {
        Self { bodies, last: AtomicU64::new(last), is_frozen: AtomicBool::new(false), _lock: lock }
    }

    /// Keeps all files from now on.
    pub(super) fn freeze(&self) {
        self.is_frozen.store(true, Ordering::SeqCst);
    }

    /// Returns the file with this number, whether it exists or not.
    pub(super) fn body(self: &Arc<Self>, id: u64) -> BodyFile {
        let path = self.bodies.join(format!("{id:0NAME$x}"));
        BodyFile { id, path, directory: Arc::downgrade(self) }
    }

    /// Returns a new file, which does not exist yet.
    pub(super) fn new_body(self: &Arc<Self>) -> BodyFile {
        self.body(self.last.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Writes bytes to a new file.
    pub(super) fn write(self: &Arc<Self>, bytes: &Bytes) -> io::Result<BodyFile> {
        let body = self.new_body();
        let mut file = File::create_new(body.path())?;
        file.write_all(bytes)?;
        file.sync_data()?;
        Ok(body)
    }

    /// Removes all bodies but those that are named. Files that are no bodies stay.
    pub(super) fn retain(&self, is_named: impl Fn(u64) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.bodies)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().filter(|name| name.len() == NAME);
            if name.and_then(|name| u64::from_str_radix(name, 16).ok()).is_some_and(|id| !is_named(id)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Opens the directory itself, to have the names of new files on the disk.
    pub(super) fn names(&self) -> io::Result<File> {
        File::open(&self.bodies)
    }
}

impl BodyFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        let Some(directory) = self.directory.upgrade() else { return };
        if directory.is_frozen.load(Ordering::SeqCst) {
            return;
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("failed to remove {}: {error}", self.path.display());
            }
            _ => {}
        }
    }
}
