//! Keeps a message from others while its work moves.

use std::sync::atomic::{AtomicBool, Ordering};

use migration_core::lease::{LEASE, RENEW_EVERY, Renewal, renewal};
use migration_core::ports::Queue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::transfer::Progress;
use crate::{Process, Services};

/// Whether a message's lease is lost, and why.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) token: CancellationToken,
    worn_out: AtomicBool,
}

impl Lost {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { token, worn_out: AtomicBool::new(false) }
    }

    /// Because SQS soon ends it for good: the message has to go on as a new one.
    pub(super) fn is_worn_out(&self) -> bool {
        self.worn_out.load(Ordering::Relaxed)
    }
}

/// Renews the lease until this future is dropped. When the work hangs, or the lease can't be renewed for much longer,
/// cancels `lost` and renews no more.
pub(super) async fn keep<P: Services>(process: &Process<P>, receipt: &str, progress: &Progress, lost: &Lost) {
    let received = Instant::now();
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        match renewal(received.elapsed(), progress.idle(), process.is_waiting()) {
            Renewal::Extend => {
                // Not through the gate: a renewal that is late is worth nothing, and two may be missed.
                if let Err(error) = process.ports.queue.set_visibility(receipt, LEASE).await {
                    warn!(%error, "a lease was not renewed");
                }
            }
            what => {
                warn!(idle = ?progress.idle(), held = ?received.elapsed(), ?what, "the work of a message is interrupted");
                lost.worn_out.store(what == Renewal::SendAnew, Ordering::Relaxed);
                lost.token.cancel();
                // The work sees `lost` and ends with the message given back.
                std::future::pending::<()>().await;
            }
        }
    }
}
