//! For how long a worker keeps a message to itself.

use std::time::Duration;

/// Invisibility asked for at receipt and at each renewal: a killed worker's message is seen again after this.
pub const LEASE: Duration = Duration::from_mins(1);
/// How often a lease is renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Without progress for this long, the work is taken to hang and the message is given back.
pub const STALL: Duration = Duration::from_mins(5);
/// A message is given back before SQS ends its lease by itself, 12 hours after receipt.
pub const LONGEST: Duration = Duration::from_hours(11);

/// What to do with a lease when its renewal is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Renew it.
    Extend,
    /// Stop the work and give the message back.
    GiveBack,
}

/// Whether to renew.
///
/// | held for | side paused | without progress for | renewal |
/// |---|---|---|---|
/// | ≥ 11 h | any | any | give back |
/// | less | yes | any | extend: waiting for a person is no fault of the message |
/// | less | no | < 5 min | extend |
/// | less | no | ≥ 5 min | give back |
pub fn renewal(held: Duration, without_progress: Duration, paused: bool) -> Renewal {
    if held >= LONGEST || (!paused && without_progress >= STALL) { Renewal::GiveBack } else { Renewal::Extend }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_as_the_table_says() {
        let minute = Duration::from_mins(1);
        for (held, idle, paused, expected) in [
            (LONGEST, minute, true, Renewal::GiveBack),
            (minute, LONGEST, true, Renewal::Extend),
            (minute, minute, false, Renewal::Extend),
            (STALL, STALL, false, Renewal::GiveBack),
        ] {
            assert_eq!(renewal(held, idle, paused), expected, "{held:?} {idle:?} {paused}");
        }
        assert!(RENEW_EVERY * 2 < LEASE, "one renewal may be lost");
    }
}
