//! State of each job that the operator keeps in memory between two reconciliations.
//!
//! Losing it costs requests and restarts delays, nothing else: a restarted operator begins without it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use migration_engine::run::dead_letters::LastDrain;

use crate::job_controller::apply::ApplyCache;
use crate::job_controller::dereference::Known;
use crate::job_controller::dereference::cadence::Pace;
use crate::job_controller::requeue::{Fault, Wait};
use crate::job_controller::scale::ScaleCache;
use crate::job_controller::validate::run_configs::ValidationCache;

/// The state of one job. Each step is given its own part and returns the next state of it.
#[derive(Clone, Default)]
pub struct JobCache {
    /// What was read, as far as it is reused.
    pub known: Known,
    /// What the last reconciliation said about the job; none if it ended with an error, or there was none.
    pub pace: Option<Pace>,
    /// Reconciliations in a row that could not do what is wanted.
    pub waits: u32,
    /// When everything is read next, while the job waits for what its specification names.
    pub wait: Option<Wait>,
    /// What a Secret or ConfigMap can mend.
    pub fault: Option<Fault>,
    /// The validated configurations.
    pub validated: ValidationCache,
    /// The versions of applied objects.
    pub applied: ApplyCache,
    /// What is remembered of scaling.
    pub scaled: ScaleCache,
    /// When the dead letters were drained last.
    pub last_drain: Option<LastDrain>,
    /// Reconciliations in a row that ended because an object was changed or replaced between read and write.
    pub conflicts: u32,
}

/// The caches of all jobs, by UID. Each is locked for the time of a reconciliation.
#[derive(Default)]
pub struct JobCaches(Mutex<HashMap<String, Arc<tokio::sync::Mutex<JobCache>>>>);

impl JobCaches {
    /// Returns the cache of a job.
    pub fn of(&self, uid: &str) -> Arc<tokio::sync::Mutex<JobCache>> {
        // The map is valid even if a thread panicked while it held the lock.
        let mut caches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        caches.entry(uid.to_owned()).or_default().clone()
    }

    /// Returns the cache of a job that was reconciled before.
    pub fn find(&self, uid: &str) -> Option<Arc<tokio::sync::Mutex<JobCache>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// Removes the cache of a job that is deleted.
    pub fn remove(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
