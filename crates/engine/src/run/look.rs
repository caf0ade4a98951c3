//! The last run of a job, as its coordinator sees it.

use migration_core::progress::{RunProgress, Tally, progress};
use migration_core::records::RunRecord;
use migration_ledger::{LedgerRead, ReadError, view};

/// A run and its batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// The run.
    pub record: RunRecord,
    /// Its batches; none where they were not asked for.
    pub tally: Option<Tally>,
}

impl RunView {
    /// Whether the run is not over.
    pub fn is_live(&self) -> bool {
        self.record.end.is_none()
    }

    /// How far the run is; none where its batches were not asked for.
    pub fn progress(&self) -> Option<RunProgress> {
        self.tally.as_ref().map(|tally| progress(&self.record, tally))
    }
}

/// Reads the last run that was taken; none where no run ever was. The batches of the run `known` are not read once it has
/// ended: their sums don't change any more.
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
