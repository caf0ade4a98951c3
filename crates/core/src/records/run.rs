//! Runs, and the ranges of keys that their scans are made of.

use serde::{Deserialize, Serialize};

use super::job_partition;
use crate::pair::BucketPair;
use crate::ports::LedgerKey;

/// Which run of a job is the last one taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentRun {
    /// Its id.
    pub run: String,
    /// Counts writes of this record; each write asks for the one it has read.
    pub revision: u64,
}

/// One run: from the start of its scan to the end of its last batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// Sorts by start.
    pub run: String,
    /// Counts writes of this record; each write asks for the one it has read.
    pub revision: u64,
    /// The Kubernetes Job that took it first, or another name that stays the same when the sender is started again.
    pub started_by: String,
    /// The sender that has it now.
    pub owner: String,
    /// The number of that sender: 1 for the first. Part of the ids of the batches that it makes.
    pub epoch: u32,
    /// Until when nobody else may take it, in milliseconds since 1970.
    pub lease_until: i64,
    /// When the scan began, in milliseconds since 1970.
    pub started: i64,
    /// What is moved where; batches are checked against it, and edits of the resource apply from the next run.
    pub pairs: Vec<BucketPair>,
    /// How far the scan is.
    pub scan: ScanProgress,
    /// Ranges and epochs whose batches do not count: what killed senders left open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<StaleRange>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
}

/// A range that was sent again, and the epoch whose batches do not count any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleRange {
    /// The range.
    pub range: u32,
    /// The epoch.
    pub epoch: u32,
}

/// How far a scan is. Sums over the ranges, each with its last epoch only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScanProgress {
    /// All ranges are closed and their numbers final.
    pub closed: bool,
    /// When that was, in milliseconds since 1970.
    #[serde(default)]
    pub closed_at: i64,
    /// What was found.
    #[serde(flatten)]
    pub counts: ScanCounts,
}

/// What a scan, or one range of it, found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScanCounts {
    /// Batches sent.
    pub batches: u64,
    /// Objects in them.
    pub objects: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Source objects found in place.
    pub in_place: u64,
    /// Bytes of these.
    pub in_place_bytes: u64,
    /// Of `in_place`, those judged by size and time only.
    pub in_place_by_time: u64,
    /// Source objects that the ignore list hides.
    pub ignored: u64,
    /// Source objects that can't be mapped; each has a failure record.
    pub failed: u64,
    /// Bytes of these.
    pub failed_bytes: u64,
}

impl ScanCounts {
    /// Adds another range's.
    pub fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.in_place += other.in_place;
        self.in_place_bytes += other.in_place_bytes;
        self.in_place_by_time += other.in_place_by_time;
        self.ignored += other.ignored;
        self.failed += other.failed;
        self.failed_bytes += other.failed_bytes;
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEnd {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// With what.
    pub result: RunResult,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// With what a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunResult {
    /// Every object is in place.
    Complete,
    /// Every object is in place or has a failure record.
    PartiallyFailed,
    /// The scan could not be ended.
    Failed,
}

/// A range of keys of one pair. Written when it is closed; a range without a record is sent again by the next sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RangeRecord {
    /// The range.
    pub range: u32,
    /// The epoch of the sender that works on it or closed it.
    pub epoch: u32,
    /// Whether its numbers are final.
    pub closed: bool,
    /// Place of its pair among the run's.
    pub pair: u32,
    /// What was found in it.
    #[serde(flatten)]
    pub counts: ScanCounts,
}

/// What sort keys of [`RunRecord`]s start with.
pub const RUN_PREFIX: &str = "run/";
/// What sort keys of [`RangeRecord`]s start with.
pub const RANGE_PREFIX: &str = "range/";
/// Key of [`CurrentRun`].
pub fn current_key(job: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), "current")
}

/// Key of a [`RunRecord`].
pub fn run_key(job: &str, run: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("{RUN_PREFIX}{run}"))
}

/// Partition of a run's ranges, batches and counters.
pub fn run_partition(job: &str, run: &str) -> String {
    format!("run/{job}/{run}")
}

/// Key of a [`RangeRecord`].
pub fn range_key(job: &str, run: &str, range: u32) -> LedgerKey {
    LedgerKey::new(run_partition(job, run), format!("{RANGE_PREFIX}{range:06}"))
}
