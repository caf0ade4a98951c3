//! Reads the records of a job from its ledger, with a bounded number of requests while a run is live.

mod counted;
mod failures;
mod missed;

use std::sync::Arc;

use migration_api::Reason;
use migration_core::error::{Service, ServiceError};
use migration_core::message::EVENTS_RUN;
use migration_core::records::{Counters, FailureRecord, Heartbeat, ReportRecord, RunRecord, VerificationRecord};
use migration_core::shares::Division;
use migration_engine::run::look::{self, RunView};
use migration_ledger::{LedgerRead, ReadError, Readable, Unreadable, view};

use crate::job_controller::dereference::followups::FollowupSettings;
use crate::problem::Problem;

pub use counted::Counted;
pub use failures::KnownFailures;
pub use missed::{MissedRun, ShownRuns};

/// The interval at which the results of messages that belong to no run are read while a run is live, in milliseconds.
const EVENTS_MS: i64 = 60_000;

/// The interval at which the shares of the limits are read while some are held, and while none is, in milliseconds.
const SHARES_MS: i64 = 60_000;
const NO_SHARES_MS: i64 = 30_000;

/// The number of failures that the status shows.
pub const FAILURES: u32 = 10;

/// The records of a job.
#[derive(Clone, Debug, Default)]
pub struct LedgerView {
    /// The last run that was taken. It has no tally if it has ended and the status has its final numbers.
    pub run: Option<RunView>,
    /// Runs before it that ended and that the status did not show when they were read, the oldest first.
    pub missed: Vec<MissedRun>,
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
    /// How the limits are divided among processes; none without limits.
    pub division: Option<Division>,
    /// The shares that cannot be read.
    pub unreadable_shares: Unreadable,
}

impl LedgerView {
    /// Returns the live run.
    pub fn live(&self) -> Option<&RunView> {
        self.run.as_ref().filter(|run| run.is_live())
    }
}

/// What a look reuses of the looks before.
#[derive(Clone, Debug, Default)]
pub struct KnownRecords {
    /// The records; none if the ledger did not answer the last time.
    pub view: Option<Arc<LedgerView>>,
    /// The failures of the live run.
    pub failures: KnownFailures,
    /// When the results of messages that belong to no run were read, in milliseconds since 1970.
    pub events_at: i64,
    /// When the shares of the limits were read, in milliseconds since 1970.
    pub shares_at: i64,
}

/// What a look reads.
#[derive(Clone, Copy, Debug)]
pub struct LookSettings<'a> {
    /// UID of the job.
    pub uid: &'a str,
    /// The run whose final numbers the status has: its batches and failures are not read.
    pub known_run: Option<&'a str>,
    /// The runs that the status shows.
    pub shown: ShownRuns<'a>,
    /// Which Jobs follow a run.
    pub followups: FollowupSettings,
    /// What is read of the limits.
    pub shares: SharesLook,
    /// There is room for requests that can wait: failures of a live run.
    pub has_room: bool,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// What is read of the shares of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharesLook {
    /// Nothing: nothing is limited.
    Unlimited,
    /// Nothing, if they were read before: there is no room for a request that can wait.
    Keep,
    /// All, if that is due.
    Read,
}

