//! How far a sender may be ahead of the workers: what waits in the queue for days is listed for nothing, and grows old.

/// Batches that may always be on their way, however slow the workers are: enough to keep any number of them at work
/// between two looks.
pub const LEAST_BACKLOG: u64 = 2_000;

/// How many batches of a run may have been sent, given that so many have ended in so many milliseconds: those, and what
/// the workers get done in `backlog_seconds` at this rate, or [`LEAST_BACKLOG`].
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
            // 10 a second.
            (36_000, 3_600_000, 36_000 + 72_000),
            (36_000, 7_200_000, 36_000 + 36_000),
            (5, -1, 5 + 5 * 7_200_000),
            (u64::MAX, 1, u64::MAX),
        ] {
            assert_eq!(allowance(ended, elapsed_ms, 7_200), expected, "{ended} {elapsed_ms}");
        }
    }

    proptest! {
        /// Whatever ends lets more be sent, and never less than has ended.
        #[test]
        fn it_grows_with_what_has_ended(ended in 0_u64..1 << 40, more in 0_u64..1 << 20, at in 1_i64..1 << 40, backlog in 1_u32..1 << 20) {
            let before = allowance(ended, at, backlog);
            prop_assert!(before >= ended + LEAST_BACKLOG);
            prop_assert!(allowance(ended + more, at, backlog) >= before + more);
        }
    }
}
