//! The rows that are printed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use migration_core::pair::BucketPair;
use migration_core::progress::{Tally, progress};
use migration_core::records::{FailureRecord, RunRecord, RunResult, VerificationRecord};
use migration_core::size::human;
use migration_program::verification;
use serde::Serialize;

/// A run.
#[derive(Debug, Serialize)]
pub struct RunRow {
    run: String,
    started: String,
    ended: String,
    result: String,
    copied: u64,
    bytes: u64,
    skipped: u64,
    failed: u64,
    message: String,
}

impl RunRow {
    /// Creates the row of a run.
    pub fn new(run: &RunRecord, tally: &Tally) -> Self {
        let numbers = progress(run, tally);
        Self {
            run: run.run.clone(),
            started: time(run.started),
            ended: run.end.as_ref().map(|end| time(end.at)).unwrap_or_default(),
            result: result(run).to_owned(),
            copied: numbers.done,
            bytes: numbers.done_bytes,
            skipped: numbers.skipped,
            failed: numbers.failed,
            message: run.end.as_ref().and_then(|end| end.message.clone()).unwrap_or_default(),
        }
    }
}

/// A failed object.
#[derive(Debug, Serialize)]
pub struct FailureRow {
    bucket: String,
    key: String,
    size: u64,
    class: &'static str,
    attempts: u32,
    at: String,
    message: String,
    requests: String,
}

impl FailureRow {
    /// Creates the row of a failure of a run with these pairs.
    pub fn new(failure: &FailureRecord, pairs: &[BucketPair]) -> Self {
        let pair = usize::try_from(failure.pair).ok().and_then(|number| pairs.get(number));
        Self {
            bucket: pair.map(|pair| pair.source_bucket.clone()).unwrap_or_default(),
            key: failure.key.clone(),
            size: failure.size,
            class: failure.class.as_str(),
            attempts: failure.attempts,
            at: time(failure.at),
            message: failure.message.clone(),
            requests: failure.request_ids.join(" "),
        }
    }
}

/// A line of a summary.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct SummaryRow {
    item: String,
    objects: Option<u64>,
    bytes: Option<u64>,
    details: String,
}

/// Returns the summary of a run.
pub fn summary(
    run: &RunRecord,
    tally: &Tally,
    verified: Option<&VerificationRecord>,
    failures: &[FailureRecord],
) -> Vec<SummaryRow> {
    let numbers = progress(run, tally);
    let row = |item: &str, objects: u64, bytes: Option<u64>, details: String| SummaryRow {
        item: item.to_owned(),
        objects: Some(objects),
        bytes,
        details,
    };
    let words = |item: &str, details: String| SummaryRow { item: item.to_owned(), objects: None, bytes: None, details };
    let end = run.end.as_ref();
    let why = end.and_then(|end| end.message.as_ref()).map(|why| format!(": {why}")).unwrap_or_default();
    let mut rows = vec![
        words("run", format!("{}, started {}", run.run, time(run.started))),
        words("result", format!("{}{}{why}", result(run), duration(run))),
        row("copied", numbers.done, Some(numbers.done_bytes), human(numbers.done_bytes)),
        row("skipped", numbers.skipped, None, format!("{} compared by less than content", numbers.weakly_compared)),
        row("failed", numbers.failed, Some(numbers.failed_bytes), human(numbers.failed_bytes)),
    ];
    let mut classes: BTreeMap<&str, (u64, u64, &str)> = BTreeMap::new();
    for failure in failures {
        let class = classes.entry(failure.class.as_str()).or_insert((0, 0, &failure.message));
        class.0 += 1;
        class.1 += failure.size;
    }
    for (class, (objects, bytes, message)) in classes {
        rows.push(row(&format!("failed: {class}"), objects, Some(bytes), format!("such as: {message}")));
    }
    let losses = tally.counted().counts.losses;
    if !losses.is_none() {
        rows.push(words("not preserved", losses.kinds()));
    }
    if let Some(record) = verified {
        let whole = if record.found.is_whole() { "whole" } else { "different" };
        rows.push(words("verified", format!("{whole}: {}", verification::describe(&record.found))));
    }
    rows
}

fn duration(run: &RunRecord) -> String {
    let Some(end) = &run.end else { return String::new() };
    let millis = u64::try_from(end.at - run.started).unwrap_or_default();
    format!(" after {}.{} s", millis / 1_000, millis % 1_000 / 100)
}

/// Returns the result of a run in one word.
pub fn result(run: &RunRecord) -> &'static str {
    match run.end.as_ref().map(|end| end.result) {
        None if !run.scan.closed => "Scanning",
        None => "Transferring",
        Some(RunResult::Complete) => "Complete",
        Some(RunResult::PartiallyFailed) => "PartiallyFailed",
        Some(RunResult::Failed) => "Failed",
    }
}

/// Returns a time in milliseconds since 1970 as text.
pub fn time(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map(|time| time.strftime("%FT%TZ").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::outcome::FailureClass;
    use migration_core::records::{RunEnd, ScanCounts};
    use migration_testkit::samples::run_record;

    #[test]
    fn a_summary_groups_failures_by_class() {
        let mut run = run_record(true);
        run.started = 1_000;
        run.end = Some(RunEnd { at: 3_500, result: RunResult::PartiallyFailed, message: None, cause: None });
        run.scan.counts = ScanCounts { failed: 2, failed_bytes: 6, ..ScanCounts::default() };
        let failure = |key: &str, size| FailureRecord {
            pair: 0,
            key: key.into(),
            size,
            class: FailureClass::Archived,
            message: "restore it".into(),
            batch: None,
            attempts: 1,
            request_ids: vec![],
            at: 0,
        };
        let rows = summary(&run, &Tally::default(), None, &[failure("a", 2), failure("b", 4)]);
        let items: Vec<_> = rows.iter().map(|row| row.item.as_str()).collect();
        assert_eq!(items, ["run", "result", "copied", "skipped", "failed", "failed: Archived"]);
        assert_eq!(rows[1].details, "PartiallyFailed after 2.5 s");
        assert_eq!((rows[5].objects, rows[5].bytes), (Some(2), Some(6)));
    }
}
