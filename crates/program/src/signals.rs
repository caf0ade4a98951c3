//! Signals that end a program.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Cancels the token at the first SIGTERM or SIGINT. From then on these signals no longer end the process. Fails if the
/// system does not let the process listen for them.
pub fn stop_on_signals(stop: &CancellationToken) -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                info!(signal = kind.as_raw_value(), "shutdown requested");
                stop.cancel();
            }
        });
    }
    Ok(())
}
