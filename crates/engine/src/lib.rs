//! Runs scans and transfers against the ports of `migration-core`. Depends on tokio, but on no SDK and not on
//! Kubernetes.
//!
//! | module | purpose |
//! |---|---|
//! | [`scan`] | takes a run, lists and compares both sides, sends batches |
//! | [`worker`] | receives batches, transfers their objects, records their end in the ledger |
//! | [`transfer`] | transfers one object, small or large |
//! | [`run`] | starts, ends and reopens runs, for the coordinator of a job |
//! | [`report`] | writes the result of each object, for people and for the next run |
//! | [`preflight`] | tries a few requests of a job, so that what is refused is known before objects are moved |
//! | [`notifications`] | configures source buckets to send their events to the queue |
//! | [`uploads`] | aborts open uploads when a job is deleted |
//! | [`hash`] | computes the digests of all bytes in transfer together, in SIMD lanes |
//! | [`gate`] | pauses a side whose credentials or bucket are broken, and resumes it when it works again |
//! | [`concurrency`] | bounds the requests in flight to a bucket that throttles |
//! | [`admission`] | bounds the objects that a worker holds |
//! | [`budget`] | bounds the bytes held in memory |
//! | [`limits`] | bounds the bytes and requests per second of a process, or of a job |
//! | [`heartbeat`] | tells the ledger what this process is doing |
//! | [`observer`] | tells the program which objects are in transfer |
//! | [`log_context`] | tells the log what a task works on |
//! | [`telemetry`], [`gauges`] | count what a process does, and tell what it holds, for metrics |
//! | [`traces`] | spans of objects, parts and requests, for traces |

mod absence;
pub mod admission;
mod buckets;
pub mod budget;
pub mod concurrency;
mod deletion;
pub mod gate;
mod gates;
pub mod gauges;
pub mod hash;
pub mod heartbeat;
pub mod limits;
pub mod log_context;
pub mod notifications;
mod object_limit;
pub mod observer;
pub mod preflight;
mod repeat;
pub mod report;
pub mod run;
mod runtime;
pub mod scan;
mod send_buffer;
mod services;
mod spending;
mod stop;
pub mod telemetry;
pub mod traces;
pub mod transfer;
pub mod uploads;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use migration_core::config::ValidConfig;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::operation::RequestInfo;
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, Operation, QueryPage, Write};
use migration_ledger::{LedgerRead, ReadError, write};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::buckets::Buckets;
use crate::gate::{Nobody, Store};
use crate::gates::Gates;
use crate::hash::Hashing;
use crate::heartbeat::RangesAtWork;
use crate::limits::Limits;
use crate::object_limit::ObjectLimit;
use crate::stop::sleep_or_stop;

pub use migration_ledger::WriteOutcome;
pub use runtime::{GRACE, Runtime};
pub use services::{Ports, Services};

/// Key ranges that a scan processes at once: enough to keep a processor busy at the latency of a service in the same
/// region, with about 20 MB of pages in memory.
const RANGES_IN_FLIGHT: usize = 16;

/// One process of a job: its ports, its settings, and the state shared by all its tasks.
pub struct Process<P: Services> {
    /// The services of the job.
    pub ports: Ports<P>,
    /// The job's settings.
    pub config: ValidConfig,
    /// Name, clock, stop signal and activity of this process.
    pub runtime: Runtime,
    /// Store for reports, if other than the destination.
    reports: Option<P::Destination>,
    /// Stage that hashes bytes in transfer.
    hashing: Hashing,
    /// Key ranges that a scan processes at once.
    ranges_in_flight: usize,
    buckets: Buckets,
    names: AtomicU64,
    gates: Arc<Gates>,
    /// The limits of its stores.
    limits: Limits,
    /// The ranges of distributed objects that workers are at.
    ranges_at_work: RangesAtWork,
    /// Objects that a worker moves at the same time.
    object_limit: ObjectLimit,
}

/// Why work was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Interruption {
    /// The process is stopping.
    #[error("failed to continue: the process is stopping")]
    Stopped,
    /// A service failed, after all quick retries.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Lets reads and writes of the ledger fail with the same error.
impl From<Interruption> for ReadError<Interruption> {
    fn from(error: Interruption) -> Self {
        Self::Request(error)
    }
}

/// Turns "no such key" into a transient error for requests that only write: that the destination does not find what is
/// written says nothing about the source's object.
fn no_absence(access: RequestInfo<'_>, error: Interruption) -> Interruption {
    use Operation::{CopyObject, CopyPart, GetObject, HeadObject};
    let reads = matches!(access.operation, Some(CopyObject | CopyPart | GetObject | HeadObject));
    match error {
        Interruption::Service(error) if error.class == ErrorClass::NoSuchKey && !reads => {
            ServiceError { class: ErrorClass::Transient, ..error }.into()
        }
        error => error,
    }
}

/// Returns the record in an item. If it cannot be read, the log names the record and the consequence, and the record
/// counts as absent.
fn read_or_warn<T: DeserializeOwned>(item: &Item, consequence: &str) -> Option<T> {
    item.read().inspect_err(|error| warn!(%error, consequence, "failed to read ledger record")).ok()
}

/// Sends reads through the ledger's gate, which retries them and holds them while the ledger is paused.
impl<P: Services> LedgerRead for Process<P> {
    type Error = Interruption;

