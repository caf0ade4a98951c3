//! The system clock and random numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use migration_core::ports::Clock;

/// The system clock. Times before 1970 are returned as 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn random(&self) -> f64 {
        rand::random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_milliseconds() {
        // 2026-01-01 and 2100-01-01 in milliseconds: a time in seconds or microseconds would lie outside.
        assert!((1_767_225_600_000..4_102_444_800_000).contains(&SystemClock.now()));
    }
}
