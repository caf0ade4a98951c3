//! How the programs end: why, in words for a person, and with which code.

/// Exit code where the program was told to end before it was done: 128 + SIGTERM. The Jobs' pod failure policy ignores it.
pub(crate) const INTERRUPTED: u8 = 143;
/// Exit code where what the program was given can't be used.
pub(crate) const UNUSABLE: u8 = 2;
/// Exit code of what may be tried again.
pub(crate) const FAILED: u8 = 1;

/// How the program ends.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl End {
    /// What may be tried again.
    pub(crate) fn failed(reason: &'static str, message: &str) -> Self {
        Self { reason, message: message.to_owned(), code: FAILED }
    }

    /// How it ends where a signal told it to, or not. What was cut short by that has not failed; it is never told as done
    /// either, since Kubernetes would take the scan for closed.
    pub(crate) fn after_signal(self, told: bool) -> Self {
        if !told || self.code != FAILED {
            return self;
        }
        let message =
            format!("told to end before it was done; the next pod goes on ({}: {})", self.reason, self.message);
        Self { reason: "Interrupted", message, code: INTERRUPTED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_cut_short_has_not_failed_and_is_not_done() {
        let end = |code| End { reason: "ScanFailed", message: "told to stop".into(), code };
        for (code, told, expected) in [
            (FAILED, true, INTERRUPTED),
            (FAILED, false, FAILED),
            (0, true, 0),
            (UNUSABLE, true, UNUSABLE),
            (3, true, 3),
        ] {
            let end = end(code).after_signal(told);
            assert_eq!(end.code, expected, "{code} {told}");
            assert_eq!(end.reason == "Interrupted", end.code == INTERRUPTED, "{end:?}");
        }
    }
}
