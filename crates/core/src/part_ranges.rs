//! Who sends the ranges of a huge object, and when again.

/// How long a range that was sent may be without a word before it is sent again, in milliseconds; doubles each time,
/// since it may only be waiting in a long queue.
pub const RESEND_MS: i64 = 120_000;
/// The longest such wait.
pub const LONGEST_RESEND_MS: i64 = 3_600_000;

/// What a coordinator knows of a range that is not recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispatch {
    /// How often it sent the range.
    pub sent: u32,
    /// When it last did, or last saw a worker at it, in milliseconds since 1970.
    pub at: i64,
}

/// Whether to send a range now.
///
/// | a worker is at it | sent | without a word for | send |
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
