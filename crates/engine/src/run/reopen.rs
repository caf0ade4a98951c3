//! Requests the reopening of runs whose messages are lost: the scan is opened again, and the next jobsender finds out
//! which batches are missing.

use migration_core::ports::Ledger;
use migration_core::records::RunRecord;
use migration_core::reopen::{self, QuietInput};
use migration_ledger::{ReadError, WriteOutcome, view, write};

use super::RunError;
use super::look::last;

/// Requests that a run be reopened, on condition that its record is unchanged since it was read. If another writer was
/// first, the next check decides again. The coordinator then starts a jobsender, as for any open scan without one.
pub async fn ask<L: Ledger>(ledger: &L, job: &str, run: &RunRecord, now: i64) -> Result<WriteOutcome, RunError> {
    write::run(ledger, job, &reopen::ask(run, now), now).await.map_err(RunError::Write)
}

/// Requests that the last run be reopened if it has been quiet for `quiet_ms`; see [`is_quiet`](reopen::is_quiet).
/// `resumed` is the time at which a suspended job was resumed. Returns true if the request was written. Does not reopen
/// the run if a heartbeat cannot be read, because that worker may have work of the run in progress.
pub async fn ask_if_quiet<L: Ledger>(
    ledger: &L,
    job: &str,
    quiet_ms: i64,
    resumed: Option<i64>,
    now: i64,
) -> Result<bool, RunError> {
    let Some(view) = last(ledger, job, None).await? else { return Ok(false) };
    let Some(tally) = &view.tally else { return Ok(false) };
    let beats = view::all_heartbeats(ledger, job).await.map_err(ReadError::Request)?;
    let (heartbeats, has_unreadable) = (&beats.records[..], !beats.unreadable.is_none());
    let input = QuietInput { run: &view.record, tally, heartbeats, has_unreadable, resumed, quiet_ms, now };
    if !reopen::is_quiet(&input) {
        return Ok(false);
    }
    Ok(ask(ledger, job, &view.record, now).await? == WriteOutcome::Written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::ports::Item;
    use migration_core::records::{self, CurrentRun};
    use migration_testkit::MemoryLedger;
    use migration_testkit::samples::run_record;
    use serde_json::json;

    const DAY: i64 = 24 * 3_600 * 1_000;

    #[tokio::test]
    async fn a_quiet_run_is_reopened_unless_a_heartbeat_can_not_be_read() {
        let ledger = MemoryLedger::new();
        let look = async |now| ask_if_quiet(&ledger, "u", reopen::QUIET_MS, None, now).await;
        assert_eq!(look(0).await, Ok(false), "there never was one");
        let mut run = run_record(true);
        run.scan.counts.batches = 1;
        ledger.insert(Item::of(records::current_key("u"), &CurrentRun { run: "r".into(), revision: 1 }));
        ledger.insert(Item::of(records::run_key("u", "r"), &run));
        assert_eq!(look(6 * DAY).await, Ok(false));
        let beat = records::heartbeat_key("u", "w");
        ledger.insert(Item::of(beat.clone(), &json!({"name": 1})));
        assert_eq!(look(8 * DAY).await, Ok(false), "a worker may have its work in hand");
        ledger.remove(&beat);
        assert_eq!(look(8 * DAY).await, Ok(true));
        let asked = view::last_run(&ledger, "u").await.unwrap().unwrap();
        assert_eq!((asked.reopen, asked.revision, asked.scan.closed), (Some(8 * DAY), 2, false));
        assert_eq!(look(9 * DAY).await, Ok(false), "it is being reopened");
        assert_eq!(ask(&ledger, "u", &run, 9 * DAY).await, Ok(WriteOutcome::Lost));
    }
}
