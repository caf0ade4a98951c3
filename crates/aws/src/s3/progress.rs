//! Stall detection for streamed bodies.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::sdk::{STALLED, upload_time};

/// Bytes that may still be in the socket's buffer after the last byte was handed over: Linux's default maximum.
const SOCKET_BUFFER: usize = 4 << 20;
/// Interval between checks while the source gives nothing. The source has a time-out of its own.
const LOOK: Duration = Duration::from_secs(5);

/// Progress of a body, reported by the body and watched by the task that waits for the response.
pub(super) struct BodyProgress(Mutex<Stage>);

#[derive(Clone, Debug)]
enum Stage {
    /// Waiting for the source.
    Source,
    /// Waiting since then for the network to take bytes.
    Network(Instant),
    /// All bytes handed over, at that time.
    Sent(Instant),
    /// The source failed with this message.
    Broken(String),
}

impl Stage {
    fn left(left: u64) -> Self {
        let now = Instant::now();
        if left == 0 { Self::Sent(now) } else { Self::Network(now) }
    }
}

impl BodyProgress {
    /// Starts a body with `left` bytes.
    pub(super) fn new(left: u64) -> Self {
        Self(Mutex::new(Stage::left(left)))
    }

    fn stage(&self) -> Stage {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Records that the source has nothing yet.
    pub(super) fn waits_for_source(&self) {
        self.set(Stage::Source);
    }

    /// Records that the HTTP client took bytes and `left` remain.
    pub(super) fn handed_over(&self, left: u64) {
        self.set(Stage::left(left));
    }

    /// Records a failure of the source.
    pub(super) fn broke(&self, why: String) {
        self.set(Stage::Broken(why));
    }

    /// Returns true once all bytes are handed over.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.stage(), Stage::Sent(_))
    }

    /// Returns the source's failure, if it failed.
    pub(super) fn broken(&self) -> Option<String> {
        match self.stage() {
            Stage::Broken(why) => Some(why),
            _ => None,
        }
    }

    /// Completes with a reason when the network takes nothing for 20 s, or when no response follows the body in time.
    pub(super) async fn stalled(&self) -> String {
        loop {
            let (since, limit, why) = match self.stage() {
                Stage::Source | Stage::Broken(_) => {
                    sleep_until(Instant::now() + LOOK).await;
                    continue;
                }
                Stage::Network(since) => (since, STALLED, "the network took no more of the body"),
                Stage::Sent(since) => (since, upload_time(SOCKET_BUFFER), "no response came after the body"),
            };
            if since.elapsed() >= limit {
                return format!("{why} within {limit:?}");
            }
            sleep_until(since + limit).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    #[tokio::test(start_paused = true)]
    async fn only_the_network_and_the_service_have_a_limit() {
        let progress = BodyProgress::new(1);
        for (limit, why) in [(STALLED, "took no more"), (upload_time(SOCKET_BUFFER), "no response")] {
            let begin = Instant::now();
            assert!(progress.stalled().await.contains(why));
            assert_eq!(begin.elapsed(), limit);
            progress.handed_over(0);
        }
        progress.waits_for_source();
        assert!(timeout(Duration::from_hours(1), progress.stalled()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_that_moves_is_not_stalled() {
        let progress = BodyProgress::new(1);
        for left in (0..100).rev() {
            assert!(timeout(STALLED * 9 / 10, progress.stalled()).await.is_err());
            advance(Duration::from_millis(900)).await;
            progress.handed_over(left);
        }
        assert!(progress.is_sent());
    }

    #[test]
    fn a_broken_source_is_remembered() {
        let progress = BodyProgress::new(1);
        assert_eq!((progress.broken(), progress.is_sent()), (None, false));
        progress.broke("gone".into());
        assert_eq!((progress.broken().as_deref(), progress.is_sent()), (Some("gone"), false));
    }
}
