//! What stands in the ledger: the records, their keys, and who may write them when.
//!
//! | partition | sort key | record | written by |
//! |---|---|---|---|
//! | `job/UID` | `current` | [`CurrentRun`] | the jobsender that takes a run, by condition |
//! | `job/UID` | `run/RUN` | [`RunRecord`] | its jobsender; the operator, once, to end it; by condition on the revision |
//! | `job/UID` | `heartbeat/NAME` | [`Heartbeat`] | that worker or jobsender |
//! | `run/UID/RUN` | `range/RANGE` | [`RangeRecord`] | the run's jobsender |
//! | `run/UID/RUN` | `batch/ID` | [`BatchEnd`] | who ends the batch, in one transaction with the counters, if absent |
//! | `run/UID/RUN` | `counter/NAME` | [`Counters`] | that worker only, by addition |
//! | `failure/UID/RUN/PAIR` | source key | [`FailureRecord`] | who meets the failure; writing twice changes nothing |
//! | `upload/UID/SHARD` | hash of destination bucket and key | [`UploadRecord`] | who moves the object, by condition |
//! | `parts/UID/HASH` | hash of the upload's id, first part | [`PartRangeRecord`] | who carries that range of a huge object |
//! | `version/UID/PAIR/SHARD` | source key | [`VersionRecord`] | who moved the object; writing twice changes nothing |
//! | `job/UID` | `bucket/HASH` | [`BucketRecord`] | who finds out what a bucket's service can do |
//!
//! Keys of objects are up to 1,024 bytes, which is all that a sort key holds; so a bucket's name never stands in front
//! of one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Blocked;
use crate::message::{Batch, BatchId};
use crate::outcome::{FailureClass, Losses};
use crate::pair::BucketPair;
use crate::ports::{Item, LedgerKey};

pub use bucket::{BucketRecord, Support, bucket_key};
pub use upload::{
    ANNOUNCED_MS, PartRangeOutcome, PartRangeRecord, SourceIdentity, UPLOAD_SHARDS, UploadRecord, part_range_key,
    part_range_name, part_range_partition, part_range_prefix, upload_key, upload_partition,
};
pub use version::{VERSION_SHARDS, VersionRecord, version_key, version_partition, version_shard};

mod bucket;
mod upload;
mod version;

/// How long records of a run stay after they are written, in milliseconds. They must outlive the run by 28 days, twice
/// the retention of a queue; when they are written nobody knows when it ends, so a run may last a year.
pub const RETENTION_MS: i64 = (365 + 28) * 24 * 3600 * 1000;

/// Why an item is not the record that its key promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read ledger record {partition} {sort}: {reason}")]
pub struct RecordError {
    partition: String,
    sort: String,
    reason: String,
}

impl Item {
    /// The item of a record, kept for ever.
    pub fn of<T: Serialize>(key: LedgerKey, record: &T) -> Self {
        let attributes = match serde_json::to_value(record) {
            Ok(serde_json::Value::Object(attributes)) => attributes,
            // Records are structs of plain values: they are always objects.
            _ => serde_json::Map::new(),
        };
        Self { key, attributes, expires_at: None }
    }

    /// The same, to be forgotten after a time in milliseconds since 1970.
    #[must_use]
    pub fn expiring(mut self, at: i64) -> Self {
        self.expires_at = Some(at / 1000);
        self
    }

    /// The record.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, RecordError> {
        serde_json::from_value(serde_json::Value::Object(self.attributes.clone())).map_err(|e| RecordError {
            partition: self.key.partition.clone(),
            sort: self.key.sort.clone(),
            reason: e.to_string(),
        })
    }
}

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

/// That a batch is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchEnd {
    /// The batch.
    pub id: BatchId,
    /// Who ended it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What became of its entries, those of the remainder left out.
    #[serde(flatten)]
    pub counts: EndCounts,
    /// Places of the entries that go on in the batch [`BatchId::remainder`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remainder: Vec<u32>,
}

/// What became of the entries of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndCounts {
    /// Objects at the destination and verified.
    pub done: u64,
    /// Bytes of these.
    pub done_bytes: u64,
    /// Objects gone from the source since the scan.
    pub gone: u64,
    /// Bytes of these, as the scan saw them.
    pub gone_bytes: u64,
    /// Objects with a failure record.
    pub failed: u64,
    /// Bytes of these.
    pub failed_bytes: u64,
    /// What could not be taken along with the objects that are done.
    #[serde(flatten)]
    pub losses: Losses,
}

/// The sums of one worker in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Batches ended.
    pub batches: u64,
    /// Of these, with a remainder.
    pub remainders: u64,
    /// Their entries.
    #[serde(flatten)]
    pub counts: EndCounts,
}