    async fn get_item(&self, key: &LedgerKey) -> Result<Option<Item>, Interruption> {
        self.ledger(|| self.ports.ledger.get(key)).await
    }

    async fn query_items(
        &self,
        partition: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<QueryPage, Interruption> {
        self.ledger(|| self.ports.ledger.query(partition, prefix, after, limit)).await
    }
}

impl<P: Services> Process<P> {
    /// Creates a process with the default hashing stage and number of ranges.
    pub fn new(ports: Ports<P>, config: ValidConfig, runtime: Runtime) -> Self {
        Self {
            gates: Arc::new(Gates::new(&runtime)),
            limits: Limits::default(),
            object_limit: ObjectLimit::new(config.transfer.files_per_worker),
            ranges_at_work: RangesAtWork::default(),
            reports: None,
            hashing: Hashing::new(),
            ranges_in_flight: RANGES_IN_FLIGHT,
            buckets: Buckets::default(),
            names: AtomicU64::new(0),
            ports,
            config,
            runtime,
        }
    }

    /// Replaces the hashing stage.
    #[must_use]
    pub fn with_hashing(self, hashing: Hashing) -> Self {
        Self { hashing, ..self }
    }

    /// Tells the process which limits its stores wait for, so that this does not count as a lack of progress.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sends reports through a store of their own, which writes in a storage class that can be read without restoring.
    #[must_use]
    pub fn with_reports(self, reports: P::Destination) -> Self {
        Self { reports: Some(reports), ..self }
    }

    fn reports(&self) -> &P::Destination {
        self.reports.as_ref().unwrap_or(&self.ports.destination)
    }

    /// Sets the number of key ranges that a scan processes at once.
    #[must_use]
    pub fn with_ranges_in_flight(self, ranges_in_flight: usize) -> Self {
        Self { ranges_in_flight, ..self }
    }

    /// Sends one request, or a few that belong together, to the source.
    async fn source<T, F>(&self, access: RequestInfo<'_>, request: impl FnMut() -> F + Send) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.gates.source.pass(access, &Store(&self.ports.source), request).await
    }

    /// Sends one request to the destination.
    async fn destination<T, F>(
        &self,
        access: RequestInfo<'_>,
        request: impl FnMut() -> F + Send,
    ) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.gates
            .destination
            .pass(access, &Store(&self.ports.destination), request)
            .await
            .map_err(|error| no_absence(access, error))
    }

    /// Sends one request to the destination that cannot be repeated.
    async fn destination_once<T>(
        &self,
        access: RequestInfo<'_>,
        request: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, Interruption> {
        self.gates
            .destination
            .once(access, &Store(&self.ports.destination), request)
            .await
            .map_err(|error| no_absence(access, error))
    }

    /// Classifies an error of the source that occurred while a body was read.
    fn source_failed(&self, error: ServiceError, access: RequestInfo<'_>) -> ServiceError {
        self.gates.source.failed(error, access)
    }

    /// Returns a name that no other task of this process has.
    fn next_name(&self) -> String {
        format!("{}/{}", self.runtime.name, self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Sleeps, or returns [`Interruption::Stopped`] when the process has to stop.
    async fn pause(&self, time: Duration) -> Result<(), Interruption> {
        sleep_or_stop(&self.runtime.stop, time).await
    }

    /// Waits before retrying a request that the gate does not repeat; `retries` counts from 0.
    async fn back_off(&self, retries: u32) -> Result<(), Interruption> {
        self.gates.destination.back_off(retries).await
    }

    /// Sends one request to the queue.
    async fn queue<T, F>(&self, request: impl FnMut() -> F + Send) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.gates.queue.pass(RequestInfo::service(&self.config.queue.url), &Nobody, request).await
    }

    /// Sends one request to the ledger.
    async fn ledger<T, F>(&self, request: impl FnMut() -> F + Send) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.gates.ledger.pass(RequestInfo::service(&self.config.ledger.table), &Nobody, request).await
    }

    /// Reads a record that may be treated as absent if it cannot be read; see [`read_or_warn`].
    async fn get_or_warn<T: DeserializeOwned>(
        &self,
        key: &LedgerKey,
        consequence: &str,
    ) -> Result<Option<T>, Interruption> {
        Ok(self.get_item(key).await?.and_then(|item| read_or_warn(&item, consequence)))
    }

    /// Writes to the ledger, all or nothing.
    async fn write(&self, writes: &[Write]) -> Result<WriteOutcome, Interruption> {
        self.ledger(|| write::all(&self.ports.ledger, writes)).await
    }

    /// Writes a record that names its writer, if `condition` holds, and other items with it, all or nothing. If the
    /// condition fails, reads the record back: an earlier try of this write may have succeeded and its answer been
    /// lost.
    async fn replace(
        &self,
        item: Item,
        condition: Condition,
        others: Vec<Write>,
    ) -> Result<WriteOutcome, Interruption> {
        let mut writes = vec![Write::Put { item: item.clone(), condition }];
        writes.extend(others);
        if self.write(&writes).await? == WriteOutcome::Written {
            return Ok(WriteOutcome::Written);
        }
        let stands = self.get_item(&item.key).await?;
        let own = stands.is_some_and(|stands| stands.attributes == item.attributes);
        Ok(if own { WriteOutcome::Written } else { WriteOutcome::Lost })
    }
}
