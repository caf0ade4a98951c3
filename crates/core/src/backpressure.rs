//! Backpressure: limits how far the jobsender gets ahead of the workers. A listing grows stale while its messages wait.

/// Minimum number of batches that may be outstanding however slow the workers are. Enough to keep any number of workers
/// busy between two checks.
pub const LEAST_BACKLOG: u64 = 2_000;

/// Returns how many batches of a run may have been sent when `ended` of them ended within `elapsed_ms` milliseconds:
/// those, plus the batches that workers finish in `backlog_seconds` at this rate, or [`LEAST_BACKLOG`] if that is more.
pub fn allowance(ended: u64, elapsed_ms: i64, backlog_seconds: u32) -> u64 {
    let elapsed = u128::try_from(elapsed_ms).unwrap_or_default().max(1);
    let ahead = u128::from(ended) * u128::from(backlog_seconds) * 1_000 / elapsed;
    ended.saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX).max(LEAST_BACKLOG))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_hours_of_work_may_be_ahead_and_never_less_than_the_least() {
        for (ended, elapsed_ms, expected) in [
            (0, 0, LEAST_BACKLOG),
            (0, 3_600_000, LEAST_BACKLOG),
            (10, 60_000, 10 + LEAST_BACKLOG),
            // 10 batches a second.
            (36_000, 3_600_000, 36_000 + 72_000),
            (36_000, 7_200_000, 36_000 + 36_000),
            (5, -1, 5 + 5 * 7_200_000),
            (u64::MAX, 1, u64::MAX),
        ] {
            assert_eq!(allowance(ended, elapsed_ms, 7_200), expected, "{ended} {elapsed_ms}");
        }
    }

    proptest! {
        /// More ended batches allow more to be sent, and the allowance is never below the number that ended.
        #[test]
        fn it_grows_with_what_has_ended(ended in 0_u64..1 << 40, more in 0_u64..1 << 20, at in 1_i64..1 << 40, backlog in 1_u32..1 << 20) {
            let before = allowance(ended, at, backlog);
            prop_assert!(before >= ended + LEAST_BACKLOG);
            prop_assert!(allowance(ended + more, at, backlog) >= before + more);
        }
    }
}
