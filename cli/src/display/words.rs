//! Events in words.

use std::fmt::Write as _;

use indicatif::{BinaryBytes, HumanCount};
use migration_core::printable::printable;
use migration_core::records::RunResult;
use migration_program::verification;

use crate::event::{Event, Progress};

/// Describes an event in one line. Returns `None` for the numbers of a live run.
pub fn words(event: &Event) -> Option<String> {
    Some(match event {
        Event::Progress(_) => return None,
        Event::RunStarted { job, run, continued: false } => format!("{job}: run {run} started"),
        Event::RunStarted { job, run, continued: true } => format!("{job}: continuing run {run}"),
        Event::Paused(blocked) => {
            let (side, resource, message) = (blocked.side, &blocked.resource, printable(&blocked.message));
            format!("waiting for the {side} ({resource}): {message}")
        }
        Event::Resumed { service } => format!("the {service} works again"),
        Event::ObjectRetried { bucket, key, message } => {
            format!("trying again: {bucket}/{}: {}", printable(key), printable(message))
        }
        Event::ObjectFailed { bucket, key, message, .. } => {
            format!("failed: {bucket}/{}: {}", printable(key), printable(message))
        }
        Event::Stopping => {
            "stopping: parts in flight are finished; the same command continues. Press Ctrl-C again to stop now"
                .to_owned()
        }
        Event::RunEnded { result, message, not_preserved, progress, .. } => {
            let mut words = ended(*result, message.as_deref(), progress);
            if let Some(kinds) = not_preserved {
                let _ = write!(words, "; not preserved for some objects: {kinds}");
            }
            words
        }
        Event::Verifying => "verifying: comparing both sides".to_owned(),
        Event::Verified { found, whole } => {
            let result = if *whole { "verified" } else { "the sides differ" };
            format!("{result}: {}", verification::describe(found))
        }
        Event::Reported { bucket, key } => format!("report: s3://{bucket}/{}", printable(key)),
        Event::Notice { message } => message.clone(),
    })
}

fn ended(result: RunResult, message: Option<&str>, progress: &Progress) -> String {
    let result = match result {
        RunResult::Complete => "complete",
        RunResult::PartiallyFailed => "partially failed",
        RunResult::Failed => "failed",
    };
    let Progress { done, done_bytes, skipped, failed, .. } = progress;
    let mut words = format!(
        "{result}: {} objects of {} copied, {} skipped, {} failed",
        HumanCount(*done),
        BinaryBytes(*done_bytes),
        HumanCount(*skipped),
        HumanCount(*failed)
    );
    if let Some(message) = message {
        let _ = write!(words, "; {}", printable(message));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_reads_well() {
        let progress = Progress { done: 12_345, done_bytes: 3 << 30, skipped: 1, failed: 2, ..Progress::default() };
        let event = Event::RunEnded {
            run: "r".into(),
            result: RunResult::PartiallyFailed,
            message: Some("why".into()),
            not_preserved: Some("tags".into()),
            progress,
        };
        let expected = "partially failed: 12,345 objects of 3.00 GiB copied, 1 skipped, 2 failed; why; not preserved for some objects: \
                        tags";
        assert_eq!(words(&event).unwrap(), expected);
    }
}
