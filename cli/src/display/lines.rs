//! Plain lines on standard error, for logs and pipes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanCount, HumanDuration};

use super::{Display, words};
use crate::event::{Event, Progress};

/// Interval between lines about the progress.
const EVERY: Duration = Duration::from_secs(5);
/// Failed objects, and failed attempts, that get a line of their own.
const MOST_FAILURES: u32 = 100;

/// Prints lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<LinesState>,
}

#[derive(Debug, Default)]
struct LinesState {
    last: Option<Instant>,
    failures: u32,
    retries: u32,
}

impl Display for Lines {
    fn show(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            Event::Progress(progress) => {
                if state.last.is_some_and(|last| last.elapsed() < EVERY) {
                    return;
                }
                state.last = Some(Instant::now());
                Some(line(progress))
            }
            Event::ObjectRetried { .. } => {
                state.retries += 1;
                words(event).filter(|_| state.retries <= MOST_FAILURES)
            }
            Event::ObjectFailed { .. } => {
                state.failures += 1;
                match state.failures {
                    ..=MOST_FAILURES => words(event),
                    n if n == MOST_FAILURES + 1 => Some(MORE_FAILURES.to_owned()),
                    _ => None,
                }
            }
            _ => words(event),
        };
        if let Some(line) = line {
            // Who reads may have gone: the run goes on.
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}

/// Printed once instead of further failures.
pub(super) const MORE_FAILURES: &str = "more objects failed: s3migrate failures lists them";

fn line(progress: &Progress) -> String {
    let Progress { scanned, objects, bytes, done, done_bytes, failed, rate, .. } = progress;
    let more = if *scanned { "" } else { " so far" };
    let mut line = format!(
        "{} of {} objects{more}, {} of {}, {}/s, {} failed",
        HumanCount(*done),
        HumanCount(*objects),
        BinaryBytes(*done_bytes),
        BinaryBytes(*bytes),
        BinaryBytes(*rate),
        HumanCount(*failed)
    );
    if let Some(seconds) = progress.eta_seconds {
        let _ = write!(line, ", {} left", HumanDuration(Duration::from_secs(seconds)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_what_a_bar_has() {
        let progress = Progress {
            scanned: true,
            objects: 20_000,
            bytes: 3 << 30,
            done: 12_345,
            done_bytes: 1 << 30,
            rate: 100 << 20,
            eta_seconds: Some(20),
            ..Progress::default()
        };
        let expected = "12,345 of 20,000 objects, 1.00 GiB of 3.00 GiB, 100.00 MiB/s, 0 failed, 20 seconds left";
        assert_eq!(line(&progress), expected);
        let early = Progress { scanned: false, eta_seconds: None, ..progress };
        assert!(line(&early).starts_with("12,345 of 20,000 objects so far, "));
    }
}
