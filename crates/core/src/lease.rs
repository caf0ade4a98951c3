//! For how long a worker keeps a message to itself.

use std::time::Duration;

/// Invisibility asked for at receipt and at each renewal: a killed worker's message is seen again after this.
pub const LEASE: Duration = Duration::from_mins(1);
/// How often a lease is renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Without progress for this long, the work is taken to hang and the message is given back.
pub const STALL: Duration = Duration::from_mins(5);
/// A message is renewed before SQS ends its lease by itself, 12 hours after receipt.
pub const LONGEST: Duration = Duration::from_hours(11);

/// What to do with a lease when its renewal is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Renew it.
    Extend,
    /// Stop the work and give the message back.
    GiveBack,
    /// Stop the work and send the message anew, since its lease can't be renewed for much longer.
    SendAnew,
}

/// Whether to renew.
///
/// | held for | side paused | without progress for | renewal |
/// |---|---|---|---|
/// | ≥ 11 h | any | any | send anew |
/// | less | yes | any | extend: waiting for a person is no fault of the message |
/// | less | no | < 5 min | extend |
/// | less | no | ≥ 5 min | give back |
pub fn renewal(held: Duration, without_progress: Duration, paused: bool) -> Renewal {
    if held >= LONGEST {
        Renewal::SendAnew
    } else if !paused && without_progress >= STALL {
        Renewal::GiveBack
    } else {
        Renewal::Extend
    }
}

/// Deliveries after which a message is worn: far below the 60 at which the queue itself gives a message up.
pub const WORN_AFTER_RECEIVES: u32 = 20;

/// What to do with a message that was just received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Work on it.
    Work,
    /// Its workers died or stalled at so many deliveries that it is worn: the same is sent as a new message that counts
    /// one try more, and then this one is removed. A crash between the two leaves a duplicate, which does no harm.
    Renew,
    /// Its tries are used up.
    GiveUp,
}

/// What to do with a message at its receipt. `attempts` counts the tries that its objects have behind them.
///
/// | received | tries left | do |
/// |---|---|---|
/// | < 20 times | any | work |
/// | ≥ 20 times | yes | renew: what a worker that was killed had done is not lost |
/// | ≥ 20 times | no | give up |
pub fn receipt(receives: u32, attempts: u32, max_attempts: u32) -> Receipt {
    match (receives >= WORN_AFTER_RECEIVES, attempts + 1 < max_attempts) {
        (false, _) => Receipt::Work,
        (true, true) => Receipt::Renew,
        (true, false) => Receipt::GiveUp,
    }
}

/// Invisibility of a message that is left to other workers, after its first delivery to one that may not work on it.
const LEFT_FIRST: Duration = Duration::from_secs(10);
/// And at most.
const LEFT_MOST: Duration = Duration::from_mins(15);

/// For how long a message stays invisible that is left to other workers: 10 s, 20 s … 15 min, so that neither its
/// deliveries nor requests are used up by those who may not work on it. None where it is worn: all 19 deliveries, over
/// more than two hours, went to such.
pub fn left_to_others(receives: u32) -> Option<Duration> {
    if receives >= WORN_AFTER_RECEIVES {
        return None;
    }
    let factor = 1_u32.checked_shl(receives.saturating_sub(1)).unwrap_or(u32::MAX);
    Some(LEFT_FIRST.saturating_mul(factor).min(LEFT_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worn_message_is_renewed_until_its_tries_are_used_up() {
        for (receives, attempts, expected) in [
            (1, 0, Receipt::Work),
            (19, 7, Receipt::Work),
            (20, 0, Receipt::Renew),
            (20, 6, Receipt::Renew),
            (20, 7, Receipt::GiveUp),
        ] {
            assert_eq!(receipt(receives, attempts, 8), expected, "{receives} {attempts}");
        }
    }

    #[test]
    fn what_is_left_to_others_comes_back_ever_more_rarely() {
        let seconds = |receives| left_to_others(receives).map(|time| time.as_secs());
        assert_eq!([0, 1, 2, 3, 7, 8, 19].map(seconds), [10, 10, 20, 40, 640, 900, 900].map(Some));
        assert_eq!([20, 60].map(seconds), [None, None]);
        let all: u64 = (1..WORN_AFTER_RECEIVES).filter_map(seconds).sum();
        assert!(all > 2 * 3600, "{all}");
    }

    #[test]
    fn renews_as_the_table_says() {
        let minute = Duration::from_mins(1);
        for (held, idle, paused, expected) in [
            (LONGEST, minute, true, Renewal::SendAnew),
            (minute, LONGEST, true, Renewal::Extend),
            (minute, minute, false, Renewal::Extend),
            (STALL, STALL, false, Renewal::GiveBack),
        ] {
            assert_eq!(renewal(held, idle, paused), expected, "{held:?} {idle:?} {paused}");
        }
        assert!(RENEW_EVERY * 2 < LEASE, "one renewal may be lost");
    }
}
