//! The end of waits for limits when a process has to stop.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Interval at which a body that goes on after the stop looks whether it still can.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Tells the stores of a process when it has to stop. Clones share it.
#[derive(Clone)]
pub struct Stopping {
    stop: CancellationToken,
    grace: Duration,
    /// When the stop was first seen.
    since: Arc<OnceLock<Instant>>,
}

impl Stopping {
    /// Creates the stop of a process, which waits for work in flight for a time.
    pub fn new(stop: CancellationToken, grace: Duration) -> Self {
        Self { stop, grace, since: Arc::default() }
    }

    /// Waits for something. Fails when the process has to stop, unless it is there at once.
    pub(super) async fn or_stop<T>(&self, wait: impl Future<Output = T>) -> Result<T, ServiceError> {
        tokio::select! {
            biased;
            done = wait => Ok(done),
            () = self.stop.cancelled() => {
                // The time of those that go on begins, too.
                self.time_left();
                Err(stopped())
            }
        }
    }

    /// Returns the time that work in flight has left, or `None` before the stop.
    pub(super) fn time_left(&self) -> Option<Duration> {
        if !self.stop.is_cancelled() {
            return None;
        }
        Some(self.grace.saturating_sub(self.since.get_or_init(Instant::now).elapsed()))
    }

    /// Waits until [`time_left`](Self::time_left) has to be looked at again: for the stop, or a second after it.
    pub(super) async fn changed(&self) {
        if self.stop.is_cancelled() {
            tokio::time::sleep(LOOK_AGAIN).await;
        } else {
            self.stop.cancelled().await;
        }
    }
}

/// Returns the error of what a stop ended.
pub(super) fn stopped() -> ServiceError {
    ServiceError::new(ErrorClass::Stopped, "wait for a limit", "Stopped", "the process is stopping")
}
