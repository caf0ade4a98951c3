//! What the ledger says of a job.

use migration_api::Reason;
use migration_core::error::Side;
use migration_core::message::EVENTS_RUN;
use migration_core::ports::Ledger;
use migration_core::progress::Tally;
use migration_core::records::{Counters, FailureRecord, Heartbeat, ReportRecord, RunRecord, VerificationRecord};
use migration_core::view::{self, ViewError};

use crate::job_controller::dereference::followups::FollowupSettings;
use crate::problem::Problem;

/// Failures that the status shows.
pub const FAILURES: u32 = 10;

/// What the ledger says of a job.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    /// The last run that was taken.
    pub run: Option<RunView>,
    /// Heartbeats that still mean something.
    pub heartbeats: Vec<Heartbeat>,
    /// The last heartbeats of processes that are gone, or have nothing to do.
    pub old_heartbeats: Vec<Heartbeat>,
    /// What the verification of that run found, where it is asked for.
    pub verification: Option<VerificationRecord>,
    /// The report of that run, where it is asked for and written.
    pub report: Option<ReportRecord>,
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
/// `wanted` says what follows runs.
pub async fn read<L: Ledger>(
    ledger: &L,
    uid: &str,
    known: Option<&str>,
    wanted: FollowupSettings,
    now: i64,
) -> Result<LedgerView, ViewError> {
    let (heartbeats, old_heartbeats) =
        view::all_heartbeats(ledger, uid).await?.into_iter().partition(|beat| beat.is_fresh(now));
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
    let last = run.as_ref().map(|run| &run.record);
    let verification = match wanted.verified(last) {
        Some(run) => view::verification(ledger, uid, &run.run).await?,
        None => None,
    };
    let report = match wanted.reported(last) {
        Some(run) => view::report(ledger, uid, &run.run).await?,
        None => None,
    };
    Ok(LedgerView { run, heartbeats, old_heartbeats, verification, report, events })
}

/// What an error means to the job.
pub fn problem(table: &str, error: &ViewError) -> Problem {
    match error {
        ViewError::Service(error) => Problem::service(Side::Ledger, table, error),
        ViewError::Record(error) => Problem::new(
            Reason::LedgerRecordUnreadable,
            format!("ledger table {table}: {error}; use images of the operator's own version"),
        ),
    }
}