impl Counters {
    /// The counters of one batch's end.
    pub fn of(end: &BatchEnd) -> Self {
        Self { batches: 1, remainders: u64::from(!end.remainder.is_empty()), counts: end.counts }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine.1 += theirs.1;
        }
    }

    /// Takes others away.
    pub fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine.1 = mine.1.saturating_sub(theirs.1);
        }
    }

    /// Names and values, as the ledger's addition takes them. Zeros are left out.
    pub fn deltas(&self) -> Vec<(String, i64)> {
        let fields = self.fields().into_iter().filter(|(_, n)| *n > 0);
        fields.map(|(name, n)| (name.to_owned(), i64::try_from(n).unwrap_or(i64::MAX))).collect()
    }

    fn fields(mut self) -> [(&'static str, u64); 12] {
        self.fields_mut().map(|(name, n)| (name, *n))
    }

    fn fields_mut(&mut self) -> [(&'static str, &mut u64); 12] {
        [
            ("batches", &mut self.batches),
            ("remainders", &mut self.remainders),
            ("done", &mut self.counts.done),
            ("doneBytes", &mut self.counts.done_bytes),
            ("gone", &mut self.counts.gone),
            ("goneBytes", &mut self.counts.gone_bytes),
            ("failed", &mut self.counts.failed),
            ("failedBytes", &mut self.counts.failed_bytes),
            ("lostTags", &mut self.counts.losses.lost_tags),
            ("lostLocks", &mut self.counts.losses.lost_locks),
            ("lostMetadata", &mut self.counts.losses.lost_metadata),
            ("lostClasses", &mut self.counts.losses.lost_classes),
        ]
    }
}

/// What a worker or jobsender is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// The pod.
    pub name: String,
    /// When this was written, in milliseconds since 1970. Older than [`HEARTBEAT_LOST_MS`] = gone.
    pub at: i64,
    /// Messages held.
    pub messages: u32,
    /// Bytes a second moved since the last heartbeat.
    pub rate: u64,
    /// Ranges of huge objects under work, named by [`part_range_name`]: their coordinator sees that they are
    /// not lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<String>,
    /// Sides that are paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
}

/// How often heartbeats are written, in milliseconds, while there is work.
pub const HEARTBEAT_EVERY_MS: i64 = 5_000;
/// Age at which a heartbeat says nothing any more, in milliseconds.
pub const HEARTBEAT_LOST_MS: i64 = 30_000;

/// An object that could not be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureRecord {
    /// Place of its pair among the run's.
    pub pair: u32,
    /// Source key.
    pub key: String,
    /// Bytes, as the scan saw them.
    pub size: u64,
    /// The kind of failure.
    pub class: FailureClass,
    /// What happened, with what a person needs to act.
    pub message: String,
    /// Tries made.
    pub attempts: u32,
    /// Identifiers of the requests that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Key of [`CurrentRun`].
pub fn current_key(job: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), "current")
}

/// Partition of a job's runs and heartbeats.
pub fn job_partition(job: &str) -> String {
    format!("job/{job}")
}

/// What sort keys of [`RunRecord`]s start with.
pub const RUN_PREFIX: &str = "run/";
/// What sort keys of [`Heartbeat`]s start with.
pub const HEARTBEAT_PREFIX: &str = "heartbeat/";
/// What sort keys of [`Counters`] start with.
pub const COUNTER_PREFIX: &str = "counter/";
/// What sort keys of [`RangeRecord`]s start with.
pub const RANGE_PREFIX: &str = "range/";
/// What sort keys of [`BatchEnd`]s start with.
pub const BATCH_PREFIX: &str = "batch/";

/// Key of a [`RunRecord`].
pub fn run_key(job: &str, run: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("{RUN_PREFIX}{run}"))
}

/// Key of a [`Heartbeat`].
pub fn heartbeat_key(job: &str, name: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("{HEARTBEAT_PREFIX}{name}"))
}

/// Partition of a run's ranges, batches and counters.
pub fn run_partition(job: &str, run: &str) -> String {
    format!("run/{job}/{run}")
}

/// Key of a [`RangeRecord`].
pub fn range_key(job: &str, run: &str, range: u32) -> LedgerKey {
    LedgerKey::new(run_partition(job, run), format!("{RANGE_PREFIX}{range:06}"))
}

/// Key of a [`BatchEnd`].
pub fn batch_key(batch: &Batch) -> LedgerKey {
    LedgerKey::new(run_partition(&batch.job, &batch.run), format!("{BATCH_PREFIX}{}", batch.id.as_str()))
}

/// Key of a worker's [`Counters`].
pub fn counter_key(job: &str, run: &str, name: &str) -> LedgerKey {
    LedgerKey::new(run_partition(job, run), format!("{COUNTER_PREFIX}{name}"))
}

/// Partition of the failures of one pair in a run.
pub fn failure_partition(job: &str, run: &str, pair: u32) -> String {
    format!("failure/{job}/{run}/{pair}")
}

/// Key of a [`FailureRecord`].
pub fn failure_key(job: &str, run: &str, failure: &FailureRecord) -> LedgerKey {
    LedgerKey::new(failure_partition(job, run, failure.pair), failure.key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_subtract_and_name_their_fields_as_serde_does() {
        let end = BatchEnd {
            id: BatchId::new(0, 1, 0),
            by: "w".into(),
            at: 0,
            counts: EndCounts {
                done: 2,
                done_bytes: 9,
                gone: 1,
                gone_bytes: 3,
                failed: 4,
                failed_bytes: 5,
                losses: Losses { lost_tags: 1, lost_locks: 2, lost_metadata: 3, lost_classes: 4 },
            },
            remainder: vec![7],
        };
        let one = Counters::of(&end);
        let mut two = one;
        two.add(&one);
        two.subtract(&one);
        assert_eq!(two, one);
        let json = serde_json::to_value(one).unwrap();
        assert_eq!(one.deltas().len(), 12);
        for (name, n) in one.deltas() {
            assert_eq!(json[&name], n, "{name}");
        }
    }

    #[test]
    fn counters_that_were_never_added_to_are_zero() {
        let counters: Counters = serde_json::from_str(r#"{"batches":1,"done":2}"#).unwrap();
        assert_eq!((counters.batches, counters.counts.done, counters.counts.gone), (1, 2, 0));
    }

    #[test]
    fn records_survive_the_ledger() {
        let record = RangeRecord {
            range: 3,
            epoch: 1,
            closed: true,
            pair: 0,
            counts: ScanCounts { objects: 5, ..ScanCounts::default() },
        };
        let item = Item::of(range_key("u", "r", 3), &record);
        assert_eq!(item.read::<RangeRecord>(), Ok(record));
        assert!(item.read::<Heartbeat>().unwrap_err().to_string().contains("range/000003"));
    }
}
