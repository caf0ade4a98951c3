//! Waiting in a process that may be told to end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Interruption;

/// Sleeps, or returns [`Interruption::Stopped`] when the process has to stop.
pub(crate) async fn sleep_or_stop(stop: &CancellationToken, wait: Duration) -> Result<(), Interruption> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Interruption::Stopped),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}
