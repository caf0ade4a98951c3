//! When failures that may pass are the whole side's.

/// Failures in a row, each after all quick retries, that may mean that nothing works any more.
pub const FAILURES_OF_AN_OUTAGE: u32 = 4;
/// How long nothing may have succeeded for that, in milliseconds.
pub const SILENCE_OF_AN_OUTAGE_MS: u64 = 15_000;

/// Whether failures that may pass are an outage of the whole side: links between partitions break for hours, and no
/// object's tries are used up by that. Answers that something broke count once for each object in a row, so that one
/// object that always breaks is not taken for the service; missing answers count each time.
///
/// | failures in a row | since the last success | outage |
/// |---|---|---|
/// | < 4 | any | no |
/// | ≥ 4 | < 15 s | no |
/// | ≥ 4 | ≥ 15 s | yes |
pub fn is_outage(failures_in_a_row: u32, since_success_ms: u64) -> bool {
    failures_in_a_row >= FAILURES_OF_AN_OUTAGE && since_success_ms >= SILENCE_OF_AN_OUTAGE_MS
}

/// Whether a bucket may be throttled as a whole, so that it is worth asking it for something that is about no object.
///
/// | throttled answers without a success between | since the first of them | may be |
/// |---|---|---|
/// | < 4 | any | no |
/// | ≥ 4 | < 15 s | no |
/// | ≥ 4 | ≥ 15 s | yes |
///
/// It is, where that answer is a refusal to answer too: then waiting costs no object a try. Otherwise the objects that are
/// throttled use up theirs.
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
