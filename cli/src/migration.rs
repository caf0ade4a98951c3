//! Runs a job on this machine: the scan, the workers, and what the operator does in a cluster.
//!
//! One process has the state directory open, so that every owner of an earlier lease is known to be dead: a live run is
//! continued at once, without waiting for leases to expire.

mod coordinate;
mod cost;
mod followups;
mod progress;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use migration_core::config::ValidConfig;
use migration_core::cost::{Money, PriceTable};
use migration_core::error::{Blocked, Service};
use migration_core::ports::{Clock, ObjectStore};
use migration_core::records::{RunRecord, RunResult};
use migration_core::verification::VerifyMethod;
use migration_engine::limits::Limits;
use migration_engine::report::ReportError;
use migration_engine::run::RunError;
use migration_engine::scan::ScanError;
use migration_engine::telemetry::Metered;
use migration_engine::{Ports, Process, Runtime};
use migration_local::ledger::LocalLedger;
use migration_local::queue::{LocalQueue, QueueSettings};
use migration_local::state::State;
use migration_program::verification::VerifyError;

use crate::display::Display;

pub use stop::Stop;

/// Name of the job's queue in the state file.
const QUEUE: &str = "job";

/// Name of the worker in the ledger.
pub const WORKER: &str = "worker";

/// Returns the job's queue in a state.
pub fn queue(state: &State) -> LocalQueue {
    LocalQueue::new(state, QUEUE, QueueSettings::default())
}

/// A job to run on this machine.
pub struct Migration<S, D> {
    /// Its settings.
    pub config: ValidConfig,
    /// The side to read from.
    pub source: S,
    /// The side to write to.
    pub destination: D,
    /// The destination, for reports, which are written in a storage class that can be read without restoring.
    pub reports: D,
    /// Ledger and queue.
    pub state: State,
    /// The job's queue, of that state.
    pub queue: LocalQueue,
    /// Source of the current time.
    pub clock: Arc<dyn Clock>,
    /// What follows the transfer, and its limits.
    pub terms: RunTerms,
    /// The limits that its stores wait for.
    pub limits: Limits,
    /// Prices by which the cost of the run is shown, and what it may cost. `None` if the job has neither.
    pub budget: Option<Budget>,
}

/// Prices, and what a run may cost by them.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The prices.
    pub prices: PriceTable,
    /// What a run may cost. `None` = unlimited.
    pub limit: Option<Money>,
}

/// What follows a run, and when it is given up.
#[derive(Clone, Copy, Debug)]
pub struct RunTerms {
    /// Maximum duration of a run from its start, in milliseconds.
    pub deadline_ms: Option<i64>,
    /// Time for which a service may be paused before the program gives up.
    pub patience: Duration,
    /// The verification after the run.
    pub verify: Option<VerifyMethod>,
    /// Whether the report of the run is written.
    pub report: bool,
}

/// A process of a migration.
pub type LocalProcess<S, D> = Process<(Metered<S>, Metered<D>, LocalQueue, LocalLedger)>;

/// How a run went.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Its record.
    pub record: RunRecord,
    /// True if the verification after it found the copy to be whole; `None` if there was none.
    pub verified: Option<bool>,
}

impl RunSummary {
    /// Returns the result of the run.
    pub fn result(&self) -> RunResult {
        self.record.end.as_ref().map_or(RunResult::Failed, |end| end.result)
    }
}

/// Why a run did not end. The same command continues it.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The scan failed.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The state could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The live run has other sides.
    #[error(
        "failed to continue run {run}: it began with another source or destination ({difference}); run it to its end with \
         the former settings, or use another --state-dir"
    )]
    OtherSides {
        /// ID of the run.
        run: String,
        /// What differs.
        difference: String,
    },
    /// A service did not work for too long.
    #[error("failed to reach {}: {} did not work for {} s: {}", .0.side, .0.resource, .1.as_secs(), .0.message)]
    Patience(Box<Blocked>, Duration),
    /// A signal ended the process.
    #[error("stopped by a signal; run the same command to continue")]
    Stopped,
    /// The run has cost what it may.
    #[error(
        "paused: the run has cost {spent} {currency}, and spec.limits.cost is {limit}; raise it and run the same command to \
         continue"
    )]
    OverBudget {
        /// What it has cost.
        spent: Money,
        /// What it may cost.
        limit: Money,
        /// The currency of both.
        currency: String,
    },
    /// A task of the process panicked, which it has printed.
    #[error("failed to run {0}: it ended unexpectedly; run the same command to continue")]
    Panicked(&'static str),
    /// The verification has no result.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The report could not be written.
    #[error(transparent)]
    Report(Box<ReportError>),
}

impl From<ReportError> for MigrationError {
    fn from(error: ReportError) -> Self {
        Self::Report(Box::new(error))
    }
}

impl<S, D> Migration<S, D>
where
    S: ObjectStore + Clone,
    D: ObjectStore + Clone,
{
    /// Runs the job to the end of a run: continues a live one, or starts a new one.
    pub async fn run(&self, display: &Arc<dyn Display>, stop: &Stop) -> Result<RunSummary, MigrationError> {
        match self.run_and_follow_up(display, stop).await {
            // What failed then failed because of the signal.
            Err(_) if stop.is_given() => Err(MigrationError::Stopped),
            result => result,
        }
    }

    async fn run_and_follow_up(&self, display: &Arc<dyn Display>, stop: &Stop) -> Result<RunSummary, MigrationError> {
        let mut summary = self.transfer(display, stop).await?;
        summary.verified = self.follow_up(&summary.record, display.as_ref(), stop).await?;
        Ok(summary)
    }

    /// Creates a process of this job. Its name must be the same in every run of the program: that is how it knows its
    /// own leases.
    pub fn process(&self, name: &str, stop: &Stop) -> LocalProcess<S, D> {
        let runtime = Runtime { stop: stop.token(), ..Runtime::new(name, self.clock.clone()) };
        self.process_in(runtime)
    }

    fn process_in(&self, runtime: Runtime) -> LocalProcess<S, D> {
        let telemetry = runtime.telemetry.clone();
        let destination = |store: &D| Metered::new(store.clone(), Service::Destination, &telemetry);
        let source = Metered::new(self.source.clone(), Service::Source, &telemetry);
        let reports = destination(&self.reports);
        let ports = Ports::new(source, destination(&self.destination), self.queue.clone(), self.ledger());
        Process::new(ports, self.config.clone(), runtime).with_reports(reports).with_limits(self.limits.clone())
    }

    fn ledger(&self) -> LocalLedger {
        LocalLedger::new(&self.state)
    }

    fn job(&self) -> &str {
        &self.config.job.uid
    }
}
