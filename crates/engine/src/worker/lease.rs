//! Renews the lease of a message while its work makes progress.

use std::sync::atomic::{AtomicBool, Ordering};

use migration_core::lease::{LEASE, RENEW_EVERY, Renewal, renewal};
use migration_core::ports::Queue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::transfer::LastProgress;
use crate::{Process, Services};

/// Signals that a message's lease is lost, and why.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) token: CancellationToken,
    worn_out: AtomicBool,
}

impl Lost {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { token, worn_out: AtomicBool::new(false) }
    }

    /// Returns true if SQS will soon end the lease for good: the message has to be replaced by a new one.
    pub(super) fn is_worn_out(&self) -> bool {
        self.worn_out.load(Ordering::Relaxed)
    }
}

/// Renews the lease until this future is dropped. If the work stalls, or the lease cannot be extended much longer,
/// cancels `lost` and stops renewing.
pub(super) async fn keep<P: Services>(process: &Process<P>, receipt: &str, progress: &LastProgress, lost: &Lost) {
    let received = Instant::now();
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        match renewal(received.elapsed(), progress.idle(), process.is_waiting()) {
            Renewal::Extend => {
                // Bypasses the gate: a late renewal is worthless, and two may be missed.
                if let Err(error) = process.ports.queue.set_visibility(receipt, LEASE).await {
                    warn!(%error, "failed to renew a lease");
                }
            }
            what => {
                warn!(idle = ?progress.idle(), held = ?received.elapsed(), ?what, "interrupting the work of a message");
                lost.worn_out.store(what == Renewal::SendAnew, Ordering::Relaxed);
                lost.token.cancel();
                // The work notices `lost` and ends by returning the message.
                std::future::pending::<()>().await;
            }
        }
    }
}
