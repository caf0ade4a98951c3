//! Decides when to retry, and when to give up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mutants::{Mutant, is_active};
use crate::outcome::Cause;

/// Exponential backoff with full jitter: each wait is a random share of its bound, so that many workers do not retry at
/// the same time. Source: "Exponential Backoff And Jitter", AWS Architecture Blog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub base: Duration,
    /// Upper bound of every wait.
    pub cap: Duration,
}

impl Backoff {
    /// Returns the wait before retry `attempt`, counted from 0. `random` is from 0 (inclusive) to 1 (exclusive).
    pub fn wait(self, attempt: u32, random: f64) -> Duration {
        let bound = self.base.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(self.cap);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }
}

/// Returns the delay of a remainder after `tries` attempts, in seconds, before jitter: 5, 10, 20 … 300. The queue
/// accepts at most 900.
pub fn remainder_delay(tries: u32) -> u32 {
    5_u32.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX)).min(300)
}

/// Delay of messages held up by a missing permission, in seconds, so that other messages come first.
pub const PUT_BACK: u32 = 60;

/// Minimum time before an object that is throttled alone is given up, in milliseconds from the first such attempt.
/// Services throttle a prefix for minutes while they split it. Source: "Best practices design patterns: optimizing
/// Amazon S3 performance".
pub const THROTTLED_ALONE_MS: i64 = 30 * 60 * 1_000;

/// The earlier attempts for an object, as kept in its batch's message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tried {
    /// Number of attempts without progress. `None` means the batch's `attempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// When the first of them ended, as Unix time in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Largest number of parts that were at the destination at the end of any attempt.
    #[serde(skip_serializing_if = "is_zero")]
    pub parts: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Tried {
    /// Returns true if there is nothing to record.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Returns an object's attempts after another one that failed for now, or `None` if the object is given up. `tries` is
/// the number of earlier attempts without progress, and `now` the Unix time in milliseconds.
///
/// | cause | attempts, including this one | since the first of them | result |
/// |---|---|---|---|
/// | the whole side, or a bucket throttled as a whole | any | any | retry; this attempt does not count |
/// | more parts are in place than ever before | any | any | retry; the count starts again |
/// | throttled alone | < most | any | retry |
/// | throttled alone | ≥ most | < 30 min | retry |
/// | throttled alone | ≥ most | ≥ 30 min | give up |
/// | anything else | < most | any | retry |
/// | anything else | ≥ most | any | give up |
///
/// The attempts are therefore finite: there are at most 10,000 parts, and a permanent fault of a side is reported to a
/// person.
pub fn next_try(cause: Cause, before: Tried, tries: u32, most: u32, now: i64) -> Option<Tried> {
    let cause = if is_active(Mutant::EveryTryCounts) { Cause::Own } else { cause };
    let since = before.since.unwrap_or(now);
    let counted = Tried { tries: Some(tries + 1), since: Some(since), parts: before.parts };
    let used_up = tries + 1 >= most;
    match cause {
        Cause::WholeService => Some(Tried { tries: Some(tries), ..before }),
        Cause::Progress(parts) if parts > before.parts => Some(Tried { tries: Some(0), since: None, parts }),
        Cause::Throttled if now - since < THROTTLED_ALONE_MS => Some(counted),
        Cause::Own | Cause::Throttled | Cause::Progress(_) => (!used_up).then_some(counted),
    }
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

    #[test]
    fn tries_are_counted_as_the_table_says() {
        let half_hour = THROTTLED_ALONE_MS;
        let tried = |tries, since, parts| Some(Tried { tries: Some(tries), since, parts });
        let before = Tried { tries: None, since: Some(5), parts: 7 };
        for (cause, tries, now, expected) in [
            (Cause::WholeService, 9, 6, tried(9, Some(5), 7)),
            (Cause::Progress(8), 9, 6, tried(0, None, 8)),
            (Cause::Progress(7), 0, 6, tried(1, Some(5), 7)),
            (Cause::Progress(7), 2, 6, None),
            (Cause::Throttled, 0, half_hour + 5, tried(1, Some(5), 7)),
            (Cause::Throttled, 9, half_hour + 4, tried(10, Some(5), 7)),
            (Cause::Throttled, 2, half_hour + 5, None),
            (Cause::Own, 1, half_hour + 5, tried(2, Some(5), 7)),
            (Cause::Own, 2, 6, None),
        ] {
            assert_eq!(next_try(cause, before, tries, 3, now), expected, "{cause:?} {tries} {now}");
        }
        let first = next_try(Cause::Own, Tried::default(), 0, 3, 9);
        assert_eq!(first, tried(1, Some(9), 0));
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(attempt in any::<u32>(), random in 0.0..1.0_f64) {
            let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(5) };
            let wait = backoff.wait(attempt, random);
            prop_assert!(wait <= backoff.cap);
            prop_assert!(attempt > 0 || wait <= backoff.base);
        }

        /// An object that makes no progress is given up after a bounded number of attempts.
        #[test]
        fn tries_without_progress_end(causes in prop::collection::vec(0_u8..2, 200)) {
            let (mut tried, mut now, mut ended) = (Tried::default(), 0, false);
            for cause in causes {
                now += 60_000;
                let cause = if cause == 0 { Cause::Own } else { Cause::Throttled };
                let next = next_try(cause, tried, tried.tries.unwrap_or_default(), 8, now);
                ended |= next.is_none();
                tried = next.unwrap_or(tried);
            }
            prop_assert!(ended);
        }
    }
}
