//! What is shown of a job.

use migration_core::progress::RunProgress;
use migration_core::records::RunResult;
use migration_core::verification::{Verification, VerifyMethod};
use serde::Serialize;

/// Most pairs of buckets that are shown of a job.
pub const MOST_PAIRS: usize = 20;
/// Most runs that are shown of a job.
pub const MOST_RUNS: usize = 50;

/// Names a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct JobName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Summary of the state of a job: the phases of a `MigrationJob`, and one that only a single machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "MigrationJob documents them")]
pub enum Phase {
    Pending,
    Scanning,
    Transferring,
    Verifying,
    Complete,
    PartiallyFailed,
    Failed,
    Watching,
    Suspended,
    /// The process of a live run on this machine has ended; the same command continues it.
    Interrupted,
}

impl Phase {
    /// Returns true if objects are listed, copied or compared now.
    pub const fn is_moving(self) -> bool {
        matches!(self, Self::Scanning | Self::Transferring | Self::Verifying)
    }
}

impl From<RunResult> for Phase {
    fn from(result: RunResult) -> Self {
        match result {
            RunResult::Complete => Self::Complete,
            RunResult::PartiallyFailed => Self::PartiallyFailed,
            RunResult::Failed => Self::Failed,
        }
    }
}

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Namespace and name.
    #[serde(flatten)]
    pub name: JobName,
    /// Summary of the state.
    pub phase: Phase,
    /// What is wrong, or what is going on.
    pub message: Option<String>,
    /// From where to where, at most [`MOST_PAIRS`].
    pub pairs: Vec<PairLine>,
    /// Number of further pairs.
    pub more_pairs: usize,
    /// ID of the live run, or of the last one.
    pub run: Option<String>,
    /// Numbers of that run.
    pub numbers: Option<Numbers>,
    /// Bytes per second now; 0 if nothing is live.
    pub rate: u64,
    /// Seconds left at this rate.
    pub eta_seconds: Option<u64>,
    /// Messages in the queue.
    pub queue: Option<QueueLine>,
    /// Workers.
    pub workers: Option<WorkersLine>,
    /// The runs that ended last, the newest first, at most [`MOST_RUNS`].
    pub runs: Vec<RunLine>,
    /// The last verification.
    pub verification: Option<VerificationLine>,
    /// What a run would do, by the last plan.
    pub plan: Option<PlanLine>,
}

impl JobView {
    /// Returns the view of a job of which nothing is known but its name.
    pub fn new(name: JobName) -> Self {
        Self {
            name,
            phase: Phase::Pending,
            message: None,
            pairs: Vec::new(),
            more_pairs: 0,
            run: None,
            numbers: None,
            rate: 0,
            eta_seconds: None,
            queue: None,
            workers: None,
            runs: Vec::new(),
            verification: None,
            plan: None,
        }
    }

    /// Returns the view of a job that can't be read.
    pub fn unreadable(name: JobName, why: &str) -> Self {
        Self { phase: Phase::Failed, message: Some(format!("can't be read: {why}")), ..Self::new(name) }
    }
}

/// A pair of buckets, with their prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PairLine {
    /// Where objects are read.
    pub from: String,
    /// Where they are written.
    pub to: String,
}

/// Numbers of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Numbers {
    /// Objects to copy, as far as the scan has got.
    pub objects: u64,
    /// Their total size, in bytes.
    pub bytes: u64,
    /// Objects at the destination and verified.
    pub done: u64,
    /// Their total size, in bytes.
    pub done_bytes: u64,
    /// Objects in place, ignored or gone.
    pub skipped: u64,
    /// Objects that failed.
    pub failed: u64,
    /// Their total size, in bytes.
    pub failed_bytes: u64,
}

impl From<RunProgress> for Numbers {
    fn from(progress: RunProgress) -> Self {
        let RunProgress { objects, bytes, done, done_bytes, skipped, failed, failed_bytes, .. } = progress;
        Self { objects, bytes, done, done_bytes, skipped, failed, failed_bytes }
    }
}

/// Messages in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueLine {
    /// Messages waiting, delayed ones included.
    pub visible: u64,
    /// Messages being worked on.
    pub in_flight: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Number of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkersLine {
    /// Wanted.
    pub desired: u32,
    /// Ready.
    pub ready: u32,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunLine {
    /// Its ID.
    pub run: String,
    /// Its start, as Unix time in milliseconds.
    pub started: i64,
    /// Its end, as Unix time in milliseconds.
    pub ended: i64,
    /// The result.
    pub result: RunResult,
    /// Objects copied.
    pub done: u64,
    /// Bytes copied.
    pub done_bytes: u64,
    /// Objects skipped, if known.
    pub skipped: Option<u64>,
    /// Objects that failed.
    pub failed: u64,
    /// An explanation, if it did not end well.
    pub message: Option<String>,
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerificationLine {
    /// ID of its run.
    pub run: String,
    /// When it ended, as Unix time in milliseconds.
    pub at: i64,
    /// The method.
    pub method: VerifyMethod,
    /// True if the copy is whole.
    pub whole: bool,
    /// Numbers of objects.
    #[serde(flatten)]
    pub found: Verification,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanLine {
    /// When it was made, as Unix time in milliseconds.
    pub at: i64,
    /// The plan, as `s3migrate plan --output json` prints it.
    pub plan: serde_json::Value,
}

/// A job in a list of jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRow<'a> {
    #[serde(flatten)]
    name: &'a JobName,
    phase: Phase,
    message: Option<&'a str>,
    numbers: Option<Numbers>,
    rate: u64,
    eta_seconds: Option<u64>,
}

impl<'a> From<&'a JobView> for JobRow<'a> {
    fn from(job: &'a JobView) -> Self {
        let JobView { name, phase, message, numbers, rate, eta_seconds, .. } = job;
        let (phase, numbers, rate, eta_seconds) = (*phase, *numbers, *rate, *eta_seconds);
        Self { name, phase, message: message.as_deref(), numbers, rate, eta_seconds }
    }
}
