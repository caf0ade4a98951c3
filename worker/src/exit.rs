//! How the programs end: reason, message and exit code.

/// Exit code after a signal that came before the work was done: 128 + SIGTERM. The pod failure policy of the Jobs
/// ignores it.
pub(crate) const INTERRUPTED: u8 = 143;
/// Exit code for unusable input: a retry would fail too.
pub(crate) const UNUSABLE: u8 = 2;
/// Exit code for a failure that a retry may resolve.
pub(crate) const FAILED: u8 = 1;

/// Result of the program.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl End {
    /// Creates the result for a failure that a retry may resolve.
    pub(crate) fn failed(reason: &'static str, message: &str) -> Self {
        Self { reason, message: message.to_owned(), code: FAILED }
    }

    /// Turns a failure into an interruption if a signal caused it. An interrupted program must not report success
    /// either, or Kubernetes would consider the scan complete.
    pub(crate) fn after_signal(self, told: bool) -> Self {
        if !told || self.code != FAILED {
            return self;
        }
        let message = format!("interrupted by a signal; the next pod continues ({}: {})", self.reason, self.message);
        Self { reason: "Interrupted", message, code: INTERRUPTED }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_cut_short_has_not_failed_and_is_not_done() {
        let end = |code| End { reason: "ScanFailed", message: "stopped".into(), code };
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
