//! Runs scans and transfers against the ports of `migration-core`. Knows tokio, but no SDK and no Kubernetes.
//!
//! | module | what |
//! |---|---|
//! | [`scan`] | takes a run, lists and compares both sides, sends batches |
//! | [`worker`] | receives batches, moves their objects, ends them in the ledger |
//! | [`transfer`] | moves one object, small or large |
//! | [`report`] | what became of each object, for people and for the next run |
//! | [`uploads`] | aborts what is left open when a job goes away |
//! | [`hash`] | digests of all bytes under way, together in SIMD lanes |
//! | [`gate`] | pauses a side whose credentials or bucket are broken, and finds out when it is mended |
//! | [`concurrency`] | bounds the requests under way to a bucket that throttles |
//! | [`admission`] | bounds the objects at hand |
//! | [`budget`] | bounds the bytes held in memory |
//! | [`heartbeat`] | tells the ledger what this process is doing |

mod absence;
pub mod admission;
mod buckets;
pub mod budget;
pub mod concurrency;
pub mod gate;
pub mod hash;
pub mod heartbeat;
pub mod report;
pub mod scan;
mod send_buffer;
mod services;
pub mod transfer;
pub mod uploads;
pub mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use migration_core::config::JobConfig;
use migration_core::error::{ErrorClass, ServiceError, Side};
use migration_core::operation::RequestInfo;
use migration_core::ports::{Clock, Condition, Item, Ledger, ObjectStore, Operation, Write, WriteError};
use tokio_util::sync::CancellationToken;

use crate::buckets::Buckets;
use crate::gate::{Gate, Nobody, Store};
use crate::hash::Hashing;

pub use services::{Ports, Services};

/// Ranges of keys that a scan has under work at once: as many as keep a processor busy at the latency of a service in
/// the same region, with some 20 MB of pages in memory.
const RANGES_IN_FLIGHT: usize = 16;

/// How often it is looked at whether denials have settled.
const SETTLING: Duration = Duration::from_millis(200);

/// One process of a job: its ports, its settings, and what all its tasks share.
pub struct Process<P: Services> {
    /// The world.
    pub ports: Ports<P>,
    /// What the operator says.
    pub config: JobConfig,
    /// The name of this process in the ledger: its pod's.
    pub name: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the process is to end: nothing new is begun.
    pub stop: CancellationToken,
    /// What this process is doing.
    pub activity: Arc<heartbeat::Activity>,
    /// Where reports go, if not where objects go.
    reports: Option<P::Destination>,
    /// Where bytes under way are hashed.
    hashing: Hashing,
    /// Ranges of keys that a scan has under work at once.
    ranges_in_flight: usize,
    buckets: Buckets,
    names: AtomicU64,
    source_gate: Gate,
    destination_gate: Gate,
    queue_gate: Gate,
    ledger_gate: Gate,
}

/// Why work could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Interruption {
    /// The process is ending.
    #[error("failed to go on: the process is ending")]
    Stopped,
    /// A service, after all quick retries.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// What the destination does not find of what is written to it says nothing of the source's object.
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

/// What came of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It was done.
    Written,
    /// Another writer was first.
    Lost,
}

impl<P: Services> Process<P> {
    /// A process that has done nothing yet.
    pub fn new(ports: Ports<P>, config: JobConfig, name: String, clock: Arc<dyn Clock>) -> Self {
        let stop = CancellationToken::new();
        let activity = Arc::new(heartbeat::Activity::default());
        let gate = |side| Gate::new(side, stop.clone(), clock.clone(), activity.clone());
        Self {
            source_gate: gate(Side::Source),
            destination_gate: gate(Side::Destination),
            queue_gate: gate(Side::Queue),
            ledger_gate: gate(Side::Ledger),
            reports: None,
            hashing: Hashing::new(),
            ranges_in_flight: RANGES_IN_FLIGHT,
            buckets: Buckets::default(),
            names: AtomicU64::new(0),
            ports,
            config,
            name,
            clock,
            stop,
            activity,
        }
    }

    /// The same with another hashing stage.
    #[must_use]
    pub fn with_hashing(self, hashing: Hashing) -> Self {
        Self { hashing, ..self }
    }

    /// The same whose reports go to the destination's service through a store of their own: in no storage class that
    /// has to be restored before it is read.
    #[must_use]
    pub fn with_reports(self, reports: P::Destination) -> Self {
        Self { reports: Some(reports), ..self }
    }

    fn reports(&self) -> &P::Destination {
        self.reports.as_ref().unwrap_or(&self.ports.destination)
    }

