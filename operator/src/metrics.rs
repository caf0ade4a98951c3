//! Metrics of the operator and its jobs, at `/metrics`. `docs/METRICS.md` lists them.

mod collector;
mod job;
mod schedule;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::HeaderMap;
use migration_api::Reason;
use migration_api::status::{MigrationJobStatus, Receiver};
use migration_program::http::Answer;
use migration_program::metrics;
use prometheus_client::registry::Registry;

use crate::notify::decide::DeliveryResult;
use collector::Collector;
use job::JobNumbers;

pub use job::{JobReading, LiveRun, RunReading};
pub use schedule::ScheduleReading;

/// The metrics of all jobs.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
}

/// What is exported.
#[derive(Debug, Default)]
struct Shared {
    leads: AtomicBool,
    jobs: Mutex<Jobs>,
}

/// The numbers of jobs, by namespace and name. A copy shares all of it.
type Jobs = BTreeMap<(Arc<str>, Arc<str>), Arc<JobNumbers>>;

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // A panic elsewhere leaves numbers that were read.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (shared, mut registry) = (Arc::<Shared>::default(), Registry::with_prefix(metrics::PREFIX));
        registry.register_collector(Box::new(Collector(shared.clone())));
        Self { shared, registry: Arc::new(registry) }
    }
}

impl Metrics {
    /// Sets the messages in a job's queue and the workers that they need; without numbers, the job has none of both.
    pub fn set(&self, namespace: &str, job: &str, numbers: Option<(u64, u32)>) {
        self.change(namespace, job, |all| all.scaling = numbers);
    }

    /// Sets what was read of a job.
    pub fn read(&self, namespace: &str, job: &str, reading: &JobReading<'_>) {
        self.change(namespace, job, |all| all.read(reading));
    }

    /// Sets that a job could not be reconciled at a time in milliseconds since 1970, with the status and the reason if
    /// that is a problem to report. A job that was not reconciled before has none of these numbers yet.
    pub fn failed(&self, namespace: &str, job: &str, problem: Option<(&MigrationJobStatus, &Reason)>, now: i64) {
        self.change(namespace, job, |all| all.failed(problem, now));
    }

    /// Counts what became of deliveries of notifications.
    pub fn notified(&self, namespace: &str, job: &str, results: &[(Receiver, DeliveryResult)]) {
        if !results.is_empty() {
            self.change(namespace, job, |all| all.notified(results));
        }
    }

    /// Forgets a job.
    pub fn remove(&self, namespace: &str, job: &str) {
        self.shared.jobs().remove(&(namespace.into(), job.into()));
    }

    fn change(&self, namespace: &str, job: &str, change: impl FnOnce(&mut JobNumbers)) {
        change(Arc::make_mut(self.shared.jobs().entry((namespace.into(), job.into())).or_default()));
    }

    /// Sets whether this operator acts. One that does not act knows nothing of jobs.
    pub fn set_leader(&self, leads: bool) {
        self.shared.leads.store(leads, Ordering::Relaxed);
        if !leads {
            self.shared.jobs().clear();
        }
    }

    /// Returns the answer to a request for the metrics.
    pub fn answer(&self, headers: &HeaderMap) -> Answer {
        metrics::answer(&self.registry, headers)
    }

    /// Returns all metrics as text.
    #[cfg(test)]
    pub fn text(&self) -> Result<String, fmt::Error> {
        metrics::text_of(&self.registry, metrics::Format::OpenMetrics)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
