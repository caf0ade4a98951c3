//! Delays before failed work is tried again: exponential with full jitter, per object.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bounds of delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The longest delay after the first failure. It doubles with each further one.
    pub first: Duration,
    /// The longest delay of all.
    pub most: Duration,
}

/// The shortest delay, so that a small random number is no busy loop.
const LEAST: Duration = Duration::from_millis(500);

/// Returns a delay after this many failures in a row, from 1. `random` is in 0 … 1.
///
/// The delay is drawn from the whole range up to the bound ("full jitter"), so that many objects that fail together are
/// not tried again together. Source: "Exponential Backoff And Jitter" in the AWS Architecture Blog.
pub fn delay(bounds: Bounds, failures: u32, random: f64) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let longest = bounds.first.saturating_mul(factor).min(bounds.most);
    longest.mul_f64(random.clamp(0.0, 1.0)).max(LEAST)
}

/// Failures in a row, by UID of the object.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// Counts a failure, and returns how many there were in a row.
    pub fn add(&self, uid: &str) -> u32 {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = all.entry(uid.to_owned()).or_default();
        *number = number.saturating_add(1);
        *number
    }

    /// Forgets the failures of an object that succeeded, or is gone.
    pub fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { first: Duration::from_secs(1), most: Duration::from_mins(5) };

    #[test]
    fn delays_double_up_to_the_bound_and_are_spread_over_the_whole_range() {
        let longest: Vec<_> = (1..12).map(|failures| delay(BOUNDS, failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(BOUNDS, u32::MAX, 1.0), BOUNDS.most);
        assert_eq!(delay(BOUNDS, 4, 0.25), Duration::from_secs(2));
        assert_eq!(delay(BOUNDS, 1, 0.0), LEAST);
    }

    #[test]
    fn each_object_has_its_own_failures_until_it_succeeds() {
        let failures = Failures::default();
        assert_eq!((failures.add("a"), failures.add("a"), failures.add("b")), (1, 2, 1));
        failures.reset("a");
        assert_eq!((failures.add("a"), failures.add("b")), (1, 2));
    }
}
