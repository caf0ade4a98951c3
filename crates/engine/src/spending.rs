//! Records what this process sends for a run, so that the run's cost is known while it goes on.
//!
//! Whatever was sent between two looks belongs to the run that was worked for in between: the newest one, where there
//! were several. What is sent while no run is worked for, such as the requests of an idle worker or those for events,
//! belongs to none and is not recorded.

use std::collections::BTreeSet;
use std::time::Duration;

use migration_core::message::EVENTS_RUN;
use migration_core::ports::Ledger;
use migration_core::records::{HEARTBEAT_EVERY_MS, Spending, SpendingRecord};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::log_context::{LogContext, within_sync};
use crate::{Process, Services};

/// Shortest time between two records while there is work: that of heartbeats, so that this costs what they cost.
const RECORD_EVERY: Duration = Duration::from_millis(HEARTBEAT_EVERY_MS.unsigned_abs());
/// Time that a record may take. Heartbeats wait meanwhile.
const REQUEST: Duration = Duration::from_millis(1_500);

/// When a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Once [`RECORD_EVERY`] has passed since the last one.
    InTime,
    /// Now, if anything was sent: the process holds no message, and may do so for long.
    Now,
}

/// What this process sent, by run. Used by one task.
#[derive(Debug, Default)]
pub(crate) struct Spender {
    /// The counters at the last look.
    before: Spending,
    account: Option<Account>,
    /// Of runs before that one, until all of it is recorded: the cost of a run must not lack what could not be recorded
    /// just when the next one began.
    former: Vec<Account>,
}

/// What was sent for one run.
#[derive(Debug)]
struct Account {
    run: String,
    /// Tells this record from those of others by the same name.
    token: String,
    spent: Spending,
    /// What of it is in the ledger.
    recorded: Spending,
    recorded_at: Option<Instant>,
}

impl Account {
    fn new(run: &str, token: String) -> Self {
        let nothing = Spending::default();
        Self { run: run.to_owned(), token, spent: nothing, recorded: nothing, recorded_at: None }
    }

    fn is_recorded(&self) -> bool {
        self.spent == self.recorded
    }

    fn is_due(&self, due: Due) -> bool {
        let is_time = self.recorded_at.is_none_or(|at| at.elapsed() >= RECORD_EVERY);
        !self.is_recorded() && (due == Due::Now || is_time)
    }
}

impl Spender {
    /// Adds what was sent since the last look, and records what is due. A failure is only logged, since the next record
    /// of that run has it all.
    pub(crate) async fn look<P: Services>(&mut self, process: &Process<P>, due: Due) {
        let seen = process.runtime.activity.take_runs();
        self.add(process.runtime.telemetry.spent(), &seen, || token(process));
        for account in self.account.iter_mut().chain(&mut self.former).filter(|account| account.is_due(due)) {
            // Also if it fails: what costs too much is not tried more often.
            account.recorded_at = Some(Instant::now());
            if record(process, account).await {
                account.recorded = account.spent;
            }
        }
        self.former.retain(|account| !account.is_recorded());
    }

    /// Adds what was sent since the last look to the account of the run that it belongs to.
    fn add(&mut self, now: Spending, seen: &BTreeSet<String>, token: impl FnOnce() -> String) {
        let sent = now.since(&self.before);
        self.before = now;
        let Some(run) = newest(seen).filter(|_| sent != Spending::default()) else { return };
        if self.account.as_ref().is_none_or(|account| account.run != run) {
            let known = self.former.iter().position(|account| account.run == run);
            let known = known.map(|place| self.former.swap_remove(place));
            let before = self.account.replace(known.unwrap_or_else(|| Account::new(run, token())));
            // It is due at once: nothing is added to it.
            let before = before.filter(|account| !account.is_recorded());
            self.former.extend(before.map(|account| Account { recorded_at: None, ..account }));
        }
        if let Some(account) = &mut self.account {
            account.spent.add(&sent);
        }
    }
}

/// Returns the newest run, by its ID.
fn newest(seen: &BTreeSet<String>) -> Option<&str> {
    seen.iter().rev().map(String::as_str).find(|run| *run != EVENTS_RUN)
}

/// Returns a text that no other process of this name has: the time, and a random number in case the clock was set back.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a random number is from 0 to below 1")]
fn token<P: Services>(process: &Process<P>) -> String {
    let clock = &process.runtime.clock;
    format!("{:x}-{:08x}", clock.now(), (clock.random() * f64::from(u32::MAX)) as u32)
}

/// Writes a record, not through the ledger's gate: the next one is more current than a late one. Returns true if it is
/// known to be written.
async fn record<P: Services>(process: &Process<P>, Account { run, token, spent, .. }: &Account) -> bool {
    let (name, at) = (process.runtime.name.clone(), process.runtime.clock.now());
    let writes = [SpendingRecord { name, at, spent: *spent }.write(&process.config.job.uid, run, token)];
    let error = match timeout(REQUEST, process.ports.ledger.write(&writes)).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer from the ledger".to_owned(),
    };
    within_sync(LogContext::run(run), || warn!(%error, "failed to record what the process sent for a run"));
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(reads: u64) -> Spending {
        Spending { source_reads: reads, ..Spending::default() }
    }

    fn shown(account: &Account) -> (&str, &str, u64) {
        (&account.run, &account.token, account.spent.source_reads)
    }

    fn runs(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_sent_belongs_to_the_newest_run_that_was_worked_for() {
        let mut spender = Spender::default();
        let mut tokens = 0..;
        // Whether all was recorded before; then the account, and those of former runs that are not recorded.
        for (recorded, total, seen, expected, left) in [
            (false, 5, &[][..], None, &[][..]),
            (false, 7, &["r1"], Some(("r1", "0", 2)), &[]),
            (false, 7, &["r2"], Some(("r1", "0", 2)), &[]),
            (false, 8, &["events"], Some(("r1", "0", 2)), &[]),
            (false, 10, &["events", "r1"], Some(("r1", "0", 4)), &[]),
            (false, 13, &["r1", "r2"], Some(("r2", "1", 3)), &[("r1", "0", 4)]),
            (false, 14, &[], Some(("r2", "1", 3)), &[("r1", "0", 4)]),
            // It is not recorded yet, so that its record can take more.
            (false, 16, &["r1"], Some(("r1", "0", 6)), &[("r2", "1", 3)]),
            (false, 17, &["r3"], Some(("r3", "2", 1)), &[("r2", "1", 3), ("r1", "0", 6)]),
            // An account that is opened again has another record.
            (true, 19, &["r1"], Some(("r1", "3", 2)), &[]),
        ] {
            if recorded {
                spender.former.clear();
                let account = spender.account.as_mut().unwrap();
                account.recorded = account.spent;
            }
            let token = || tokens.next().unwrap_or_default().to_string();
            spender.add(sent(total), &runs(seen), token);
            let account = spender.account.as_ref().map(shown);
            let former: Vec<_> = spender.former.iter().map(shown).collect();
            assert_eq!((account, former.as_slice()), (expected, left), "{total} {seen:?}");
            assert!(spender.former.iter().all(|account| account.is_due(Due::InTime)), "{total} {seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_as_rare_as_heartbeats_unless_the_process_is_idle() {
        let mut account = Account { spent: sent(1), ..Account::new("r", "t".into()) };
        assert!(account.is_due(Due::InTime), "the first one");
        account.recorded_at = Some(Instant::now());
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert_eq!((account.is_due(Due::InTime), account.is_due(Due::Now)), (false, true));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(account.is_due(Due::InTime));
        account.recorded = account.spent;
        assert!(!account.is_due(Due::Now), "nothing new");
    }
}
