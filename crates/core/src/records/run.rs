//! Runs, and the ranges of keys that their scans are made of.

use serde::{Deserialize, Serialize};

use super::{BATCH_PREFIX, Counters, FailureRecord, MirrorCounts, RunSides, job_partition};
use crate::etag::ETag;
use crate::message::BatchId;
use crate::pair::BucketPair;
use crate::ports::LedgerKey;
use crate::range::KeyRange;

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
    /// Where it reads and writes; edits of the resource that lead elsewhere apply from the next run. None in records of
    /// versions that did not write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<RunSides>,
    /// How far the scan is.
    pub scan: ScanProgress,
    /// Batches that do not count: what killed senders sent of the ranges that they left open, and did not record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<StaleRange>,
    /// What it did about what is extra at the destination, where the job mirrors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorCounts>,
    /// It was about the objects of a work list only: of all others it says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listed_by_manifest: bool,
    /// The content of that list, by its ETag: a run goes on with no other one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ETag>,
    /// The operator found that messages are lost, at this time in milliseconds since 1970: the sender that takes the run next
    /// [reopens](crate::reopen) the ranges that lack ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopen: Option<i64>,
    /// The reopenings so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reopened: Vec<Reopening>,
    /// Sums of the ends of the ranges that the last reopening left as they were, under the epochs before it.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub kept: Counters,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<RunEnd>,
}

fn is_nothing(counters: &Counters) -> bool {
    *counters == Counters::default()
}

/// Ranges that were sent anew from their start, since ends of their batches were missing for too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopening {
    /// When that was asked for, in milliseconds since 1970.
    pub at: i64,
    /// The epoch that they began again under: what is of an earlier one does not count.
    pub epoch: u32,
    /// The ranges.
    pub ranges: Vec<u32>,
}

/// A range of which a part was sent again, and the batches of an epoch that do not count for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaleRange {
    /// The range.
    pub range: u32,
    /// The epoch.
    pub epoch: u32,
    /// The first batch that does not count; those before it were recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl StaleRange {
    /// What the sort keys start with under which the ends of these batches stand.
    pub fn prefix(&self) -> String {
        format!("{BATCH_PREFIX}{}", BatchId::prefix(self.range, self.epoch))
    }

    /// The sort key after which they stand; none where all of the epoch are stale.
    pub fn after(&self) -> Option<String> {
        let last = self.from.checked_sub(1)?;
        // Behind the remainders of the last batch that counts.
        Some(format!("{BATCH_PREFIX}{}~", BatchId::new(self.range, self.epoch, last).as_str()))
    }
}

/// How far a scan is. Sums over the ranges, without what is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScanProgress {
    /// All ranges are closed and their numbers final.
    pub closed: bool,
    /// When that was, in milliseconds since 1970.
    #[serde(default)]
    pub closed_at: i64,
    /// It stands still until the workers have done more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
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
    /// Of `in_place`, those judged by size only.
    pub in_place_by_size: u64,
    /// Source objects that the filters hide.
    pub ignored: u64,
    /// Source objects that can't be mapped; each has a failure record.
    pub failed: u64,
    /// Bytes of these.
    pub failed_bytes: u64,
    /// Source objects that a work list names and that are gone since it was made.
    #[serde(skip_serializing_if = "is_zero")]
    pub gone: u64,
    /// Objects of the destination that no source key maps to, where somebody asks for them.
    #[serde(skip_serializing_if = "is_zero")]
    pub extra: u64,
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
        self.in_place_by_size += other.in_place_by_size;
        self.ignored += other.ignored;
        self.failed += other.failed;
        self.failed_bytes += other.failed_bytes;
        self.gone += other.gone;
        self.extra += other.extra;
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
    /// What ended it, where not its own last batch or its sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<RunEndCause>,
}

/// What ended a run that could not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEndCause {
    /// Its time was up: `spec.limits.runDeadline`.
    Deadline,
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

/// A range of source keys of one pair. The first range of a pair has the pair's place as its number and begins as all of
/// the pair's keys; it has no record as long as nothing is to be said of it. When a range is cut, the records of both
/// parts are written together, so that the ranges of a pair are at any time the parts of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RangeRecord {
    /// The range.
    pub range: u32,
    /// The epoch of the sender that works on it or closed it.
    pub epoch: u32,
    /// Which keys.
    #[serde(flatten)]
    pub keys: KeyRange,
    /// The checkpoint: all keys up to here are in `counts`, and their batches are in the queue. None = nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// Whether its numbers are final.
    pub closed: bool,
    /// Place of its pair among the run's.
    pub pair: u32,
    /// What was found in it, up to the checkpoint where it is not closed.
    #[serde(flatten)]
    pub counts: ScanCounts,
}

impl RangeRecord {
    /// The range that a pair begins as.
    pub fn whole(pair: u32) -> Self {
        Self { range: pair, pair, epoch: 1, ..Self::default() }
    }

    /// The keys that are still to be looked at.
    pub fn rest(&self) -> KeyRange {
        let after = self.position.clone().or_else(|| self.keys.after.clone());
        KeyRange { after, until: self.keys.until.clone() }
    }
}

impl RunRecord {
    /// The first epoch whose counters count: those of earlier ones are in [`Self::kept`], as far as they do.
    pub fn counted_from(&self) -> u32 {
        self.reopened.iter().map(|reopening| reopening.epoch).max().unwrap_or_default()
    }

    /// The epoch under which a range that was recorded under another one begins again; none where it goes on.
    pub fn reopened_under(&self, range: u32, recorded: u32) -> Option<u32> {
        let of_range = self.reopened.iter().filter(|reopening| reopening.ranges.contains(&range));
        of_range.map(|reopening| reopening.epoch).filter(|epoch| *epoch > recorded).max()
    }

    /// Whether the record of a failure says something of this run.
    pub fn counts(&self, failure: &FailureRecord) -> bool {
        !failure.batch.as_ref().is_some_and(|batch| self.is_stale(batch))
    }

    /// Whether a batch does not count.
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
