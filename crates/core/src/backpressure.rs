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

/// Returns true if a jobsender that has sent so many batches counts as waiting for the workers, where `before` of them were
/// allowed so far and `now` are. A wait ends only once the sender does not use up what it may: otherwise each step of the
/// workers would end it for a moment.
pub fn is_waiting(was_waiting: bool, sent: u64, before: u64, now: u64) -> bool {
    sent >= now || (was_waiting && sent.saturating_add(LEAST_BACKLOG / 2) >= before)
}

/// Interval at which the log tells that a jobsender still waits for the workers, in milliseconds.
const TOLD_EVERY_MS: i64 = 5 * 60 * 1_000;

/// A jobsender's wait for the workers, as far as the log tells of it. Times are Unix times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    began: i64,
    told: i64,
}

/// What the log tells of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has begun.
    Began,
    /// It goes on.
    Continues {
        /// For how long it has lasted, in milliseconds.
        waited_ms: i64,
    },
    /// It is over.
    Ended {
        /// How long it lasted, in milliseconds.
        waited_ms: i64,
    },
}

/// Returns the wait as it is now, and what the log tells of it: its beginning, its end, and that it goes on at most every
/// five minutes.
pub fn tell(wait: Option<Wait>, is_waiting: bool, now: i64) -> (Option<Wait>, Option<Told>) {
    match wait {
        None if is_waiting => (Some(Wait { began: now, told: now }), Some(Told::Began)),
        None => (None, None),
        Some(Wait { began, .. }) if !is_waiting => (None, Some(Told::Ended { waited_ms: now - began })),
        Some(Wait { began, told }) if now - told >= TOLD_EVERY_MS => {
            (Some(Wait { began, told: now }), Some(Told::Continues { waited_ms: now - began }))
        }
        same => (same, None),
    }
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

    #[test]
    fn a_wait_ends_when_the_sender_does_not_use_up_what_it_may() {
        const ROOM: u64 = LEAST_BACKLOG / 2;
        for (was_waiting, sent, before, now, expected) in [
            (false, 5_000, 5_001, 5_001, false),
            (false, 5_000, 5_000, 5_000, true),
            // More is allowed at each look, and has been sent at the next one.
            (false, 5_000, 5_000, 9_000, false),
            (true, 5_000, 5_000, 9_000, true),
            (true, 9_000, 9_000, 13_000, true),
            (true, 9_000, 9_000 + ROOM, 13_000, true),
            (true, 9_000, 9_001 + ROOM, 13_000, false),
        ] {
            assert_eq!(is_waiting(was_waiting, sent, before, now), expected, "{was_waiting} {sent} {before} {now}");
        }
    }

    #[test]
    fn a_wait_is_told_of_at_both_ends_and_every_five_minutes() {
        let (mut wait, mut told) = (None, Vec::new());
        // Looked at every 5 s for 11 minutes, of which the workers keep it waiting for 10 minutes and 55 seconds.
        for now in (0..=660_000).step_by(5_000) {
            let (next, what) = tell(wait, (5_000..660_000).contains(&now), now);
            told.extend(what.map(|what| (now, what)));
            wait = next;
        }
        let expected = [
            (5_000, Told::Began),
            (305_000, Told::Continues { waited_ms: 300_000 }),
            (605_000, Told::Continues { waited_ms: 600_000 }),
            (660_000, Told::Ended { waited_ms: 655_000 }),
        ];
        assert_eq!(told, expected);
        assert_eq!(wait, None);
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
