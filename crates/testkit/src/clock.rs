//! A clock that tests control.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use migration_core::ports::Clock;
use tokio::time::Instant;

/// Start of a clock created without a time: 2026-01-01T00:00:00Z, in milliseconds since 1970.
const START: i64 = 1_767_225_600_000;

/// A clock for tests. Clones show the same time.
#[derive(Clone, Debug)]
pub struct TestClock {
    millis: Arc<AtomicI64>,
    started: Option<Instant>,
    chance: Arc<AtomicU64>,
}

impl TestClock {
    /// Creates a clock that stands still at a time in milliseconds since 1970.
    pub fn at(millis: i64) -> Self {
        Self { millis: Arc::new(AtomicI64::new(millis)), started: None, chance: Arc::default() }
    }

    /// Creates a clock that starts at a time in milliseconds since 1970 and advances with tokio's time, which tests can
    /// pause.
    pub fn following_tokio(millis: i64) -> Self {
        Self { started: Some(Instant::now()), ..Self::at(millis) }
    }

    /// Advances the clock. Tokio's time stays as it is, so deadlines of queues do not move.
    pub fn advance(&self, by: Duration) {
        self.millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the clock, forwards or back, to a time in milliseconds since 1970.
    pub fn set(&self, millis: i64) {
        self.millis.store(millis - self.elapsed(), Ordering::SeqCst);
    }

    /// Seeds the random numbers.
    pub fn seed(&self, seed: u64) {
        self.chance.store(seed, Ordering::SeqCst);
    }

    fn elapsed(&self) -> i64 {
        self.started.map_or(0, |started| i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::at(START)
    }
}

impl Clock for TestClock {
    fn now(&self) -> i64 {
        self.millis.load(Ordering::SeqCst) + self.elapsed()
    }

    /// Returns the next random number; a seed always gives the same sequence. Source: splitmix64 by S. Vigna.
    fn random(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.chance.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_show_the_time_that_one_of_them_was_set_to() {
        let clock = TestClock::at(1_000);
        let other = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(other.now(), 3_000);
        other.set(500);
        assert_eq!(clock.now(), 500);
    }

    #[test]
    fn chance_repeats_itself_for_a_seed() {
        let numbers = |seed| {
            let clock = TestClock::default();
            clock.seed(seed);
            [clock.random(), clock.clone().random(), clock.random()].map(f64::to_bits)
        };
        let [a, b, c] = numbers(7);
        assert_eq!([a, b, c], numbers(7));
        assert!(a != b && b != c && a != numbers(8)[0]);
        assert!([a, b, c].iter().all(|share| (0.0..1.0).contains(&f64::from_bits(*share))));
    }

    #[tokio::test]
    async fn one_that_follows_tokio_goes_by_itself_and_can_be_set() {
        let clock = TestClock::following_tokio(1_000);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(clock.now() >= 1_020);
        clock.set(0);
        assert!((0..1_000).contains(&clock.now()));
    }
}
