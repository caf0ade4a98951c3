//! Decides when transient failures amount to an outage of the whole side.

/// Number of failures in a row, each after all quick retries, that may indicate an outage.
pub const FAILURES_OF_AN_OUTAGE: u32 = 4;
/// Minimum time without a success that indicates an outage, in milliseconds.
pub const SILENCE_OF_AN_OUTAGE_MS: u64 = 15_000;

/// Returns true if transient failures amount to an outage of the whole side. Links between partitions break for hours,
/// and an outage must not use up the attempts of any object. Server errors count once for each object in a row, so that
/// one object that always fails is not taken for an outage; missing answers count every time.
///
/// | failures in a row | since the last success | outage |
/// |---|---|---|
/// | < 4 | any | no |
/// | ≥ 4 | < 15 s | no |
/// | ≥ 4 | ≥ 15 s | yes |
pub fn is_outage(failures_in_a_row: u32, since_success_ms: u64) -> bool {
    failures_in_a_row >= FAILURES_OF_AN_OUTAGE && since_success_ms >= SILENCE_OF_AN_OUTAGE_MS
}

/// Returns true if a bucket may be throttled as a whole, which a request that concerns no object then confirms.
///
/// | throttled answers in a row | since the first of them | may be throttled |
/// |---|---|---|
/// | < 4 | any | no |
/// | ≥ 4 | < 15 s | no |
/// | ≥ 4 | ≥ 15 s | yes |
///
/// If that request is throttled too, waiting costs no object an attempt. Otherwise the throttled objects use up theirs.
pub fn is_throttled_as_a_whole(throttled_in_a_row: u32, since_first_ms: u64) -> bool {
    throttled_in_a_row >= FAILURES_OF_AN_OUTAGE && since_first_ms >= SILENCE_OF_AN_OUTAGE_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_takes_failures_and_silence() {
        assert_eq!([(3, 99_000), (4, 14_999), (4, 15_000)].map(|(f, s)| is_outage(f, s)), [false, false, true]);
        let whole = [(3, 99_000), (4, 14_999), (4, 15_000)].map(|(f, s)| is_throttled_as_a_whole(f, s));
        assert_eq!(whole, [false, false, true]);
    }
}
