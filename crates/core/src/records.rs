//! Records in the ledger: their contents, their keys, and who may write them.
//!
//! | partition | sort key | record | written by |
//! | `pk` | `sk` | record | written by |
//! |---|---|---|---|
//! | `job/UID` | `current` | [`CurrentRun`] | the jobsender that takes a run, conditionally |
//! | `job/UID` | `run/RUN` | [`RunRecord`] | its jobsender; the operator, to reopen and to end it; on condition of the revision |
//! | `job/UID` | `heartbeat/NAME` | [`Heartbeat`] | that worker or jobsender |
//! | `run/UID/RUN` | `range/RANGE` | [`RangeRecord`] | the run's jobsender |
//! | `run/UID/RUN` | `batch/ID` | [`BatchEnd`] | the process that ends the batch, in one transaction with the counters, if absent |
//! | `run/UID/events/SHARD` | `batch/ID` | [`BatchEnd`] of work without a run, one of 16 shards | the same, many in one transaction |
//! | `run/UID/RUN` | `counter/NAME`, `counter/NAME/EPOCH` | [`Counters`] | that worker only, by addition |
//! | `run/UID/RUN` | `cost/NAME/TOKEN` | [`SpendingRecord`] | that process only, as a whole |
//! | `failure/UID/RUN/PAIR` | source key | [`FailureRecord`] | the process that meets the failure; idempotent |
//! | `extra/UID/RUN/PAIR` | destination key | [`ExtraneousRecord`] | the run's jobsender, if the job mirrors |
//! | `upload/UID/SHARD` | hash of destination bucket and key | [`UploadRecord`] | the worker that moves the object, conditionally |
//! | `parts/UID/HASH` | hash of the upload's ID, first part | [`PartRangeRecord`] | the worker that moves that range of a distributed object |
//! | `parts/UID/HASH` | `verified/`, hash of the upload's ID, first part | [`VerifiedPartsRecord`] | the worker that sends these parts; every part in it was verified |
//! | `version/UID/PAIR/SHARD` | source key | [`VersionRecord`] | the worker that moved the object; idempotent |
//! | `job/UID` | `verification/RUN` | [`VerificationRecord`] | the process that verified the run |
//! | `job/UID` | `report/RUN` | [`ReportRecord`] | the process that wrote the run's report |
//! | `job/UID` | `notifications` | [`NotificationsRecord`] | the Job that configures or removes the job's notification entries; one at a time |
//! | `job/UID` | `deletions` | [`DeletionsRecord`] | the worker that reserves deletions of a day for events, conditionally |
//! | `job/UID` | `bucket/HASH` | [`BucketRecord`] | the worker that probes a destination bucket's service, conditionally |
//! | `job/UID` | `source/HASH` | [`SourceBucketRecord`] | the worker that finds that a source bucket's ETags are not digests |
//! | `limits/UID` | `pool` | [`PoolRecord`] | the process whose share of the limits changes, conditionally |
//! | `limits/UID` | `share/PROCESS` | [`ShareRecord`] | that process, conditionally; deleted by another one after its death |
//!
//! Object keys have up to 1,024 bytes, the maximum of a sort key, so they are never prefixed with a bucket name. A key
//! that is not a valid sort key is replaced: see [`object_sort_key`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::congestion::RefusedAlgorithm;
use crate::error::Blocked;
use crate::ports::{Item, LedgerKey};

