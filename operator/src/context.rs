//! What all reconciliations share, and what is remembered of each job between two of them.
//!
//! What is remembered saves requests and is never needed: an operator that starts anew looks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use migration_api::MigrationJob;
use migration_core::ports::Clock;
use tracing::warn;

use crate::apply::Applied;
use crate::configs::Unused;
use crate::dead_letters::Look;
use crate::note::Note;
use crate::services::Services;
use crate::validate::{Around, External, ValidatedJob};

/// What all reconciliations share.
pub struct Context {
    /// Kubernetes.
    pub client: Client,
    /// Writes events.
    pub recorder: Recorder,
    /// Image of workers and jobsenders, where the resource names none.
    pub worker_image: String,
    /// The time.
    pub clock: migration_aws::SystemClock,
    jobs: OnceLock<Store<DeserializeGuard<MigrationJob>>>,
    memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
}

/// What is remembered of a job.
#[derive(Default)]
pub struct Memory {
    /// Queue and table, as they were found.
    pub services: Option<Arc<Services>>,
    /// The job as it was validated, and for what; with the sides of the specification, and with those of its last run.
    pub validated: [Option<(ValidatedFor, Arc<ValidatedJob>)>; 2],
    /// What was applied.
    pub applied: Applied,
    /// Since when fewer workers have sufficed, in milliseconds since 1970.
    pub fewer_since: Option<i64>,
    /// The last look at the dead letters.
    pub look: Option<Look>,
    /// Configurations that nothing uses.
    pub unused_configs: Unused,
    /// Looks in a row that were cut short since an object was changed or replaced between look and write.
    pub conflicts: u32,
}

/// What a job was validated for: where all of it is as it was, the outcome is too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedFor {
    /// metadata.generation.
    pub generation: Option<i64>,
    /// Queue and table.
    pub external: External,
    /// What else decides.
    pub around: Around,
}

impl Context {
    /// For an operator.
    pub fn new(client: Client, recorder: Recorder, worker_image: String) -> Self {
        Self {
            client,
            recorder,
            worker_image,
            clock: migration_aws::SystemClock,
            jobs: OnceLock::new(),
            memories: Mutex::default(),
        }
    }

    /// Lets the resources be known that are watched.
    pub fn know(&self, jobs: Store<DeserializeGuard<MigrationJob>>) {
        // There is one controller, which says it once.
        let _ = self.jobs.set(jobs);
    }

    /// All resources that are watched, as they were seen last; those among them that can't be read share nothing.
    pub fn all_jobs(&self) -> Vec<Arc<DeserializeGuard<MigrationJob>>> {
        self.jobs.get().map(Store::state).unwrap_or_default()
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// What is remembered of a resource, by its UID.
    pub fn memory(&self, uid: &str) -> Arc<tokio::sync::Mutex<Memory>> {
        // A panic while the lock was held left the map as it was.
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.entry(uid.to_owned()).or_default().clone()
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, uid: &str) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Writes an event. One that can't be written is logged: nothing depends on it.
    pub async fn tell(&self, about: &ObjectReference, note: Note) {
        let (reason, text) = (note.reason.clone(), note.text.clone());
        if let Err(error) = self.recorder.publish(&note.event(), about).await {
            warn!(%error, reason, text, "failed to write event");
        }
    }
}
