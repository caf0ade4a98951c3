//! Reads the records of a job from its ledger.

use migration_api::Reason;
use migration_core::error::Service;
use migration_core::message::EVENTS_RUN;
use migration_core::ports::Ledger;
use migration_core::records::{Counters, FailureRecord, Heartbeat, ReportRecord, VerificationRecord};
use migration_engine::run::look::{self, RunView};
use migration_ledger::{ReadError, Readable, Unreadable, view};

use crate::job_controller::dereference::followups::FollowupSettings;
use crate::problem::Problem;

/// The number of failures that the status shows.
pub const FAILURES: u32 = 10;

/// The records of a job.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    /// The last run that was taken. It has no tally if it has ended and the status has its final numbers.
    pub run: Option<RunView>,
    /// The first failures of that run, if it has a tally.
    pub failures: Readable<FailureRecord>,
    /// The fresh heartbeats.
    pub heartbeats: Vec<Heartbeat>,
    /// The last heartbeats of processes that have ended or are idle.
    pub old_heartbeats: Vec<Heartbeat>,
    /// The heartbeats that cannot be read.
    pub unreadable_heartbeats: Unreadable,
    /// The verification of that run, if it is requested and has ended.
    pub verification: Option<VerificationRecord>,
    /// The report of that run, if it is requested and written.
    pub report: Option<ReportRecord>,
    /// The results of messages that belong to no run: zeros if there was no such message.
    pub events: Counters,
}

impl LedgerView {
    /// Returns the live run.
    pub fn live(&self) -> Option<&RunView> {
        self.run.as_ref().filter(|run| run.is_live())
    }
}

/// Reads the records of a job. Does not read the batches and failures of the run `known` if that run has ended. `settings`
/// says which Jobs follow a run.
pub async fn read<L: Ledger>(
    ledger: &L,
    uid: &str,
    known: Option<&str>,
    settings: FollowupSettings,
    now: i64,
) -> Result<LedgerView, ReadError> {
    let beats = view::all_heartbeats(ledger, uid).await.map_err(ReadError::Request)?;
    let (heartbeats, old_heartbeats) = beats.records.into_iter().partition(|beat| beat.is_fresh(now));
    // This query is cheap enough for each reconciliation: they are rare while the queue is empty.
    let events = view::counters(ledger, uid, EVENTS_RUN).await?;
    let run = look::last(ledger, uid, known).await?;
    let failures = match run.as_ref().filter(|run| run.tally.is_some()) {
        Some(run) => view::failures(ledger, uid, &run.record, FAILURES).await.map_err(ReadError::Request)?,
        None => Readable::default(),
    };
    let last = run.as_ref().map(|run| &run.record);
    let verification = match settings.verified(last) {
        Some(run) => view::verification(ledger, uid, &run.run).await?,
        None => None,
    };
    let report = match settings.reported(last) {
        Some(run) => view::report(ledger, uid, &run.run).await?,
        None => None,
    };
    let unreadable_heartbeats = beats.unreadable;
    Ok(LedgerView { run, failures, heartbeats, old_heartbeats, unreadable_heartbeats, verification, report, events })
}

/// Describes why the records of a job could not be read.
pub fn problem(table: &str, error: &ReadError) -> Problem {
    match error {
        ReadError::Request(error) => Problem::service(Service::Ledger, table, error),
        ReadError::Record(error) => Problem::new(
            Reason::LedgerRecordUnreadable,
            format!("ledger table {table}: {error}; use images of the operator's own version"),
        ),
    }
}
