//! Decides when the ranges of a distributed object are sent.

/// Time without a sign of activity after which a range is sent again, in milliseconds. Doubles with each send, since
/// the range may just be waiting in a long queue.
pub const RESEND_MS: i64 = 120_000;
/// Upper bound of that time, in milliseconds.
pub const LONGEST_RESEND_MS: i64 = 3_600_000;

/// What the coordinator knows of an unfinished range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispatch {
    /// How often the range was sent.
    pub sent: u32,
    /// When it was last sent, or last seen in progress, as Unix time in milliseconds.
    pub at: i64,
}

/// Returns true if a range is to be sent now.
///
/// | in progress | sent | without activity for | send |
/// |---|---|---|---|
/// | yes | any | | no |
/// | no | never | | yes |
/// | no | n times | ≥ 2 min · 2ⁿ⁻¹, at most 1 h | yes |
/// | no | n times | less | no |
pub fn is_due(range: Dispatch, at_work: bool, now: i64) -> bool {
    let patience = RESEND_MS.saturating_mul(1_i64.checked_shl(range.sent.saturating_sub(1)).unwrap_or(i64::MAX));
    !at_work && (range.sent == 0 || now - range.at >= patience.min(LONGEST_RESEND_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sent_as_the_table_says() {
        for (at_work, sent, at, now, expected) in [
            (false, 0, 0, 0, true),
            (true, 0, 0, 0, false),
            (false, 1, 0, RESEND_MS - 1, false),
            (false, 1, 0, RESEND_MS, true),
            (true, 1, 0, RESEND_MS, false),
            (false, 2, 0, RESEND_MS, false),
            (false, 2, 0, 2 * RESEND_MS, true),
            (false, 40, 0, LONGEST_RESEND_MS, true),
            (false, 70, 0, LONGEST_RESEND_MS - 1, false),
        ] {
            assert_eq!(is_due(Dispatch { sent, at }, at_work, now), expected, "{at_work} {sent} {now}");
        }
    }
}
