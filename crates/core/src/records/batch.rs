//! Ends of batches, and the counters that sum them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{RETENTION_MS, object_sort_key, record_text, run_partition};
use crate::message::{Batch, BatchId};
use crate::mutants::{Mutant, is_active};
use crate::outcome::{Failure, FailureClass, NotPreserved};
use crate::ports::{Condition, Item, LedgerKey, Write};
use crate::retry::Tried;

/// Name under which the operator ends the batches of dead letters.
pub const OPERATOR: &str = "operator";

/// The end of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchEnd {
    /// ID of the batch.
    pub id: BatchId,
    /// Name of the process that ended it.
    pub by: String,
    /// When it ended, as Unix time in milliseconds.
    pub at: i64,
    /// Outcomes of its entries, except those of the remainder.
    #[serde(flatten)]
    pub counts: EndCounts,
    /// Indices of the entries that continue in the batch [`BatchId::remainder`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remainder: Vec<u32>,
    /// The attempts of each of them, in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// Key of the report fragment with the outcomes of its entries, relative to the root of the run's report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<String>,
}

impl BatchEnd {
    /// Creates an end without a remainder.
    pub fn new(id: BatchId, by: &str, at: i64, counts: EndCounts) -> Self {
        Self { id, by: by.to_owned(), at, counts, remainder: Vec::new(), tried: Vec::new(), piece: None }
    }

    /// Returns true if the queue gave up on the batch, so that no worker has cleaned up after it.
    pub fn is_of_dead_letter(&self) -> bool {
        self.by == OPERATOR
    }
}

/// Outcomes of the entries of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndCounts {
    /// Number of objects at the destination and verified.
    pub done: u64,
    /// Their total size, in bytes.
    pub done_bytes: u64,
    /// Number of objects deleted at the source since the scan.
    pub gone: u64,
    /// Their total size as listed, in bytes.
    pub gone_bytes: u64,
    /// Number of objects with a failure record.
    pub failed: u64,
    /// Their total size, in bytes.
    pub failed_bytes: u64,
    /// Attributes of the `done` objects that could not be preserved.
    #[serde(flatten)]
    pub losses: NotPreserved,
}

/// Totals of one worker in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Number of batches ended.
    pub batches: u64,
    /// Number of those that left a remainder.
    pub remainders: u64,
    /// Outcomes of their entries.
    #[serde(flatten)]
    pub counts: EndCounts,
}

impl Counters {
    /// Returns the counters for the end of one batch.
    pub fn of(end: &BatchEnd) -> Self {
        Self { batches: 1, remainders: u64::from(!end.remainder.is_empty()), counts: end.counts }
    }

    /// Adds other counters.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine.1 += theirs.1;
        }
    }

    /// Subtracts other counters, down to 0.
    pub fn subtract(&mut self, other: &Self) {
        for (mine, theirs) in self.fields_mut().into_iter().zip(other.fields()) {
            *mine.1 = mine.1.saturating_sub(theirs.1);
        }
    }

    /// Returns names and values for an addition in the ledger, without zeros.
    pub fn deltas(&self) -> Vec<(String, i64)> {
        let fields = self.fields().into_iter().filter(|(_, n)| *n > 0);
        fields.map(|(name, n)| (name.to_owned(), i64::try_from(n).unwrap_or(i64::MAX))).collect()
    }

    fn fields(mut self) -> [(&'static str, u64); 13] {
        self.fields_mut().map(|(name, n)| (name, *n))
    }

    fn fields_mut(&mut self) -> [(&'static str, &mut u64); 13] {
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
            ("lostEncryption", &mut self.counts.losses.lost_encryption),
        ]
    }
}

/// An object that could not be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureRecord {
    /// Index of its pair in the run's pairs.
    pub pair: u32,
    /// Source key.
    pub key: String,
    /// Size as listed, in bytes.
    pub size: u64,
    /// Class of the failure.
    pub class: FailureClass,
    /// A description that tells a person what to do.
    pub message: String,
    /// The batch in which it failed; `None` if it failed in the scan. Ignored if that batch is stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Number of attempts.
    pub attempts: u32,
    /// The service's IDs of the failed requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// When it failed, as Unix time in milliseconds.
    pub at: i64,
}

