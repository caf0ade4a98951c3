//! Reads the first failures of a run. Each pair of buckets has a partition of its own, and there may be 50 pairs.

use migration_core::error::ServiceError;
use migration_core::records::{FailureRecord, RunRecord};
use migration_engine::run::look::RunView;
use migration_ledger::{LedgerRead, Readable, view};

use super::FAILURES;

/// The most pairs that are read in one look while a run is live.
const PAIRS: u32 = 2;
/// The interval at which the pairs of a live run are read, in milliseconds.
const INTERVAL_MS: i64 = 60_000;

/// The first failures of a run, as far as they were read.
///
/// | run | failures counted | read |
/// |---|---|---|
/// | none, or its numbers are final | | nothing |
/// | ended | none | nothing |
/// | ended | some | all pairs, once |
/// | live | as many as when all pairs were read | nothing |
/// | live | others | two pairs a minute, if there is room; what was read before is shown until all are read again |
#[derive(Clone, Debug, Default)]
pub struct KnownFailures {
    run: String,
    shown: Readable<FailureRecord>,
    /// Failures that were counted when the pairs were read from the first one.
    counted: u64,
    /// The failures of the pairs that were read this time.
    found: Readable<FailureRecord>,
    /// The pair to read next.
    next: u32,
    read_at: Option<i64>,
}

impl KnownFailures {
    /// Returns the failures to show.
    pub fn shown(&self) -> &Readable<FailureRecord> {
        &self.shown
    }

    /// Reads what is to be read of a run.
    pub async fn read<R: LedgerRead<Error = ServiceError>>(
        &self,
        ledger: &R,
        uid: &str,
        run: Option<&RunView>,
        has_room: bool,
        now: i64,
    ) -> Result<Self, ServiceError> {
        let Some((record, progress)) = run.and_then(|run| Some((&run.record, run.progress()?))) else {
            return Ok(Self::default());
        };
        let before = if self.run == record.run { self.clone() } else { Self::of(record) };
        if progress.failed == 0 {
            return Ok(Self::of(record));
        }
        if record.end.is_some() {
            let shown = view::failures(ledger, uid, record, FAILURES).await?;
            return Ok(Self { shown, ..before });
        }
        let is_due = before.read_at.is_none_or(|at| now - at >= INTERVAL_MS);
        if !has_room || !is_due || (before.next == 0 && before.counted == progress.failed) {
            return Ok(before);
        }
        before.read_on(ledger, uid, record, progress.failed, now).await
    }

    fn of(record: &RunRecord) -> Self {
        Self { run: record.run.clone(), ..Self::default() }
    }

    /// Reads the next pairs.
    async fn read_on<R: LedgerRead<Error = ServiceError>>(
        self,
        ledger: &R,
        uid: &str,
        record: &RunRecord,
        counted: u64,
        now: i64,
    ) -> Result<Self, ServiceError> {
        let all = u32::try_from(record.pairs.len()).unwrap_or(u32::MAX);
        let (counted, mut found) =
            if self.next == 0 { (counted, Readable::default()) } else { (self.counted, self.found) };
        let end = self.next.saturating_add(PAIRS).min(all);
        let read = view::failures_of(ledger, uid, record, self.next..end, FAILURES).await?;
        found.records.extend(read.records);
        found.records.truncate(usize::try_from(FAILURES).unwrap_or(usize::MAX));
        found.unreadable.merge(read.unreadable);
        let is_whole = end == all || found.records.len() >= usize::try_from(FAILURES).unwrap_or(usize::MAX);
        // Some are better than none while the first reading goes on.
        let shown = if is_whole || self.shown.records.len() < found.records.len() { found.clone() } else { self.shown };
        let next = if is_whole { 0 } else { end };
        Ok(Self { run: self.run, shown, counted, found, next, read_at: Some(now) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::dereference::ledger::Counted;
    use crate::job_controller::runs::lifecycle::tests::run;
    use migration_core::outcome::FailureClass;
    use migration_core::ports::Ledger;
    use migration_core::progress::Tally;
    use migration_core::records::{self, Counters, EndCounts, RunResult};
    use migration_testkit::MemoryLedger;
    use migration_testkit::samples::bucket_pair;

    const UID: &str = "u-1";
    const MINUTE: i64 = 60_000;

    /// A run of fifty pairs with failures.
    fn view(failed: u64, ended: Option<RunResult>) -> RunView {
        let mut record = run(true, ended);
        record.pairs = (0..50).map(|n| bucket_pair(&format!("bucket-{n}"))).collect();
        let counts = EndCounts { failed, ..EndCounts::default() };
        let tally = Tally { ended: Counters { counts, ..Counters::default() }, ..Tally::default() };
        RunView { record, tally: Some(tally) }
    }

    async fn fail(ledger: &MemoryLedger, pair: u32, key: &str) {
        let failure = FailureRecord {
            pair,
            key: key.into(),
            size: 1,
            class: FailureClass::Refused,
            message: "no".into(),
            batch: None,
            attempts: 1,
            request_ids: vec![],
            at: 0,
        };
        ledger.write(&[records::failure_write(UID, "r1", &failure)]).await.unwrap();
    }

    /// Reads, and returns the number of requests.
    async fn read(known: &mut KnownFailures, ledger: &MemoryLedger, run: &RunView, room: bool, now: i64) -> usize {
        let counted = Counted::new(ledger);
        *known = known.read(&counted, UID, Some(run), room, now).await.unwrap();
        counted.reads()
    }

    #[tokio::test]
    async fn a_look_at_a_live_run_of_fifty_pairs_sends_few_queries_for_failures() {
        let ledger = MemoryLedger::new();
        fail(&ledger, 49, "last").await;
        let (mut known, run) = (KnownFailures::default(), view(1, None));
        assert_eq!(read(&mut known, &ledger, &view(0, None), true, 0).await, 0, "nothing failed");
        assert_eq!(read(&mut known, &ledger, &run, false, 0).await, 0, "no room");
        for look in 0..25 {
            assert!(known.shown().records.is_empty());
            assert_eq!(read(&mut known, &ledger, &run, true, look * MINUTE).await, 2);
            assert_eq!(read(&mut known, &ledger, &run, true, look * MINUTE + 1).await, 0, "once a minute");
        }
        assert_eq!(known.shown().records[0].key, "last");
        assert_eq!(read(&mut known, &ledger, &run, true, 26 * MINUTE).await, 0, "the number has not changed");
        fail(&ledger, 0, "first").await;
        assert_eq!(read(&mut known, &ledger, &view(2, None), true, 27 * MINUTE).await, 2);
        assert_eq!(known.shown().records[0].key, "last", "shown until all are read again");
    }

    #[tokio::test]
    async fn all_failures_are_read_once_when_the_run_has_ended() {
        let ledger = MemoryLedger::new();
        fail(&ledger, 3, "a").await;
        let mut known = KnownFailures::default();
        let ended = view(1, Some(RunResult::PartiallyFailed));
        assert_eq!(read(&mut known, &ledger, &ended, false, 0).await, 50);
        assert_eq!(known.shown().records.len(), 1);
        let final_numbers = RunView { tally: None, ..ended };
        assert_eq!(read(&mut known, &ledger, &final_numbers, true, 1).await, 0);
        assert_eq!(read(&mut known, &ledger, &view(0, Some(RunResult::Complete)), true, 1).await, 0);
    }
}
