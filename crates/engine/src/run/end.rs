//! Decides when a run is over, and writes its end.

use migration_core::ports::Ledger;
use migration_core::progress::{self, Tally};
use migration_core::records::{RunEnd, RunRecord, RunResult};
use migration_ledger::{WriteOutcome, write};

use super::RunError;
use super::look::last;

/// The state of a live run's scan, as far as it is known outside the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanState<'a> {
    /// A jobsender is running, or the next one continues the scan.
    #[default]
    Possible,
    /// The scan failed permanently, with this message. No jobsender continues it.
    Failed(&'a str),
}

/// Conditions other than the last batch that end a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms<'a> {
    /// State of the scan.
    pub scan: ScanState<'a>,
    /// Maximum duration of a run from its start, in milliseconds; `None` for no limit.
    pub deadline_ms: Option<i64>,
}

/// Decides whether a live run is over at `now`, in milliseconds since 1970, and with which result.
///
/// | run | end |
/// |---|---|
/// | has ended | none: the recorded end remains |
/// | scan closed and all batches ended | as [`progress::end_of_run`] |
/// | scan open and permanently failed | failed, with the message of the scan |
/// | deadline passed | failed, as [`progress::end_at_deadline`] |
/// | otherwise | none |
pub fn end(run: &RunRecord, tally: &Tally, terms: Terms<'_>, now: i64) -> Option<RunEnd> {
    if run.end.is_some() {
        return None;
    }
    if let Some(end) = progress::end_of_run(run, tally, now) {
        return Some(end);
    }
    if let ScanState::Failed(words) = terms.scan
        && !run.scan.closed
    {
        return Some(RunEnd { at: now, result: RunResult::Failed, message: Some(words.to_owned()), cause: None });
    }
    progress::end_at_deadline(run, tally, terms.deadline_ms?, now)
}

/// Writes the end of a run, on condition that the record is unchanged since it was read. If another writer was first,
/// the next check decides again.
pub async fn write_end<L: Ledger>(
    ledger: &L,
    job: &str,
    run: &RunRecord,
    end: RunEnd,
    now: i64,
) -> Result<WriteOutcome, RunError> {
    let ended = RunRecord { end: Some(end), revision: run.revision + 1, ..run.clone() };
    write::run(ledger, job, &ended, now).await.map_err(RunError::Write)
}

/// Reads the last run and ends it if it is over. Returns its end, also if it had ended before. Returns `None` if it is
/// not over, if there has never been a run, or if another writer was first.
pub async fn end_if_over<L: Ledger>(
    ledger: &L,
    job: &str,
    terms: Terms<'_>,
    now: i64,
) -> Result<Option<RunEnd>, RunError> {
    let Some(view) = last(ledger, job, None).await? else { return Ok(None) };
    if view.record.end.is_some() {
        return Ok(view.record.end);
    }
    let Some(end) = view.tally.and_then(|tally| end(&view.record, &tally, terms, now)) else { return Ok(None) };
    let written = write_end(ledger, job, &view.record, end.clone(), now).await?;
    Ok((written == WriteOutcome::Written).then_some(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::ErrorClass;
    use migration_core::ports::Item;
    use migration_core::records::{self, CurrentRun, RunEndCause, ScanCounts};
    use migration_testkit::MemoryLedger;
    use migration_testkit::samples::run_record;

    const FAILED: Terms<'_> = Terms { scan: ScanState::Failed("ScanFailed: no such bucket"), deadline_ms: None };

    fn run(closed: bool) -> RunRecord {
        RunRecord { started: 1_000, ..run_record(closed) }
    }

    #[test]
    fn a_run_ends_as_the_table_says() {
        let none = Tally::default();
        let by =
            |run: &RunRecord, terms, now| end(run, &none, terms, now).map(|end| (end.result, end.message, end.cause));
        let words = Some("ScanFailed: no such bucket".to_owned());
        assert_eq!(by(&run(false), FAILED, 5), Some((RunResult::Failed, words, None)));
        assert_eq!(by(&run(false), Terms::default(), 5), None, "another sender goes on");
        assert_eq!(by(&run(true), FAILED, 5), Some((RunResult::Complete, None, None)), "it was closed before");
        let mut lacking = run(true);
        lacking.scan.counts = ScanCounts { batches: 1, objects: 1, ..ScanCounts::default() };
        assert_eq!(by(&lacking, FAILED, 5), None, "its batches still end");
        let late = Terms { deadline_ms: Some(4_000), ..Terms::default() };
        assert_eq!(by(&lacking, late, 4_999), None);
        let ended = by(&lacking, late, 5_000).unwrap();
        assert_eq!((ended.0, ended.2), (RunResult::Failed, Some(RunEndCause::Deadline)));
        lacking.end = Some(RunEnd { at: 1, result: RunResult::Complete, message: None, cause: None });
        assert_eq!(by(&lacking, late, 9_000), None, "it has ended");
    }

    #[tokio::test]
    async fn a_run_that_is_over_is_ended_once() {
        let ledger = MemoryLedger::new();
        let look = async |now| end_if_over(&ledger, "u", Terms::default(), now).await;
        assert_eq!(look(1).await, Ok(None), "there never was one");
        ledger.insert(Item::of(records::current_key("u"), &CurrentRun { run: "r".into(), revision: 1 }));
        ledger.insert(Item::of(records::run_key("u", "r"), &run(false)));
        assert_eq!(look(2_000).await, Ok(None));
        ledger.insert(Item::of(records::run_key("u", "r"), &run(true)));
        let ended = look(3_000).await.unwrap().unwrap();
        assert_eq!((ended.at, ended.result), (3_000, RunResult::Complete));
        assert_eq!(look(4_000).await, Ok(Some(ended.clone())), "that end stands");
        let lost = write_end(&ledger, "u", &run(true), ended, 5_000).await;
        assert_eq!(lost, Ok(WriteOutcome::Lost), "the record that it was decided by is not there any more");
        ledger.denials().deny_all(ErrorClass::Throttled, "ThrottlingException");
        assert!(matches!(look(5_000).await, Err(RunError::Read(_))));
    }
}