/// Reads the records of a job.
///
/// | records | requests |
/// |---|---|
/// | the run, its counters, the heartbeats | three while a run is live, else one more |
/// | runs that ended and are not shown | one when another run has begun, and more for each that is found |
/// | results of messages that belong to no run | one, at most once a minute while a run is live |
/// | shares of the limits | with limits: one, at most once a minute, or twice while none is held |
/// | the first failures | of a live run as [`KnownFailures`] says; of one that has ended once, one for each pair |
/// | verification, report | one each, after a run has ended |
pub async fn read<R: LedgerRead<Error = ServiceError>>(
    ledger: &R,
    known: &KnownRecords,
    settings: LookSettings<'_>,
) -> Result<KnownRecords, ReadError> {
    let LookSettings { uid, known_run, shown, followups, shares: _, has_room, now } = settings;
    let before = known.view.as_deref();
    let beats = view::all_heartbeats(ledger, uid).await.map_err(ReadError::Request)?;
    let (heartbeats, old_heartbeats) = beats.records.into_iter().partition(|beat| beat.is_fresh(now));
    let run = match before.and_then(LedgerView::live) {
        Some(live) => look::again(ledger, uid, &live.record.run, known_run).await?,
        None => look::last(ledger, uid, known_run).await?,
    };
    let missed = missed::read(ledger, uid, shown, run.as_ref()).await?;
    let is_live = run.as_ref().is_some_and(RunView::is_live);
    let (events, events_at) = match before {
        Some(before) if is_live && now - known.events_at < EVENTS_MS => (before.events, known.events_at),
        _ => (view::counters(ledger, uid, EVENTS_RUN).await?, now),
    };
    let failures = known.failures.read(ledger, uid, run.as_ref(), has_room, now).await.map_err(ReadError::Request)?;
    let (division, unreadable_shares, shares_at) =
        shares(ledger, known, &settings).await.map_err(ReadError::Request)?;
    let (verification, report) = followed(ledger, uid, followups, run.as_ref().map(|run| &run.record)).await?;
    let view = LedgerView {
        run,
        missed,
        failures: failures.shown().clone(),
        heartbeats,
        old_heartbeats,
        unreadable_heartbeats: beats.unreadable,
        verification,
        report,
        events,
        division,
        unreadable_shares,
    };
    Ok(KnownRecords { view: Some(Arc::new(view)), failures, events_at, shares_at })
}

/// Returns the verification and the report of the last run, as far as they are requested and there.
async fn followed<R: LedgerRead<Error = ServiceError>>(
    ledger: &R,
    uid: &str,
    followups: FollowupSettings,
    last: Option<&RunRecord>,
) -> Result<(Option<VerificationRecord>, Option<ReportRecord>), ReadError> {
    let verification = match followups.verified(last) {
        Some(run) => view::verification(ledger, uid, &run.run).await?,
        None => None,
    };
    let report = match followups.reported(last) {
        Some(run) => view::report(ledger, uid, &run.run).await?,
        None => None,
    };
    Ok((verification, report))
}

/// Returns how the limits are divided, the shares that cannot be read, and when both were read.
async fn shares<R: LedgerRead<Error = ServiceError>>(
    ledger: &R,
    known: &KnownRecords,
    settings: &LookSettings<'_>,
) -> Result<(Option<Division>, Unreadable, i64), ServiceError> {
    let LookSettings { uid, shares: look, now, .. } = *settings;
    if look == SharesLook::Unlimited {
        return Ok((None, Unreadable::default(), 0));
    }
    let before = known.view.as_deref().and_then(|view| Some((view.division?, &view.unreadable_shares)));
    if let Some((division, unreadable)) = before {
        // Workers that have just started get their shares within seconds.
        let interval = if division.is_idle() { NO_SHARES_MS } else { SHARES_MS };
        if look == SharesLook::Keep || now - known.shares_at < interval {
            return Ok((Some(division), unreadable.clone(), known.shares_at));
        }
    }
    let shares = view::shares(ledger, uid, now).await?;
    Ok((Some(Division::of(&shares.records)), shares.unreadable, now))
}

/// Reads the counters of the live run, and nothing else. Returns the same records if no run is live.
pub async fn read_tally<R: LedgerRead<Error = ServiceError>>(
    ledger: &R,
    known: &KnownRecords,
    uid: &str,
) -> Result<KnownRecords, ReadError> {
    let live = known.view.as_ref().and_then(|view| Some((view, view.live()?)));
    let Some((view, RunView { record, .. })) = live else { return Ok(known.clone()) };
    let tally = Some(view::tally(ledger, uid, record).await?);
    let run = Some(RunView { record: record.clone(), tally });
    Ok(KnownRecords { view: Some(Arc::new(LedgerView { run, ..LedgerView::clone(view) })), ..known.clone() })
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
