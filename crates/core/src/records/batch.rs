//! Ends of batches, and what they add up to.

use serde::{Deserialize, Serialize};

use super::{RETENTION_MS, object_sort_key, record_text, run_partition};
use crate::message::{Batch, BatchId};
use crate::mutants::{Mutant, is_active};
use crate::outcome::{FailureClass, NotPreserved};
use crate::ports::{Condition, Item, LedgerKey, Write};
use crate::retry::Tried;

/// The operator's name among those who end batches: it ends those among the dead letters.
pub const OPERATOR: &str = "operator";

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
    /// What each of them has behind it, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// The object with what became of its entries, below the root of the run's report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<String>,
}

impl BatchEnd {
    /// An end that leaves nothing over.
    pub fn new(id: BatchId, by: &str, at: i64, counts: EndCounts) -> Self {
        Self { id, by: by.to_owned(), at, counts, remainder: Vec::new(), tried: Vec::new(), piece: None }
    }

    /// Whether the queue had given the batch up: no worker has cleared away what it left open.
    pub fn is_of_dead_letter(&self) -> bool {
        self.by == OPERATOR
    }
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
    pub losses: NotPreserved,
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
    /// The batch that failed it; none where the scan did. The record of a batch that does not count says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchId>,
    /// Tries made.
    pub attempts: u32,
    /// Identifiers of the requests that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_ids: Vec<String>,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Most identifiers of requests in a failure record.
const MOST_REQUEST_IDS: usize = 10;

/// What sort keys of [`Counters`] start with.
pub const COUNTER_PREFIX: &str = "counter/";
/// What sort keys of [`BatchEnd`]s start with.
pub const BATCH_PREFIX: &str = "batch/";

/// Key of a [`BatchEnd`].
pub fn batch_key(batch: &Batch) -> LedgerKey {
    LedgerKey::new(run_partition(&batch.job, &batch.run), format!("{BATCH_PREFIX}{}", batch.id.as_str()))
}

/// Key of a worker's [`Counters`] of the batches of one epoch of a run's senders. Those of the first one, and of what is of
/// no run, stand under the name alone.
pub fn counter_key(job: &str, run: &str, name: &str, epoch: u32) -> LedgerKey {
    let sort = if epoch > 1 { format!("{COUNTER_PREFIX}{name}/{epoch:04}") } else { format!("{COUNTER_PREFIX}{name}") };
    LedgerKey::new(run_partition(job, run), sort)
}

/// The epoch of the counters under a sort key.
pub fn counter_epoch(sort: &str) -> u32 {
    sort.strip_prefix(COUNTER_PREFIX)
        .and_then(|name| name.rsplit_once('/'))
        .and_then(|(_, epoch)| epoch.parse().ok())
        .unwrap_or(1)
}

/// When a worker ended a batch last, in milliseconds since 1970: what it adds to its counters also sets when they may be
/// forgotten, [`RETENTION_MS`] later.
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

/// The write of a failure record. Failures are written before what counts them, such as the end of their batch
/// ([`end_writes`]), so that a count is never without its records. Writing one twice changes nothing. Its texts are cut
/// so that the ledger takes it, whatever a service said.
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

/// The writes that end a batch, all or nothing: its end, if it has none yet, and the counters of who ends it. So each
/// batch is counted once, whoever else holds a copy of its message.
pub fn end_writes(batch: &Batch, end: &BatchEnd) -> [Write; 2] {
    let expires_at = end.at + RETENTION_MS;
    let twice = is_active(Mutant::CountedTwice) || is_active(Mutant::TwoCompletions);
    [
        Write::Put {
            item: Item::of(batch_key(batch), end).expiring(expires_at),
            condition: if twice { Condition::Always } else { Condition::Absent },
        },
        Write::Add {
            key: counter_key(&batch.job, &batch.run, &end.by, batch.id.place().map_or(1, |(_, epoch)| epoch)),
            deltas: Counters::of(end).deltas(),
            expires_at: Some(expires_at / 1_000),
        },
    ]
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
