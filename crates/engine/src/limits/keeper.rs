//! Gets this process's share of the limits of its job from the ledger, and renews it.

use std::time::Duration;

use migration_core::ports::{Clock, Ledger};
use migration_core::records::{Portions, share_partition};
use migration_core::shares::{Holder, Look, Outcome, Plan};
use migration_ledger::{Pager, WriteOutcome, write};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::{Limits, Times};

/// Time that each of the two requests of a renewal may take.
const REQUEST: Duration = Duration::from_millis(1_500);
/// Times that a process which ends tries to return its share.
const LAST_TRIES: u32 = 3;
/// Time that a process which ends waits for that.
const LAST_TIME: Duration = Duration::from_secs(3);

/// A share that a task keeps until this value is dropped.
pub struct Keeping {
    end: DropGuard,
    task: JoinHandle<()>,
}

impl Keeping {
    /// Returns the share, within 3 s.
    pub async fn end(self) {
        drop(self.end);
        // The task has no result, and a panic in it has already been printed.
        if timeout(LAST_TIME, self.task).await.is_err() {
            debug!("the ledger did not take the share of the limits back in time; others get it in half a minute");
        }
    }
}

/// Keeps the share of a process while it works.
///
/// A process that takes nothing has no share and sends no requests. Otherwise it reads the shares of all processes and
/// writes its own, about every 6 s. Not through the ledger's gate: a renewal that waits is worth nothing.
pub struct Keeper<L> {
    limits: Limits,
    ledger: L,
    job: String,
    times: Times,
    holder: Holder,
}

impl<L: Ledger> Keeper<L> {
    /// Creates the keeper of a process of a job. Returns `None` if nothing is limited.
    pub fn new(limits: &Limits, ledger: L, job: &str, name: &str) -> Option<Self> {
        let times = limits.pacers().next()?.times().clone();
        let draw = || format!("{:08x}", draw(times.clock.as_ref()));
        let holder = Holder::new(job, format!("{name}-{}{}", draw(), draw()));
        Some(Self { limits: limits.clone(), ledger, job: job.to_owned(), times, holder })
    }

    /// Does work while keeping the share, and returns its result after the share was returned.
    pub async fn during<T>(keeper: Option<Self>, work: impl Future<Output = T>) -> T {
        let keeping = keeper.map(Self::start);
        let done = work.await;
        if let Some(keeping) = keeping {
            keeping.end().await;
        }
        done
    }

    /// Keeps the share in a task.
    pub fn start(self) -> Keeping {
        let end = CancellationToken::new();
        let task = tokio::spawn(self.keep(end.clone()));
        Keeping { end: end.drop_guard(), task }
    }

    /// Keeps the share until `end` is cancelled, and returns it then.
    pub async fn keep(mut self, end: CancellationToken) {
        let mut wait = Duration::ZERO;
        loop {
            let is_over = if self.holder.has_record() {
                ended_within(&end, tokio::time::sleep(wait)).await
            } else {
                // Not more often than the wait says, even if something wants a share all the time.
                ended_within(&end, async { tokio::join!(tokio::time::sleep(wait), self.limits.wanted.notified()) })
                    .await
            };
            if is_over {
                return self.leave().await;
            }
            let need = self.limits.need();
            let outcome = self.round(need).await;
            wait = self.holder.wait(self.times.now().monotonic, outcome, need, self.times.clock.random());
        }
    }

    async fn leave(&mut self) {
        for _ in 0..LAST_TRIES {
            if !self.holder.has_record() {
                return;
            }
            self.round(Portions::default()).await;
        }
        debug!("the share of the limits was not returned; others get it in half a minute");
    }

    /// Looks at the shares and writes this process's own. Returns `None` if nothing was written.
    async fn round(&mut self, need: Portions) -> Option<Outcome> {
        let look = self.look().await;
        if let Some(look) = &look {
            self.holder.look(self.times.now().monotonic, look);
        }
        let sent = self.times.now();
        let plan = self.holder.plan(sent, look.as_ref(), need);
        self.limits.set(self.holder.usable());
        let plan = plan?;
        let outcome = self.write(&plan).await;
        self.holder.ended(&plan, sent, outcome);
        self.limits.set(self.holder.usable());
        Some(outcome)
    }

    async fn look(&self) -> Option<Look> {
        let mut pager = Pager::all(share_partition(&self.job), "");
        match timeout(REQUEST, pager.rest(&self.ledger)).await {
            Ok(Ok(items)) => {
                let look = Look::of(&self.job, &items);
                for error in look.unreadable() {
                    warn!(%error, "less than the limit may be used while a share or the pool can't be read");
                }
                Some(look)
            }
            Ok(Err(error)) => {
                warn!(%error, "failed to read the shares of the limits");
                None
            }
            Err(_) => {
                warn!("failed to read the shares of the limits: no answer from the ledger");
                None
            }
        }
    }

    async fn write(&self, plan: &Plan) -> Outcome {
        match timeout(REQUEST, write::all(&self.ledger, &plan.writes)).await {
            Ok(Ok(WriteOutcome::Written)) => Outcome::Written,
            Ok(Ok(WriteOutcome::Lost)) => Outcome::Lost,
            Ok(Err(error)) => {
                warn!(%error, "failed to write the share of the limits");
                Outcome::Unknown
            }
            Err(_) => {
                warn!("failed to write the share of the limits: no answer from the ledger");
                Outcome::Unknown
            }
        }
    }
}

/// Waits for something, and returns true if the end came first.
async fn ended_within<T>(end: &CancellationToken, other: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        () = end.cancelled() => true,
        _ = other => false,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a random number is from 0 to below 1")]
fn draw(clock: &dyn Clock) -> u32 {
    (clock.random() * f64::from(u32::MAX)) as u32
}
