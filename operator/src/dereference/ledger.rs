//! What the ledger says of a job.

use migration_api::reasons;
use migration_core::error::Side;
use migration_core::message::EVENTS_RUN;
use migration_core::ports::Ledger;
use migration_core::progress::Tally;
use migration_core::records::{Counters, FailureRecord, Heartbeat, RunRecord, VerificationRecord};
use migration_core::view::{self, ViewError};

use crate::problem::Problem;
use crate::verification;

/// Failures that the status shows.
pub const FAILURES: u32 = 10;

/// What the ledger says of a job.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    /// The last run that was taken.
    pub run: Option<RunView>,
    /// Heartbeats that still mean something.
    pub heartbeats: Vec<Heartbeat>,
    /// What the verification of that run found, where it is asked for.
    pub verification: Option<VerificationRecord>,
    /// What came of messages that belong to no run: zeros where there never was one.
    pub events: Counters,
}

/// A run and its batches.
#[derive(Clone, Debug)]
pub struct RunView {
    /// The run.
    pub record: RunRecord,
    /// Its batches; none where the run has ended and the status has its numbers already.
    pub tally: Option<Tally>,
    /// Its first failures, where the tally is there.
    pub failures: Vec<FailureRecord>,
}

impl LedgerView {
    /// The run that is live.
    pub fn live(&self) -> Option<&RunView> {
        self.run.as_ref().filter(|run| run.record.end.is_none())
    }
}

/// Reads it. Batches of a run whose end is known already are not read again: `known` is its id.
/// `verify` says whether runs are verified.
pub async fn read<L: Ledger>(
    ledger: &L,
    uid: &str,
    known: Option<&str>,
    verify: bool,
    now: i64,
) -> Result<LedgerView, ViewError> {
    let heartbeats = view::heartbeats(ledger, uid, now).await?;
    // One query a look: looks are far apart while nothing is in the queue.
    let events = view::counters(ledger, uid, EVENTS_RUN).await?;
    let run = match view::last_run(ledger, uid).await? {
        None => None,
        Some(record) if record.end.is_some() && known == Some(record.run.as_str()) => {
            Some(RunView { record, tally: None, failures: Vec::new() })
        }
        Some(record) => {
            let tally = view::tally(ledger, uid, &record).await?;
            let failures = view::failures(ledger, uid, &record, FAILURES).await?;
            Some(RunView { record, tally: Some(tally), failures })
        }
    };
    let verified = run.as_ref().filter(|run| verify && verification::is_over(&run.record));
    let verification = match verified {
        Some(run) => view::verification(ledger, uid, &run.record.run).await?,
        None => None,
    };
    Ok(LedgerView { run, heartbeats, verification, events })
}

/// What an error means to the job.
pub fn problem(table: &str, error: &ViewError) -> Problem {
    match error {
        ViewError::Service(error) => Problem::service(Side::Ledger, table, error),
        ViewError::Record(error) => Problem::new(
            reasons::LEDGER_RECORD_UNREADABLE,
            format!("ledger table {table}: {error}; use images of the operator's own version"),
        ),
    }
}
