//! What stands in the ledger: the records, their keys, and who may write them when.
//!
//! | partition | sort key | record | written by |
//! |---|---|---|---|
//! | `job/UID` | `current` | [`CurrentRun`] | the jobsender that takes a run, by condition |
//! | `job/UID` | `run/RUN` | [`RunRecord`] | its jobsender; the operator, once, to end it; by condition on the revision |
//! | `job/UID` | `heartbeat/NAME` | [`Heartbeat`] | that worker or jobsender |
//! | `run/UID/RUN` | `range/RANGE` | [`RangeRecord`] | the run's jobsender |
//! | `run/UID/RUN` | `batch/ID` | [`BatchEnd`] | who ends the batch, in one transaction with the counters, if absent |
//! | `run/UID/RUN` | `counter/NAME`, `counter/NAME/EPOCH` | [`Counters`] | that worker only, by addition |
//! | `failure/UID/RUN/PAIR` | source key | [`FailureRecord`] | who meets the failure; writing twice changes nothing |
//! | `extra/UID/RUN/PAIR` | destination key | [`ExtraneousRecord`] | the run's jobsender, where the job mirrors |
//! | `upload/UID/SHARD` | hash of destination bucket and key | [`UploadRecord`] | who moves the object, by condition |
//! | `parts/UID/HASH` | hash of the upload's id, first part | [`PartRangeRecord`] | who carries that range of a huge object |
//! | `parts/UID/HASH` | `verified/`, hash of the upload's id, first part | [`VerifiedPartsRecord`] | who sends these parts; each part it holds was verified |
//! | `version/UID/PAIR/SHARD` | source key | [`VersionRecord`] | who moved the object; writing twice changes nothing |
//! | `job/UID` | `verification/RUN` | [`VerificationRecord`] | who verified the run |
//! | `job/UID` | `report/RUN` | [`ReportRecord`] | who wrote the report of the run |
//! | `job/UID` | `bucket/HASH` | [`BucketRecord`] | who finds out what a destination bucket's service can do, by condition |
//! | `job/UID` | `source/HASH` | [`SourceBucketRecord`] | who finds out that a source bucket's ETags are no digests |
//!
//! Keys of objects are up to 1,024 bytes, which is all that a sort key holds; so a bucket's name never stands in front
//! of one. Of a key that can't be a sort key a stand-in is one: [`object_sort_key`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Blocked;
use crate::ports::{Item, LedgerKey};

pub use batch::{
    BATCH_PREFIX, BatchEnd, COUNTER_PREFIX, Counters, EndCounts, FailureRecord, OPERATOR, batch_key, counter_epoch,
    counter_key, end_writes, failure_key, failure_partition, failure_write, last_end,
};
pub use bucket::{
    Ability, BucketRecord, Known, MOST_PROBES, NO_STANDS_MS, SourceBucketRecord, Support, bucket_key, is_amazon,
    source_bucket_key,
};
pub use extraneous::{ExtraneousRecord, extraneous_partition, extraneous_write};
pub use mirror::MirrorCounts;
pub use report::{ReportRecord, report_key, report_write};
pub use requests::{is_refused_for_good, object_sort_key, record_text, requests, value_size};
pub use run::{
    CurrentRun, RANGE_PREFIX, RUN_PREFIX, RangeRecord, Reopening, RunEnd, RunEndCause, RunRecord, RunResult,
    ScanCounts, ScanProgress, StaleRange, current_key, range_key, run_key, run_partition,
};
pub use sides::{RunSide, RunSides};
pub use upload::{
    ANNOUNCED_MS, Damage, PartRangeOutcome, PartRangeRecord, UPLOAD_SHARDS, UploadRecord, VERIFIED_EVERY_MS,
    VerifiedPartsRecord, part_range_key, part_range_name, part_range_partition, part_range_prefix, upload_key,
    upload_partition, verified_key, verified_prefix, verified_write,
};
pub use verification::{VerificationRecord, verification_key, verification_write};
pub use version::{VERSION_SHARDS, VersionRecord, version_key, version_partition, version_shard};

mod batch;
mod bucket;
mod extraneous;
mod mirror;
mod report;
mod requests;
mod run;
mod sides;
mod upload;
mod verification;
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
    /// When a side was paused last, in milliseconds since 1970; none where none was since the process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<i64>,
    /// Runs of which it has batches or ranges in hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
}

impl Heartbeat {
    /// Whether it still says what its process is doing.
    pub fn is_fresh(&self, now: i64) -> bool {
        self.at + HEARTBEAT_LOST_MS > now
    }

    /// When its process saw a side paused last, in milliseconds since 1970.
    pub fn last_paused(&self) -> Option<i64> {
        if self.blocked.is_empty() { self.paused } else { Some(self.at) }
    }
}

/// How often heartbeats are written, in milliseconds, while there is work.
pub const HEARTBEAT_EVERY_MS: i64 = 5_000;
/// Age at which a heartbeat says nothing any more, in milliseconds.
pub const HEARTBEAT_LOST_MS: i64 = 30_000;

/// Partition of a job's runs and heartbeats.
pub fn job_partition(job: &str) -> String {
    format!("job/{job}")
}

/// What sort keys of [`Heartbeat`]s start with.
pub const HEARTBEAT_PREFIX: &str = "heartbeat/";
/// Key of a [`Heartbeat`].
pub fn heartbeat_key(job: &str, name: &str) -> LedgerKey {
    LedgerKey::new(job_partition(job), format!("{HEARTBEAT_PREFIX}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::KeyRange;

    #[test]
    fn records_survive_the_ledger() {
        let record = RangeRecord {
            range: 3,
            epoch: 1,
            keys: KeyRange { after: Some("a".into()), until: None },
            position: Some("b".into()),
            closed: true,
            pair: 0,
            counts: ScanCounts { objects: 5, ..ScanCounts::default() },
        };
        let item = Item::of(range_key("u", "r", 3), &record);
        assert_eq!(item.read::<RangeRecord>(), Ok(record));
        assert!(item.read::<Heartbeat>().unwrap_err().to_string().contains("range/000003"));
    }
}
