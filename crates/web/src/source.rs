//! Reads failures of a job and the findings of its scan, from the ledger that the implementation knows.

use std::collections::BTreeMap;
use std::future::Future;

use migration_core::pair::BucketPair;
use migration_core::records::FailureRecord;
use migration_ledger::failures::{FailureCursor, FailureFilter, FailurePage, PageBounds};
use serde::Serialize;

use crate::found::RunScan;
use crate::view::JobName;

/// A request for a page of failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureQuery {
    /// ID of the run; `None` for the last one.
    pub run: Option<String>,
    /// Which failures.
    pub filter: FailureFilter,
    /// Where the page begins.
    pub from: FailureCursor,
    /// Bounds of the page.
    pub bounds: PageBounds,
}

/// A page of failures, and the run that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFailures {
    /// ID of the run.
    pub run: String,
    /// Its pairs.
    pub pairs: Vec<BucketPair>,
    /// The page.
    pub page: FailurePage,
}

/// Why the ledger could not be read. The messages are shown to whoever may read the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The job has no run, or not this one.
    #[error("failed to find the run: the job has none, or its records have expired")]
    NoRun,
    /// The ledger can't be read.
    #[error("failed to read the ledger: {0}")]
    Ledger(String),
}

/// Reads failures, and what scans have found.
pub trait Source: Send + Sync + 'static {
    /// Reads a page of the failures of a job's run.
    fn failures(
        &self,
        job: &JobName,
        query: &FailureQuery,
    ) -> impl Future<Output = Result<RunFailures, SourceError>> + Send;

    /// Reads what the scan of a job's last run has found so far.
    fn scan(&self, job: &JobName) -> impl Future<Output = Result<RunScan, SourceError>> + Send;
}

/// A failure, as the page gets it. Texts are raw: the page shows them as text, and escaped.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureRow<'a> {
    /// Source bucket; empty if the run has no such pair.
    pub bucket: &'a str,
    /// Source key.
    pub key: &'a str,
    /// Size in bytes.
    pub size: u64,
    /// Class of the failure.
    pub class: &'static str,
    /// Number of attempts.
    pub attempts: u32,
    /// When it failed, as Unix time in milliseconds.
    pub at: i64,
    /// A description.
    pub message: &'a str,
    /// The service's IDs of the failed requests.
    pub request_ids: &'a [String],
}

impl<'a> FailureRow<'a> {
    /// Creates the row of a failure of a run with these pairs.
    pub fn new(failure: &'a FailureRecord, pairs: &'a [BucketPair]) -> Self {
        let pair = usize::try_from(failure.pair).ok().and_then(|number| pairs.get(number));
        Self {
            bucket: pair.map_or("", |pair| &pair.source_bucket),
            key: &failure.key,
            size: failure.size,
            class: failure.class.as_str(),
            attempts: failure.attempts,
            at: failure.at,
            message: &failure.message,
            request_ids: &failure.request_ids,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RowsAnswer<'a> {
    run: &'a str,
    failures: Vec<FailureRow<'a>>,
    next: Option<String>,
    read: u64,
    unreadable: u64,
}

/// Failures of one class.
#[derive(Debug, Default, Serialize)]
struct ClassCount<'a> {
    objects: u64,
    bytes: u64,
    /// Description of the first one.
    example: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountsAnswer<'a> {
    run: &'a str,
    classes: BTreeMap<&'static str, ClassCount<'a>>,
    next: Option<String>,
    read: u64,
    unreadable: u64,
}

impl RunFailures {
    fn next(&self) -> Option<String> {
        self.page.next.as_ref().map(ToString::to_string)
    }

    /// Returns the failures in JSON.
    pub fn rows(&self) -> String {
        let failures = self.page.failures.iter().map(|failure| FailureRow::new(failure, &self.pairs)).collect();
        let (read, unreadable) = (self.page.read, self.page.unreadable.count);
        let answer = RowsAnswer { run: &self.run, failures, next: self.next(), read, unreadable };
        serde_json::to_string(&answer).unwrap_or_default()
    }

    /// Returns the number of failures of each class in JSON, of this page alone: whoever asks adds up the pages.
    pub fn counts(&self) -> String {
        let mut classes: BTreeMap<&'static str, ClassCount<'_>> = BTreeMap::new();
        for failure in &self.page.failures {
            let class = classes.entry(failure.class.as_str()).or_default();
            class.objects += 1;
            class.bytes += failure.size;
            if class.example.is_empty() {
                class.example = &failure.message;
            }
        }
        let (read, unreadable) = (self.page.read, self.page.unreadable.count);
        let answer = CountsAnswer { run: &self.run, classes, next: self.next(), read, unreadable };
        serde_json::to_string(&answer).unwrap_or_default()
    }
}