impl FailureRecord {
    /// Returns the record of an object that failed in the scan, before any batch contained it.
    pub fn new(pair: u32, key: &str, size: u64, failure: Failure, at: i64) -> Self {
        let Failure { class, message, request_id, cause: _ } = failure;
        let request_ids = request_id.into_iter().collect();
        Self { pair, key: key.to_owned(), size, class, message, batch: None, attempts: 1, request_ids, at }
    }

    /// Returns the same record for a failure in a batch, after this many attempts.
    #[must_use]
    pub fn in_batch(self, batch: &BatchId, attempts: u32) -> Self {
        Self { batch: Some(batch.clone()), attempts, ..self }
    }
}

/// Maximum number of request IDs in a failure record.
const MOST_REQUEST_IDS: usize = 10;

/// Prefix of the sort keys of [`Counters`].
pub const COUNTER_PREFIX: &str = "counter/";
/// Prefix of the sort keys of [`BatchEnd`]s.
pub const BATCH_PREFIX: &str = "batch/";

/// Partitions of the ends of work without a run. One takes about 500 ends a second.
/// Source: "Best practices for designing and using partition keys effectively" in the DynamoDB developer guide: 1,000
/// write units a second, of which a transaction takes two for each item.
pub const EVENT_SHARDS: u8 = 16;

/// Key of a [`BatchEnd`]. Ends of no run are spread over partitions, since there is no end to them.
pub fn batch_key(batch: &Batch) -> LedgerKey {
    let id = batch.id.as_str();
    let mut partition = run_partition(&batch.job, &batch.run);
    if batch.id.place().is_none() {
        let shard = Sha256::digest(id).first().map_or(0, |byte| byte % EVENT_SHARDS);
        partition = format!("{partition}/{shard:02}");
    }
    LedgerKey::new(partition, format!("{BATCH_PREFIX}{id}"))
}

/// Key of a worker's [`Counters`] for the batches of one epoch. The first epoch, and work of no run, use the name
/// alone.
pub fn counter_key(job: &str, run: &str, name: &str, epoch: u32) -> LedgerKey {
    let sort = if epoch > 1 { format!("{COUNTER_PREFIX}{name}/{epoch:04}") } else { format!("{COUNTER_PREFIX}{name}") };
    LedgerKey::new(run_partition(job, run), sort)
}

/// Returns the epoch of the counters with this sort key.
pub fn counter_epoch(sort: &str) -> u32 {
    sort.strip_prefix(COUNTER_PREFIX)
        .and_then(|name| name.rsplit_once('/'))
        .and_then(|(_, epoch)| epoch.parse().ok())
        .unwrap_or(1)
}

/// Returns when a worker last ended a batch, as Unix time in milliseconds. Derived from the expiry of its counters,
/// which each addition sets to [`RETENTION_MS`] later.
pub fn last_end(counters: &Item) -> Option<i64> {
    counters.expires_at.map(|at| at * 1_000 - RETENTION_MS)
}

/// Partition of the failures of one pair in a run.
pub fn failure_partition(job: &str, run: &str, pair: u32) -> String {
    format!("failure/{job}/{run}/{pair}")
}

/// Key of a [`FailureRecord`].
pub fn failure_key(job: &str, run: &str, failure: &FailureRecord) -> LedgerKey {
    LedgerKey::new(failure_partition(job, run, failure.pair), object_sort_key(&failure.key))
}

