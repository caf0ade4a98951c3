//! How long to wait before trying again.

use std::time::Duration;

/// Waits that grow by doubling, with full jitter: each is a random share of its bound, so that many workers do not come
/// back together. Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first wait.
    pub base: Duration,
    /// Bound of every wait.
    pub cap: Duration,
}

impl Backoff {
    /// The wait before try `attempt` (0 = the first retry); `random` is from 0 up to 1.
    pub fn wait(self, attempt: u32, random: f64) -> Duration {
        let bound = self.base.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.cap);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }
}

/// Seconds that a remainder stays invisible after `attempts` tries, before jitter: 5, 10, 20 … 300.
/// The queue takes at most 900.
pub fn remainder_delay(attempts: u32) -> u32 {
    5_u32.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX)).min(300)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn remainders_wait_longer_each_time() {
        let waits: Vec<u32> = [0, 1, 2, 3, 7, 8, 40].map(remainder_delay).to_vec();
        assert_eq!(waits, [5, 5, 10, 20, 300, 300, 300]);
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(attempt in any::<u32>(), random in 0.0..1.0_f64) {
            let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };
            let wait = backoff.wait(attempt, random);
            prop_assert!(wait <= backoff.cap);
            prop_assert!(attempt > 0 || wait <= backoff.base);
        }
    }
}