pub use batch::{
    BATCH_PREFIX, BatchEnd, COUNTER_PREFIX, Counters, EVENT_SHARDS, EndCounts, FailureRecord, MOST_ENDS, OPERATOR,
    batch_key, counter_epoch, counter_key, end_writes, ends_writes, failure_key, failure_partition, failure_write,
    last_end,
};
pub use bucket::{BucketRecord, Known, MOST_PROBES, NO_STANDS_MS, SourceBucketRecord, bucket_key, source_bucket_key};
pub use deletions::{DeletionsRecord, Reservation, day_of, deletions_key};
pub use extraneous::{ExtraneousRecord, extraneous_partition, extraneous_write};
pub use mirror::MirrorCounts;
pub use notifications::{NotificationsRecord, NotifiedBucket, notifications_key, notifications_write};
pub use report::{ReportRecord, report_key, report_write};
pub use requests::{is_refused_for_good, object_sort_key, record_text, requests, value_size};
pub use run::{
    CurrentRun, RANGE_PREFIX, RUN_PREFIX, RangeRecord, Reopening, RunEnd, RunEndCause, RunRecord, RunResult,
    ScanCounts, ScanProgress, StaleRange, current_key, range_key, run_key, run_partition,
};
pub use share::{
    PoolRecord, Portions, SHARE_PREFIX, ShareRecord, WHOLE, pool_key, share_key, share_partition, share_process,
    share_written,
};
pub use sides::{RunSide, RunSides};
pub use spending::{COUNTED_PREFIX, SPENDING_PREFIX, Spending, SpendingRecord, spending_key};
pub use units::{read_units, write_units};
pub use upload::{
    ANNOUNCED_MS, Damage, PartRangeOutcome, PartRangeRecord, UPLOAD_SHARDS, UploadRecord, VERIFIED_EVERY_MS,
    VerifiedPartsRecord, part_range_key, part_range_name, part_range_partition, part_range_prefix, upload_key,
    upload_partition, verified_key, verified_prefix, verified_write,
};
pub use verification::{VerificationRecord, verification_key, verification_write};
pub use version::{VERSION_SHARDS, VersionRecord, version_key, version_partition, version_shard};

mod batch;
mod bucket;
mod deletions;
mod extraneous;
mod mirror;
mod notifications;
mod report;
mod requests;
mod run;
mod share;
mod sides;
mod spending;
mod units;
mod upload;
mod verification;
mod version;

/// Lifetime of a run's records after they are written, in milliseconds. They must outlive the run by 28 days, twice the
/// maximum retention of a queue. When they are written the end of the run is unknown, so it may last a year.
pub const RETENTION_MS: i64 = (365 + 28) * 24 * 3600 * 1000;

/// A ledger item that cannot be parsed as the record its key names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read ledger record {} {}: {}{reason}", key.partition, key.sort, named(member.as_deref()))]
pub struct RecordError {
    /// Key of the item.
    pub key: LedgerKey,
    /// The attribute that cannot be read. `None` if an attribute is missing; `reason` then names it.
    pub member: Option<String>,
    /// Description of the error.
    pub reason: String,
}

fn named(member: Option<&str>) -> String {
    member.map(|member| format!("{member}: ")).unwrap_or_default()
}

impl Item {
    /// Creates the item of a record, without an expiry.
    pub fn of<T: Serialize>(key: LedgerKey, record: &T) -> Self {
        let attributes = match serde_json::to_value(record) {
            Ok(Value::Object(attributes)) => attributes,
            // Records are structs of plain values, so they always serialize to objects.
            _ => Map::new(),
        };
        Self { key, attributes, expires_at: None }
    }

    /// Returns the same item, expiring at a Unix time in milliseconds.
    #[must_use]
    pub fn expiring(mut self, at: i64) -> Self {
        self.expires_at = Some(at / 1000);
        self
    }

    /// Reads the record from the attributes, without copying them.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, RecordError> {
        T::deserialize(&self.attributes).map_err(|error| RecordError {
            key: self.key.clone(),
            member: culprit::<T>(&self.attributes, &error.to_string()),
            reason: error.to_string(),
        })
    }
}