/// Returns the write of a failure record. It must happen before the write that counts it, such as the end of the batch
/// ([`end_writes`]), so that no count lacks its records. Idempotent. Texts are truncated to fit the ledger.
pub fn failure_write(job: &str, run: &str, failure: &FailureRecord) -> Write {
    let key = failure_key(job, run, failure);
    let failure = &FailureRecord {
        key: record_text(&failure.key),
        message: record_text(&failure.message),
        request_ids: failure.request_ids.iter().take(MOST_REQUEST_IDS).map(|id| record_text(id)).collect(),
        ..failure.clone()
    };
    Write::Put { item: Item::of(key, failure).expiring(failure.at + RETENTION_MS), condition: Condition::Always }
}

/// Returns the writes that end a batch, for one transaction: the end, if there is none yet, and the addition to the
/// counters. So each batch is counted once, even if another worker holds a copy of its message.
pub fn end_writes(batch: &Batch, end: &BatchEnd) -> [Write; 2] {
    [end_write(batch, end), count_write(batch, end, &Counters::of(end))]
}

/// The most ends of one transaction: the ledger takes 100 writes, and one is the addition to the counters.
pub const MOST_ENDS: usize = 99;

/// Returns the writes that end batches of no run, for one transaction: the ends in their order, and one addition to the
/// counters. All batches are different ones of one job, ended by one process.
pub fn ends_writes(ends: &[(&Batch, &BatchEnd)]) -> Vec<Write> {
    let mut sum = Counters::default();
    for (_, end) in ends {
        sum.add(&Counters::of(end));
    }
    let count = ends.last().map(|(batch, end)| count_write(batch, end, &sum));
    ends.iter().map(|(batch, end)| end_write(batch, end)).chain(count).collect()
}

fn end_write(batch: &Batch, end: &BatchEnd) -> Write {
    let twice = is_active(Mutant::CountedTwice) || is_active(Mutant::TwoCompletions);
    Write::Put {
        item: Item::of(batch_key(batch), end).expiring(end.at + RETENTION_MS),
        condition: if twice { Condition::Always } else { Condition::Absent },
    }
}

fn count_write(batch: &Batch, end: &BatchEnd, counters: &Counters) -> Write {
    Write::Add {
        key: counter_key(&batch.job, &batch.run, &end.by, batch.id.place().map_or(1, |(_, epoch)| epoch)),
        deltas: counters.deltas(),
        expires_at: Some((end.at + RETENTION_MS) / 1_000),
    }
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
                losses: NotPreserved {
                    lost_tags: 1,
                    lost_locks: 2,
                    lost_metadata: 3,
                    lost_classes: 4,
                    lost_encryption: 5,
                },
            },
            remainder: vec![7],
            tried: vec![],
            piece: None,
        };
        let one = Counters::of(&end);
        let mut two = one;
        two.add(&one);
        two.subtract(&one);
        assert_eq!(two, one);
        let json = serde_json::to_value(one).unwrap();
        assert_eq!(one.deltas().len(), 13);
        for (name, n) in one.deltas() {
            assert_eq!(json[&name], n, "{name}");
        }
    }

    #[test]
    fn counters_are_kept_apart_by_epoch() {
        for (epoch, sort) in
            [(0, "counter/w-1"), (1, "counter/w-1"), (2, "counter/w-1/0002"), (12_345, "counter/w-1/12345")]
        {
            let key = counter_key("u", "r", "w-1", epoch);
            assert_eq!((key.sort.as_str(), counter_epoch(&key.sort)), (sort, epoch.max(1)));
        }
        assert_eq!(counter_epoch("counter/a/b"), 1);
    }

    #[test]
    fn counters_tell_when_they_were_added_to_last() {
        let at = 1_700_000_000_000;
        let item =
            Item { expires_at: Some((at + RETENTION_MS) / 1_000), ..Item::of(counter_key("u", "r", "w", 1), &0) };
        assert_eq!(last_end(&item), Some(at));
    }

    #[test]
    fn counters_that_were_never_added_to_are_zero() {
        let counters: Counters = serde_json::from_str(r#"{"batches":1,"done":2}"#).unwrap();
        assert_eq!((counters.batches, counters.counts.done, counters.counts.gone), (1, 2, 0));
    }
}