    /// The same whose scans have another number of ranges of keys under work at once.
    #[must_use]
    pub fn with_ranges_in_flight(self, ranges_in_flight: usize) -> Self {
        Self { ranges_in_flight, ..self }
    }

    /// One request, or a few that belong together, to the source.
    async fn source<T, F>(&self, access: RequestInfo<'_>, request: impl FnMut() -> F + Send) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.source_gate.pass(access, &Store(&self.ports.source), request).await
    }

    /// One request to the destination.
    async fn destination<T, F>(
        &self,
        access: RequestInfo<'_>,
        request: impl FnMut() -> F + Send,
    ) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.destination_gate
            .pass(access, &Store(&self.ports.destination), request)
            .await
            .map_err(|error| no_absence(access, error))
    }

    /// One request to the destination that can't be sent twice.
    async fn destination_once<T>(
        &self,
        access: RequestInfo<'_>,
        request: impl Future<Output = Result<T, ServiceError>> + Send,
    ) -> Result<T, Interruption> {
        self.destination_gate
            .once(access, &Store(&self.ports.destination), request)
            .await
            .map_err(|error| no_absence(access, error))
    }

    /// An error of the source that showed while a body was read.
    fn source_failed(&self, error: ServiceError, access: RequestInfo<'_>) -> ServiceError {
        self.source_gate.failed(error, access)
    }

    /// A name of this process that no other of its tasks has.
    fn next_name(&self) -> String {
        format!("{}/{}", self.name, self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Waits for so long, or until the process is to end.
    async fn pause(&self, time: Duration) -> Result<(), Interruption> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Interruption::Stopped),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Waits before the next try of what can't be sent twice; `retries` counts from 0.
    async fn back_off(&self, retries: u32) -> Result<(), Interruption> {
        self.destination_gate.back_off(retries).await
    }

    /// One request to the queue.
    async fn queue<T, F>(&self, request: impl FnMut() -> F + Send) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.queue_gate.pass(RequestInfo::service(&self.config.queue.url), &Nobody, request).await
    }

    /// One request to the ledger.
    async fn ledger<T, F>(&self, request: impl FnMut() -> F + Send) -> Result<T, Interruption>
    where
        F: Future<Output = Result<T, ServiceError>> + Send,
    {
        self.ledger_gate.pass(RequestInfo::service(&self.config.ledger.table), &Nobody, request).await
    }

    /// One write to the ledger.
    async fn write(&self, writes: &[Write]) -> Result<WriteOutcome, Interruption> {
        self.ledger(|| async move {
            match self.ports.ledger.write(writes).await {
                Ok(()) => Ok(WriteOutcome::Written),
                Err(WriteError::Condition) => Ok(WriteOutcome::Lost),
                Err(WriteError::Service(error)) => Err(error),
            }
        })
        .await
    }

    /// Writes a record that tells who wrote it, if `condition` holds, and others with it, all or nothing. Where another
    /// writer was first, that may have been a try of this one whose answer was lost: so what stands there is looked at.
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
        let stands = self.ledger(|| self.ports.ledger.get(&item.key)).await?;
        let own = stands.is_some_and(|stands| stands.attributes == item.attributes);
        Ok(if own { WriteOutcome::Written } else { WriteOutcome::Lost })
    }

    /// Whether a side is paused as a whole, so that what is received now could only wait.
    fn is_paused(&self) -> bool {
        [&self.source_gate, &self.destination_gate, &self.ledger_gate].into_iter().any(Gate::is_blocked)
    }

    /// Whether anything is paused: what does not move meanwhile is not to blame.
    fn is_waiting(&self) -> bool {
        [&self.source_gate, &self.destination_gate, &self.queue_gate, &self.ledger_gate]
            .into_iter()
            .any(Gate::is_waiting)
    }

    /// From now on objects for which a right is missing come back instead of waiting: who calls this has others.
    fn let_go_of_denied(&self) {
        self.source_gate.let_go();
        self.destination_gate.let_go();
    }

    /// For how long an operation has been paused because a right is missing, if one is.
    fn right_missing(&self) -> Option<Duration> {
        self.source_gate.right_missing().max(self.destination_gate.right_missing())
    }

    /// Waits until it is known whose the denials are that were met: true = a right is missing, false = the objects' own.
    async fn is_right_missing(&self) -> Result<bool, Interruption> {
        loop {
            if self.right_missing().is_some() {
                return Ok(true);
            }
            if self.source_gate.is_settled() && self.destination_gate.is_settled() {
                return Ok(false);
            }
            self.pause(SETTLING).await?;
        }
    }
}