/// Returns the attribute because of which a record cannot be read. This is the attribute without which the record can
/// be read; if there is none, the one without which the error is another, unless that error is a missing attribute. The
/// attributes are tested one by one, since an error in a flattened record does not tell its location.
fn culprit<T: DeserializeOwned>(attributes: &Map<String, Value>, reason: &str) -> Option<String> {
    let without = |name: &String| {
        let mut others = attributes.clone();
        others.remove(name);
        T::deserialize(&others)
    };
    let is_enough = |name: &&String| without(name).is_ok();
    let is_changed = |name: &&String| without(name).is_err_and(|error| error.to_string() != reason);
    let is_missing = reason.starts_with("missing field");
    let found = attributes.keys().find(is_enough);
    found.or_else(|| attributes.keys().filter(|_| !is_missing).find(is_changed)).cloned()
}

/// The activity of a worker or jobsender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Name of the pod.
    pub name: String,
    /// When it was written, as Unix time in milliseconds. The process counts as gone after [`HEARTBEAT_LOST_MS`].
    pub at: i64,
    /// Number of messages in flight.
    pub messages: u32,
    /// Bytes per second moved since the last heartbeat.
    pub rate: u64,
    /// Ranges of distributed objects in progress, named by [`part_range_name`]: this shows their coordinator that they
    /// are not lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<String>,
    /// The paused sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
    /// When a side was last paused, as Unix time in milliseconds. `None` if none was since the process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<i64>,
    /// Runs with batches or ranges in progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
    /// The TCP congestion control that the job asks for and that the node of the process refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_algorithm: Option<RefusedAlgorithm>,
}

impl Heartbeat {
    /// Returns true if the heartbeat is recent enough to be believed.
    pub fn is_fresh(&self, now: i64) -> bool {
        self.at + HEARTBEAT_LOST_MS > now
    }

    /// Returns when the process last saw a side paused, as Unix time in milliseconds.
    pub fn last_paused(&self) -> Option<i64> {
        if self.blocked.is_empty() { self.paused } else { Some(self.at) }
    }
}

/// Interval between heartbeats while there is work, in milliseconds.
pub const HEARTBEAT_EVERY_MS: i64 = 5_000;
/// Age at which a heartbeat is ignored, in milliseconds.
pub const HEARTBEAT_LOST_MS: i64 = 30_000;

/// Partition of a job's runs and heartbeats.
pub fn job_partition(job: &str) -> String {
    format!("job/{job}")
}

/// Prefix of the sort keys of [`Heartbeat`]s.
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

    /// Returns the item of a record, with attribute `name` set to this value.
    fn spoiled<T: Serialize>(record: &T, name: &str, value: Value) -> Item {
        let mut item = Item::of(LedgerKey::new("p", "s"), record);
        item.attributes.insert(name.to_owned(), value);
        item
    }

    #[test]
    fn an_error_names_the_key_the_member_and_what_is_wrong() {
        let beat = Heartbeat {
            name: "w".into(),
            at: 1,
            messages: 0,
            rate: 0,
            ranges: vec![],
            blocked: vec![],
            paused: None,
            runs: vec![],
            refused_algorithm: None,
        };
        let error = spoiled(&beat, "rate", "fast".into()).read::<Heartbeat>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"failed to read ledger record p s: rate: invalid type: string "fast", expected u64"#
        );
        // A flattened member, and a member of a nested record.
        let counters = spoiled(&Counters::default(), "doneBytes", (-1).into());
        assert_eq!(counters.read::<Counters>().unwrap_err().member.as_deref(), Some("doneBytes"));
        let nested = spoiled(&beat, "blocked", serde_json::json!([{"side": "nowhere"}]));
        assert_eq!(nested.read::<Heartbeat>().unwrap_err().member.as_deref(), Some("blocked"));
        let within = spoiled(&beat, "blocked", serde_json::json!([{}])).read::<Heartbeat>().unwrap_err();
        assert_eq!(within.member.as_deref(), Some("blocked"), "{within}");
        let mut lacking = Item::of(LedgerKey::new("p", "s"), &beat);
        lacking.attributes.remove("messages");
        let error = lacking.read::<Heartbeat>().unwrap_err();
        assert_eq!((error.member, error.reason.as_str()), (None, "missing field `messages`"));
    }
}
