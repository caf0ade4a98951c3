//! Runs, and the key ranges of their scans.

use serde::{Deserialize, Serialize};

use super::{BATCH_PREFIX, Counters, FailureRecord, MirrorCounts, RunSides, job_partition};
use crate::etag::ETag;
use crate::message::BatchId;
use crate::pair::BucketPair;
use crate::ports::LedgerKey;
use crate::range::KeyRange;

/// The job's latest run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentRun {
    /// ID of the run.
    pub run: String,
    /// Number of writes of this record; each write requires the revision it has read.
    pub revision: u64,
}

/// A run, from the start of its scan to the end of its last batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// ID of the run. Runs sort by start.
    pub run: String,
    /// Number of writes of this record; each write requires the revision it has read.
    pub revision: u64,
    /// Name of the Kubernetes Job that started it, or another name that survives restarts of the sender.
    pub started_by: String,
    /// Name of the sender that holds the run.
    pub owner: String,
    /// Number of that sender, from 1. Part of the IDs of its batches.
    pub epoch: u32,
    /// End of the sender's lease, as Unix time in milliseconds. No other sender may take the run before.
    pub lease_until: i64,
    /// Start of the scan, as Unix time in milliseconds.
    pub started: i64,
    /// The bucket pairs. Batches are checked against them; changes of the resource apply from the next run.
    pub pairs: Vec<BucketPair>,
    /// Source and destination. Changes of the resource apply from the next run. `None` in records of versions that did
    /// not write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<RunSides>,
    /// Progress of the scan.
    pub scan: ScanProgress,
    /// Batches that do not count: those that killed senders sent after the last checkpoint of a range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<StaleRange>,
    /// What the run did with extraneous objects, if the job mirrors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorCounts>,
    /// True if the run covers only the objects of a work list. It then says nothing about other objects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listed_by_manifest: bool,
    /// ETag of that list. The run cannot continue with another list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ETag>,
    /// When the operator found messages to be lost, as Unix time in milliseconds. The next sender to take the run
    /// [reopens](crate::reopen) the ranges that lack ends of batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopen: Option<i64>,
    /// The times the run was reopened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reopened: Vec<Reopening>,
    /// Totals of the ranges that the last reopening kept, under earlier epochs.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub kept: Counters,
    /// How the run ended; `None` while it is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
}

fn is_nothing(counters: &Counters) -> bool {
    *counters == Counters::default()
}

/// A set of ranges that were scanned and sent again from their start, since ends of their batches were missing for too
/// long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopening {
    /// When this was requested, as Unix time in milliseconds.
    pub at: i64,
    /// Epoch under which they were sent again. Batches of earlier epochs do not count.
    pub epoch: u32,
    /// Numbers of the ranges.
    pub ranges: Vec<u32>,
}

/// A range that was partly sent again, and the batches of an epoch that therefore do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleRange {
    /// Number of the range.
    pub range: u32,
    /// The epoch.
    pub epoch: u32,
    /// Index of the first batch that does not count. Earlier ones are in the range's checkpoint.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl StaleRange {
    /// Returns the prefix of the sort keys of these batches' ends.
    pub fn prefix(&self) -> String {
        format!("{BATCH_PREFIX}{}", BatchId::prefix(self.range, self.epoch))
    }

    /// Returns the sort key after which these ends are, or `None` if all batches of the epoch are stale.
    pub fn after(&self) -> Option<String> {
        let last = self.from.checked_sub(1)?;
        // Also after the remainders of the last batch that counts.
        Some(format!("{BATCH_PREFIX}{}~", BatchId::new(self.range, self.epoch, last).as_str()))
    }
}

/// Progress of a scan: totals of its ranges, without stale batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScanProgress {
    /// True if all ranges are closed and their numbers final.
    pub closed: bool,
    /// When the scan was closed, as Unix time in milliseconds; 0 before.
    #[serde(default)]
    pub closed_at: i64,
    /// True while the scan waits for the workers to catch up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// Totals of what was found.
    #[serde(flatten)]
    pub counts: ScanCounts,
}

/// What a scan, or one of its ranges, found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScanCounts {
    /// Number of batches sent.
    pub batches: u64,
    /// Number of objects in them.
    pub objects: u64,
    /// Their total size, in bytes.
    pub bytes: u64,
    /// Number of source objects found in place.
    pub in_place: u64,
    /// Their total size, in bytes.
    pub in_place_bytes: u64,
    /// Number of `in_place` objects compared by size and time only.
    pub in_place_by_time: u64,
    /// Number of `in_place` objects compared by size only.
    pub in_place_by_size: u64,
    /// Number of source objects excluded by the filters.
    pub ignored: u64,
    /// Number of source objects that cannot be moved; each has a failure record.
    pub failed: u64,
    /// Their total size, in bytes.
    pub failed_bytes: u64,
    /// Number of source objects named by a work list that no longer exist.
    #[serde(skip_serializing_if = "is_zero")]
    pub gone: u64,
    /// Number of destination objects that no source key maps to. Counted only on request.
    #[serde(skip_serializing_if = "is_zero")]
    pub extra: u64,
}

