//! Reads the last run of a job, for its coordinator.

use migration_core::progress::{RunProgress, Tally, progress};
use migration_core::records::RunRecord;
use migration_ledger::{LedgerRead, ReadError, view};

/// A run and the totals of its batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// The run.
    pub record: RunRecord,
    /// Totals of its batches; `None` if they were not read.
    pub tally: Option<Tally>,
}

impl RunView {
    /// Returns true if the run has not ended.
    pub fn is_live(&self) -> bool {
        self.record.end.is_none()
    }

    /// Returns the progress of the run, or `None` if its batches were not read.
    pub fn progress(&self) -> Option<RunProgress> {
        self.tally.as_ref().map(|tally| progress(&self.record, tally))
    }
}

/// Reads the run that was live when it was read before, with one request less than [`last`]: no other run is the last
/// one while it is. If it has ended since, reads the last run.
pub async fn again<R: LedgerRead>(
    ledger: &R,
    job: &str,
    live: &str,
    known: Option<&str>,
) -> Result<Option<RunView>, ReadError<R::Error>> {
    match view::run(ledger, job, live).await? {
        Some(record) if record.end.is_none() => {
            let tally = Some(view::tally(ledger, job, &record).await?);
            Ok(Some(RunView { record, tally }))
        }
        Some(_) | None => last(ledger, job, known).await,
    }
}

/// Reads the last run. Returns `None` if there has never been a run. Does not read the batches of the run with ID
/// `known` once it has ended, because their totals no longer change.
pub async fn last<R: LedgerRead>(
    ledger: &R,
    job: &str,
    known: Option<&str>,
) -> Result<Option<RunView>, ReadError<R::Error>> {
    let Some(record) = view::last_run(ledger, job).await? else { return Ok(None) };
    let is_known = record.end.is_some() && known == Some(record.run.as_str());
    let tally = if is_known { None } else { Some(view::tally(ledger, job, &record).await?) };
    Ok(Some(RunView { record, tally }))
}
