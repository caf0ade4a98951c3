//! Token buckets on tokio's clock.

use std::pin::Pin;
use std::time::Duration;

use async_speed_limit::Limiter;
use async_speed_limit::clock::Clock;
use tokio::time::{Instant, Sleep};

/// A token bucket. Clones share it.
pub(super) type Bucket = Limiter<TokioClock>;

/// The clock of tokio, which tests can pause.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokioClock;

impl Clock for TokioClock {
    type Instant = Instant;
    type Delay = Pin<Box<Sleep>>;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> Self::Delay {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Creates a bucket that lets this many tokens through per second, without waiting longer than that takes.
pub(super) fn bucket(per_second: f64) -> Bucket {
    Limiter::builder(per_second).min_wait(Duration::ZERO).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    #[tokio::test(start_paused = true)]
    async fn tokens_come_at_their_rate_and_in_turn() {
        let bucket = bucket(5.0);
        let begin = Instant::now();
        let waits = (0..20).map(|_| {
            let bucket = bucket.clone();
            async move {
                bucket.consume(1).await;
                begin.elapsed()
            }
        });
        let passed = join_all(waits).await;
        assert!(passed.is_sorted(), "{passed:?}");
        for second in 0..4_usize {
            let window = Duration::from_secs(second as u64)..Duration::from_secs(second as u64 + 1);
            assert!(passed.iter().filter(|at| window.contains(*at)).count() <= 6, "{passed:?}");
        }
        let last = passed.last().copied().unwrap_or_default();
        assert!((Duration::from_millis(3_800)..Duration::from_millis(4_100)).contains(&last), "{last:?}");
    }
}