impl ScanCounts {
    /// Adds the counts of another range.
    pub fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.in_place += other.in_place;
        self.in_place_bytes += other.in_place_bytes;
        self.in_place_by_time += other.in_place_by_time;
        self.in_place_by_size += other.in_place_by_size;
        self.ignored += other.ignored;
        self.failed += other.failed;
        self.failed_bytes += other.failed_bytes;
        self.gone += other.gone;
        self.extra += other.extra;
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunEnd {
    /// When it ended, as Unix time in milliseconds.
    pub at: i64,
    /// The result.
    pub result: RunResult,
    /// An explanation for people, if the run did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What ended the run, if it was not its last batch or its sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<RunEndCause>,
}

/// The cause of a run's forced end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEndCause {
    /// It reached `spec.limits.runDeadline`.
    Deadline,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RunResult {
    /// Every object is in place.
    Complete,
    /// Every object is in place or has a failure record.
    PartiallyFailed,
    /// The scan could not be completed, or the run reached its deadline.
    Failed,
}

/// A range of source keys of one pair. A pair's first range has the index of the pair as its number and covers all keys
/// of the pair; it has no record until there is something to record. When a range is split, both parts are written
/// together, so that the ranges of a pair always cover all of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RangeRecord {
    /// Number of the range, unique in the run.
    pub range: u32,
    /// Epoch of the sender that works on it or closed it.
    pub epoch: u32,
    /// The keys that it covers.
    #[serde(flatten)]
    pub keys: KeyRange,
    /// Checkpoint: all keys up to and including this one are in `counts`, and their batches are in the queue. `None`
    /// before the first checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// True if its numbers are final.
    pub closed: bool,
    /// Index of its pair in the run's pairs.
    pub pair: u32,
    /// What was found in it, up to the checkpoint while it is open.
    #[serde(flatten)]
    pub counts: ScanCounts,
}

impl RangeRecord {
    /// Creates the initial range of a pair.
    pub fn whole(pair: u32) -> Self {
        Self { range: pair, pair, epoch: 1, ..Self::default() }
    }

    /// Returns the keys still to be scanned.
    pub fn rest(&self) -> KeyRange {
        let after = self.position.clone().or_else(|| self.keys.after.clone());
        KeyRange { after, until: self.keys.until.clone() }
    }
}

impl RunRecord {
    /// Returns the first epoch whose counters count. What counts of earlier epochs is in [`Self::kept`].
    pub fn counted_from(&self) -> u32 {
        self.reopened.iter().map(|reopening| reopening.epoch).max().unwrap_or_default()
    }

    /// Returns the epoch under which a range recorded under another one begins again, or `None` if it continues.
    pub fn reopened_under(&self, range: u32, recorded: u32) -> Option<u32> {
        let of_range = self.reopened.iter().filter(|reopening| reopening.ranges.contains(&range));
        of_range.map(|reopening| reopening.epoch).filter(|epoch| *epoch > recorded).max()
    }

    /// Returns true if a failure record counts in this run.
    pub fn counts(&self, failure: &FailureRecord) -> bool {
        !failure.batch.as_ref().is_some_and(|batch| self.is_stale(batch))
    }

    /// Returns true if a batch does not count.
    pub fn is_stale(&self, batch: &BatchId) -> bool {
        if batch.place().is_some_and(|(range, epoch)| self.reopened_under(range, epoch).is_some()) {
            return true;
        }
        let key = format!("{BATCH_PREFIX}{}", batch.as_str());
        let stands =
            |stale: &StaleRange| key.starts_with(&stale.prefix()) && stale.after().is_none_or(|after| key > after);
        self.stale.iter().any(stands)
    }
}

/// Prefix of the sort keys of [`RunRecord`]s.
pub const RUN_PREFIX: &str = "run/";
/// Prefix of the sort keys of [`RangeRecord`]s.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_was_written_before_there_were_cuts_is_all_of_its_pair() {
        let record: RangeRecord =
            serde_json::from_str(r#"{"range":1,"epoch":2,"closed":true,"pair":1,"batches":3}"#).unwrap();
        assert_eq!(record.keys, KeyRange::default());
        assert!(record.closed && record.counts.batches == 3);
    }

    #[test]
    fn stale_batches_stand_behind_the_recorded_ones_and_their_remainders() {
        let id = |index| format!("{BATCH_PREFIX}{}", BatchId::new(3, 2, index).as_str());
        let stale = StaleRange { range: 3, epoch: 2, from: 10 };
        let after = stale.after().unwrap();
        assert!(id(9).starts_with(&stale.prefix()) && after.starts_with(&stale.prefix()));
        assert!(id(9) < after && format!("{}/r/r", id(9)) < after && id(10) > after);
        assert_eq!(StaleRange { from: 0, ..stale }.after(), None);
    }

    #[test]
    fn a_record_from_before_there_were_reopenings_is_read() {
        let record: RunRecord = serde_json::from_str(
            r#"{"run":"r","revision":1,"startedBy":"j","owner":"p","epoch":1,"leaseUntil":0,"started":0,"pairs":[],
               "scan":{"closed":true,"closedAt":5,"batches":3}}"#,
        )
        .unwrap();
        assert_eq!((record.counted_from(), record.kept, record.reopen), (0, Counters::default(), None));
        assert!(!record.is_stale(&BatchId::new(0, 1, 0)));
        let written = serde_json::to_value(&record).unwrap();
        assert!(["kept", "reopened", "reopen", "list"].iter().all(|name| written.get(name).is_none()), "{written}");
    }

    #[test]
    fn a_range_goes_on_at_its_checkpoint() {
        let keys = KeyRange { after: Some("a".into()), until: Some("m".into()) };
        let mut record = RangeRecord { keys: keys.clone(), ..RangeRecord::whole(0) };
        assert_eq!(record.rest(), keys);
        record.position = Some("c".into());
        assert_eq!(record.rest(), KeyRange { after: Some("c".into()), until: Some("m".into()) });
    }
}
