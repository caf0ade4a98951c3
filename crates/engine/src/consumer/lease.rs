//! Keeps a message from others while its work moves.

use migration_core::lease::{LEASE, RENEW_EVERY, Renewal, renewal};
use migration_core::ports::{Ledger, ObjectStore, Queue};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Process;
use crate::transfer::Progress;

/// Renews the lease until this future is dropped. When the work hangs, cancels `lost` and renews no more.
pub(super) async fn keep<S: ObjectStore, Q: Queue, L: Ledger>(
    process: &Process<S, Q, L>,
    receipt: &str,
    progress: &Progress,
    lost: &CancellationToken,
) {
    let received = Instant::now();
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        match renewal(received.elapsed(), progress.idle(), process.is_paused()) {
            Renewal::Extend => {
                // Not through the gate: a renewal that is late is worth nothing, and two may be missed.
                if let Err(error) = process.ports.queue.set_visibility(receipt, LEASE).await {
                    warn!(%error, "a lease was not renewed");
                }
            }
            Renewal::GiveBack => {
                warn!(idle = ?progress.idle(), held = ?received.elapsed(), "the work of a message hangs: it is given back");
                lost.cancel();
                // The work sees `lost` and ends with the message given back.
                std::future::pending::<()>().await;
            }
        }
    }
}
