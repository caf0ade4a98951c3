//! Conditional writes.

use migration_core::error::ServiceError;
use migration_core::ports::{Condition, Item, Ledger, Write, WriteError};
use migration_core::records::{self, RETENTION_MS, RunRecord};

/// Result of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The write was done.
    Written,
    /// The condition did not hold: another writer was first. This may have been an earlier attempt of the same request
    /// whose response was lost.
    Lost,
}

/// Performs all writes, or none if a condition does not hold.
pub async fn all<L: Ledger>(ledger: &L, writes: &[Write]) -> Result<WriteOutcome, ServiceError> {
    match ledger.write(writes).await {
        Ok(()) => Ok(WriteOutcome::Written),
        Err(WriteError::Condition(_)) => Ok(WriteOutcome::Lost),
        Err(WriteError::Service(error)) => Err(error),
    }
}

/// Performs all writes, or none if conditions do not hold; returns the indices of those whose conditions do not hold, or
/// none if the writes were done. If the service does not tell which they are, all are returned.
pub async fn or_failed<L: Ledger>(ledger: &L, writes: &[Write]) -> Result<Vec<usize>, ServiceError> {
    match ledger.write(writes).await {
        Ok(()) => Ok(Vec::new()),
        Err(WriteError::Condition(places)) if places.is_empty() => Ok((0..writes.len()).collect()),
        Err(WriteError::Condition(places)) => Ok(places),
        Err(WriteError::Service(error)) => Err(error),
    }
}

/// Replaces the record of a run that has the previous revision. The record of an ended run expires [`RETENTION_MS`]
/// after `now`, in milliseconds since 1970; that of a live run does not expire.
pub async fn run<L: Ledger>(ledger: &L, job: &str, run: &RunRecord, now: i64) -> Result<WriteOutcome, ServiceError> {
    let item = Item::of(records::run_key(job, &run.run), run);
    let item = if run.end.is_some() { item.expiring(now + RETENTION_MS) } else { item };
    all(ledger, &[Write::Put { item, condition: Condition::Revision(run.revision.saturating_sub(1)) }]).await
}

#[cfg(test)]
mod tests {
    use migration_core::records::{RunEnd, RunResult};
    use migration_testkit::MemoryLedger;
    use migration_testkit::samples::run_record;

    use super::*;

    #[tokio::test]
    async fn a_run_is_written_over_the_revision_before_it_only() {
        let ledger = MemoryLedger::new();
        let first = run_record(true);
        let key = records::run_key("u", "r");
        let put = Write::Put { item: Item::of(key.clone(), &first), condition: Condition::Absent };
        assert_eq!(all(&ledger, std::slice::from_ref(&put)).await, Ok(WriteOutcome::Written));
        assert_eq!(all(&ledger, &[put]).await, Ok(WriteOutcome::Lost));
        let live = RunRecord { revision: 2, ..first.clone() };
        assert_eq!(run(&ledger, "u", &live, 5_000).await, Ok(WriteOutcome::Written));
        assert_eq!(run(&ledger, "u", &live, 5_000).await, Ok(WriteOutcome::Lost), "another writer was first");
        assert_eq!(ledger.get(&key).await.unwrap().unwrap().expires_at, None);
        let end = RunEnd { at: 5_000, result: RunResult::Complete, message: None, cause: None };
        let ended = RunRecord { revision: 3, end: Some(end), ..first };
        assert_eq!(run(&ledger, "u", &ended, 5_000).await, Ok(WriteOutcome::Written));
        assert_eq!(ledger.get(&key).await.unwrap().unwrap().expires_at, Some((5_000 + RETENTION_MS) / 1_000));
    }
}
