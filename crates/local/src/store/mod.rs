//! An S3 service: buckets with versions, conditional writes, checksums, uploads, copies, tags and locks.
//!
//! [`LocalStore`] implements [`ObjectStore`](migration_core::ports::ObjectStore), and has the requests that a server or
//! a test needs besides. It rejects what S3 rejects, with the error classes of the adapters.
//!
//! Contents are in memory, or in files of a directory, which are written and read in pieces. What is where is in memory
//! in any case; in a directory, an index has it too. A body is written first, and named by the index when it is whole,
//! so that whatever was answered before the process ended is there when the directory is opened again, and nothing half.

mod changes;
mod checks;
mod complete;
mod content;
mod directory;
mod disk;
mod index;
mod journal;
mod listing;
mod object;
mod owner;
mod port;
mod read;
mod receive;
mod record;
mod rejected;
mod requests;
mod settings;
mod state;
mod traffic;
mod upload;
mod versions;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::Clock;

use changes::Changes;
pub use content::Content;
use directory::Directory;
pub use disk::OpenError;
use index::Batch;
pub use index::IndexError;
use journal::Journal;
pub use listing::{After, KeyPage, KeyQuery, ListedUpload, ListedVersion, VersionPage, VersionPlace};
pub use object::StoredObject;
pub use owner::BucketInfo;
pub use receive::{Check, Incoming, Received, crc64nvme};
pub use rejected::rejected;
pub use requests::{Deleted, OpenObject, PutObject, Replaced};
pub use settings::{BucketSettings, Checksums, ConditionalWrites, StoreSettings, StreamedBodies, Versioning};
use state::StoreState;
use traffic::Traffic;

/// Is told every object that becomes visible, with its bucket and key, in order.
type Watcher = Box<dyn Fn(&str, &str, &StoredObject) + Send + Sync>;

/// An S3 service, as one principal sees it. Clones and [`LocalStore::as_principal`] share the objects.
#[derive(Clone)]
pub struct LocalStore {
    shared: Arc<Shared>,
    principal: Arc<str>,
}

/// In this order, what is left to write is written, and files are kept, when the last one drops.
struct Shared {
    journal: Option<Journal>,
    directory: Option<Arc<Directory>>,
    state: Mutex<StoreState>,
    settings: StoreSettings,
    clock: Arc<dyn Clock>,
    traffic: Traffic,
    watcher: OnceLock<Watcher>,
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.shared.settings;
        f.debug_struct("LocalStore").field("principal", &self.principal).field("settings", settings).finish()
    }
}

impl LocalStore {
    /// Creates an empty service in memory.
    pub fn in_memory(clock: Arc<dyn Clock>, settings: StoreSettings) -> Self {
        Self::new(clock, settings, None, None, StoreState::default())
    }

    /// Opens the service of a directory, which is made if it does not exist. No other process can open it meanwhile.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>, settings: StoreSettings) -> Result<Self, OpenError> {
        let opened = disk::open(directory)?;
        Ok(Self::new(clock, settings, Some(opened.journal), Some(opened.directory), opened.state))
    }

    fn new(
        clock: Arc<dyn Clock>,
        settings: StoreSettings,
        journal: Option<Journal>,
        directory: Option<Arc<Directory>>,
        state: StoreState,
    ) -> Self {
        let (state, traffic, watcher) = (Mutex::new(state), Traffic::default(), OnceLock::new());
        let shared = Shared { journal, directory, state, settings, clock, traffic, watcher };
        Self { shared: Arc::new(shared), principal: "owner".into() }
    }

    /// Returns the same service for another principal, who becomes the initiator of uploads.
    #[must_use]
    pub fn as_principal(&self, principal: &str) -> Self {
        Self { principal: principal.into(), ..self.clone() }
    }

    /// Tells every object that becomes visible from now on, with its bucket and key, in order. The store has one
    /// watcher: later ones are told nothing. It must not use the store.
    pub fn watch(&self, watcher: impl Fn(&str, &str, &StoredObject) + Send + Sync + 'static) {
        let _ = self.shared.watcher.set(Box::new(watcher));
    }

    /// Reads the state.
    fn read<T>(&self, run: impl FnOnce(&mut StoreState) -> T) -> T {
        run(&mut lock(&self.shared.state))
    }

    /// Changes the state, tells the watcher what became visible, and hands what changed to the index.
    fn change<T>(&self, run: impl FnOnce(&mut StoreState) -> T) -> T {
        let mut state = lock(&self.shared.state);
        let done = run(&mut state);
        let changes = Changes::take(&mut state);
        if let Some(watcher) = self.shared.watcher.get() {
            for (name, changes) in &changes.objects {
                let Some(bucket) = state.buckets.get(name) else { continue };
                for (key, object) in changes.iter().filter_map(|change| change.visible(bucket)) {
                    watcher(name, key, object);
                }
            }
        }
        if let Some(journal) = self.shared.journal.as_ref().filter(|_| !changes.is_empty()) {
            journal.add(Batch::of(changes, &state));
        }
        done
    }

    /// Waits until all changes so far are on the disk, if the service is on one.
    /// `operation` names the request in the error.
    pub async fn committed(&self, operation: &str) -> Result<(), ServiceError> {
        let Some(journal) = &self.shared.journal else { return Ok(()) };
        journal.flush().await.map_err(|failure| index_error(operation, &failure))
    }
}

impl Shared {
    /// Refuses a request where the index can't be written any more: what is in memory may not be on the disk.
    fn check_index(&self, operation: &str) -> Result<(), ServiceError> {
        let failure = self.journal.as_ref().and_then(Journal::failure);
        failure.map_or(Ok(()), |failure| Err(index_error(operation, failure)))
    }
}

/// Error of an index that can't be written.
fn index_error(operation: &str, failure: &str) -> ServiceError {
    let message = format!("failed to write index: {failure}; make the disk writable and start again");
    ServiceError::new(ErrorClass::Transient, operation, "InternalError", message)
}

/// Locks a mutex. A poisoned one is used as it is: every change is made by statements that can't fail halfway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
