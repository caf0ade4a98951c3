//! Reads the runs that ended before the status could say so: the ledger already names the next one as the last.
//!
//! That happens if the status could not be written after a run's end, or the operator ended then, while a CronJob starts
//! the next run.

use migration_api::status::MigrationJobStatus;
use migration_core::error::ServiceError;
use migration_core::records::{self, FailureRecord, RUN_PREFIX, RunRecord};
use migration_engine::run::look::RunView;
use migration_ledger::{LedgerRead, Pager, ReadError, Readable, view};
use tracing::warn;

use super::{FAILURES, LedgerView};

/// The most runs that are read, the last ones: the status lists no more.
const MOST: usize = 10;

/// The runs that the status shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownRuns<'a> {
    /// The last one that it shows as ended.
    last: Option<&'a str>,
    /// The one that it shows as live.
    live: Option<&'a str>,
}

impl<'a> ShownRuns<'a> {
    /// Returns what a status shows.
    pub fn of(status: Option<&'a MigrationJobStatus>) -> Self {
        let last = status.and_then(|status| status.last_run.as_ref()).map(|run| run.id.as_str());
        Self { last, live: status.and_then(|status| status.current_run.as_deref()) }
    }

    fn has(&self, run: &str) -> bool {
        self.last == Some(run) || self.live == Some(run)
    }
}

/// A run that ended and is not the last one any more.
#[derive(Clone, Debug)]
pub struct MissedRun {
    run: RunView,
    /// Its first failures.
    failures: Readable<FailureRecord>,
}

/// Reads the runs that ended after those that are shown, the oldest first. Sends nothing while `last`, the last run that
/// was taken, is one that is shown; else one query, and what [`view::tally`] and [`view::failures`] send for each run.
pub async fn read<R: LedgerRead<Error = ServiceError>>(
    ledger: &R,
    uid: &str,
    shown: ShownRuns<'_>,
    last: Option<&RunView>,
) -> Result<Vec<MissedRun>, ReadError<ServiceError>> {
    let Some(last) = last.filter(|run| !shown.has(&run.record.run)) else { return Ok(Vec::new()) };
    // Runs sort by start.
    let after = shown.last.map(|run| records::run_key(uid, run).sort);
    let mut pager = Pager::all(records::job_partition(uid), RUN_PREFIX).after(after);
    let items = pager.rest(ledger).await.map_err(ReadError::Request)?;
    let mut ended = Readable::<RunRecord>::of(&items).records;
    ended.retain(|record| record.end.is_some() && record.run != last.record.run);
    ended.drain(..ended.len().saturating_sub(MOST));
    let mut missed = Vec::new();
    for record in ended {
        let tally = match view::tally(ledger, uid, &record).await {
            Ok(tally) => tally,
            // It holds up nothing: the run is over.
            Err(ReadError::Record(error)) => {
                warn!(run = record.run, %error, "left out a run of the history whose counters cannot be read");
                continue;
            }
            Err(error) => return Err(error),
        };
        let run = RunView { record, tally: Some(tally) };
        let failures = match run.progress() {
            Some(progress) if progress.failed > 0 => {
                view::failures(ledger, uid, &run.record, FAILURES).await.map_err(ReadError::Request)?
            }
            _ => Readable::default(),
        };
        missed.push(MissedRun { run, failures });
    }
    Ok(missed)
}

impl LedgerView {
    /// Returns the records as they were when the first run had ended that is not shown; none if there is no such run.
    pub fn at_missed_end(&self, shown: ShownRuns<'_>) -> Option<Self> {
        let is_next = |missed: &&MissedRun| shown.last.is_none_or(|last| missed.run.record.run.as_str() > last);
        let MissedRun { run, failures } = self.missed.iter().find(is_next)?.clone();
        Some(Self { run: Some(run), failures, verification: None, report: None, ..self.clone() })
    }
}
