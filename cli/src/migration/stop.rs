//! Stops a run: once to finish what is in flight, twice to end now.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that is ended at once by a second SIGINT: 128 + SIGINT, as shells have it.
const KILLED: i32 = 130;

/// The signal to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Creates a stop signal that the first SIGINT or SIGTERM gives. The second one ends the process at once, as
    /// SIGKILL would; the state directory is made for that.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signals = signal(kind)?;
            let stop = stop.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if stop.is_given() {
                        std::process::exit(KILLED);
                    }
                    stop.give();
                }
            });
        }
        Ok(stop)
    }

    /// Gives the signal.
    pub fn give(&self) {
        self.0.cancel();
    }

    /// Returns true if the signal was given.
    pub fn is_given(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for the signal.
    pub async fn given(&self) {
        self.0.cancelled().await;
    }

    /// Returns a token that is cancelled with the signal; cancelling it does not give the signal.
    pub fn token(&self) -> CancellationToken {
        self.0.child_token()
    }
}
