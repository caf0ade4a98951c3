//! When to try again, and when no more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mutants::{Mutant, is_active};
use crate::outcome::Cause;

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

/// Seconds that a remainder stays invisible after `tries`, before jitter: 5, 10, 20 … 300. The queue takes at most 900.
pub fn remainder_delay(tries: u32) -> u32 {
    5_u32.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX)).min(300)
}

/// Seconds that what a missing right holds up is put back for, so that other messages come first.
pub const PUT_BACK: u32 = 60;

/// An object that is throttled alone is given up no sooner than so many milliseconds after its first such try, however
/// few tries it has: services throttle a prefix for minutes while they split it. Source: "Best practices design patterns:
/// optimizing Amazon S3 performance".
pub const THROTTLED_ALONE_MS: i64 = 30 * 60 * 1_000;

/// The tries that an object has behind it, in its batch's message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tried {
    /// Tries without progress; left out where they are the batch's `attempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// When the first of them ended, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Most parts that were ever at the destination at the end of a try.
    #[serde(skip_serializing_if = "is_zero")]
    pub parts: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Tried {
    /// Whether there is nothing to say.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an object has behind it after another try that failed for now, or none where it is given up. `tries` are those
/// without progress before this one, `now` is in milliseconds since 1970.
///
/// | cause | tries, this one included | since the first of them | after it |
/// |---|---|---|---|
/// | the whole side, or a bucket throttled as a whole | any | any | tried again, and this was no try |
/// | more parts are in place than ever before | any | any | tried again, and tries begin anew |
/// | throttled alone | < most | any | tried again |
/// | throttled alone | ≥ most | < 30 min | tried again |
/// | throttled alone | ≥ most | ≥ 30 min | given up |
/// | anything else | < most | any | tried again |
/// | anything else | ≥ most | any | given up |
///
/// So tries end: there are at most 10,000 parts, and a side that is broken for ever is shown to a person.
pub fn next_try(cause: Cause, before: Tried, tries: u32, most: u32, now: i64) -> Option<Tried> {
    let cause = if is_active(Mutant::EveryTryCounts) { Cause::Own } else { cause };
    let since = before.since.unwrap_or(now);
    let counted = Tried { tries: Some(tries + 1), since: Some(since), parts: before.parts };
    let used_up = tries + 1 >= most;
    match cause {
        Cause::Side => Some(Tried { tries: Some(tries), ..before }),
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
            (Cause::Side, 9, 6, tried(9, Some(5), 7)),
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

        /// Whatever happens, an object that gets no further is given up after a bounded number of tries.
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
