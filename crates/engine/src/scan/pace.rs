//! Bounds how far a jobsender runs ahead of the workers: it waits after a number of batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use migration_core::backpressure::{self, LEAST_BACKLOG, Told, Wait, allowance};
use migration_core::progress::progress;
use migration_core::records::RunRecord;
use migration_ledger::view;
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{Process, Services};

/// Batches of a run sent so far, and the number allowed.
pub(super) struct Pace {
    sent: AtomicU64,
    allowed: AtomicU64,
    more: Notify,
    /// The wait that the log has told of.
    wait: Mutex<Option<Wait>>,
}

impl Pace {
    /// Creates the pace of a run that has sent this many batches before.
    pub(super) fn new(sent: u64, is_bounded: bool) -> Self {
        let allowed = if is_bounded { sent + LEAST_BACKLOG / 2 } else { u64::MAX };
        Self {
            sent: AtomicU64::new(sent),
            allowed: AtomicU64::new(allowed),
            more: Notify::new(),
            wait: Mutex::default(),
        }
    }

    /// Records that a batch was sent.
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns true if all allowed batches were sent.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent.load(Ordering::Relaxed) >= self.allowed.load(Ordering::Relaxed)
    }

    /// Waits until more batches may be sent.
    pub(super) async fn wait(&self) {
        loop {
            let mut more = std::pin::pin!(self.more.notified());
            // No notification is missed from here on.
            more.as_mut().enable();
            if !self.is_waiting() {
                return;
            }
            more.await;
        }
    }

    /// Updates the number of allowed batches from the workers' progress, if it may be needed soon.
    pub(super) async fn look<P: Services>(&self, process: &Process<P>, run: &RunRecord) {
        let Some(seconds) = process.config.backlog_seconds else { return };
        let (sent, allowed) = (self.sent.load(Ordering::Relaxed), self.allowed.load(Ordering::Relaxed));
        let at = process.runtime.clock.now();
        if sent + LEAST_BACKLOG / 2 < allowed {
            return self.tell(sent, allowed, allowed, at);
        }
        let tally = match view::tally(&process.ports.ledger, &process.config.job.uid, run).await {
            Ok(tally) => tally,
            Err(error) => return warn!(%error, "failed to read the backlog; retrying soon"),
        };
        // A remainder is sent by its worker, so its batch still counts as open.
        let open = progress(run, &tally).open_batches;
        let ended = run.scan.counts.batches.saturating_sub(open);
        let now = allowance(ended, at - run.started, seconds);
        if now > allowed {
            self.allowed.store(now, Ordering::Relaxed);
            self.more.notify_waiters();
        }
        self.tell(sent, allowed, now.max(allowed), at);
    }

    /// Tells the log of the wait for the workers, as far as it is due: `before` batches were allowed so far, and `allowed`
    /// are now.
    fn tell(&self, sent: u64, before: u64, allowed: u64, now: i64) {
        let told = {
            // A poisoned lock is used as it is: the wait is replaced as a whole.
            let mut wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
            let is_waiting = backpressure::is_waiting(wait.is_some(), sent, before, allowed);
            let (next, told) = backpressure::tell(*wait, is_waiting, now);
            *wait = next;
            told
        };
        let time = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or_default());
        match told {
            Some(Told::Began) => info!(sent, "the scan is waiting for the workers"),
            Some(Told::Continues { waited_ms }) => {
                info!(sent, waited = ?time(waited_ms), "the scan is still waiting for the workers");
            }
            Some(Told::Ended { waited_ms }) => {
                info!(sent, waited = ?time(waited_ms), "the scan is no longer waiting for the workers");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sender_waits_when_it_has_sent_what_it_may() {
        let pace = Pace::new(5, true);
        for _ in 0..LEAST_BACKLOG / 2 {
            assert!(!pace.is_waiting());
            pace.sent();
        }
        assert!(pace.is_waiting());
        let second = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(second, pace.wait()).await.is_err());
        pace.allowed.store(LEAST_BACKLOG, Ordering::Relaxed);
        pace.wait().await;
        assert!(!Pace::new(u64::MAX - 1, false).is_waiting());
    }
}
