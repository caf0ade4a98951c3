//! The end of a batch: failures recorded, then the end and the counters in one transaction, then what is left over
//! sent as a batch of its own, and only then the message removed. A crash anywhere in between leaves a message whose
//! next delivery goes on from the record.

use std::time::Duration;

use migration_core::message::Batch;
use migration_core::outcome::{Delivery, EntryOutcome, Failure};
use migration_core::pair::BucketPair;
use migration_core::planted::{Defect, is_planted};
use migration_core::ports::{Condition, Item, Ledger, ObjectStore, OutgoingMessage, Queue, Write};
use migration_core::records::{self, BatchEnd, EndCounts, FailureRecord, VersionRecord};
use migration_core::retry::remainder_delay;
use tracing::info;

use super::{Consumer, Disposal};
use crate::{Interruption, WriteOutcome, report};

/// Failure records written in one request.
const WRITES_AT_ONCE: usize = 100;

impl<S: ObjectStore, Q: Queue, L: Ledger> Consumer<S, Q, L> {
    /// Ends a batch with the outcomes of its entries, in their order.
    pub(super) async fn end(
        &self,
        batch: &Batch,
        pairs: &[BucketPair],
        outcomes: Vec<EntryOutcome>,
    ) -> Result<Disposal, Interruption> {
        let now = self.process.clock.now();
        let versions = self.versions(batch, &outcomes, now);
        let piece = report::write_piece(&self.process, batch, &outcomes, now).await;
        let (mut end, failures) = sum_up(batch, pairs, outcomes, &self.process.name, now);
        end.piece = piece;
        let failures = failures.iter().map(|failure| records::failure_write(&batch.job, &batch.run, failure));
        let records: Vec<Write> = failures.chain(versions).collect();
        for some in records.chunks(WRITES_AT_ONCE) {
            self.process.write(some).await?;
        }
        match self.process.write(&records::end_writes(batch, &end)).await? {
            WriteOutcome::Written => self.finish(batch, &end).await,
            // Ended before, by another delivery or by a try of this one whose answer was lost: that record counts.
            WriteOutcome::Lost => match self.ended(batch).await? {
                Some(end) => self.finish(batch, &end).await,
                None => Ok(Disposal::GiveBack),
            },
        }
    }

    /// The versions that were copied, where runs compare them. They have no end: the next run may be in a year.
    fn versions(&self, batch: &Batch, outcomes: &[EntryOutcome], now: i64) -> Vec<Write> {
        if !self.process.config.versioning.compare_version_id {
            return Vec::new();
        }
        let moved = batch.objects.iter().zip(outcomes).filter_map(|(entry, outcome)| match outcome {
            EntryOutcome::Done(delivery) => Some((entry, delivery)),
            _ => None,
        });
        let records = moved.map(|(entry, delivery)| {
            let record = VersionRecord { version_id: delivery.version_id.clone(), size: delivery.bytes, at: now };
            let key = records::version_key(&batch.job, &batch.pair, &entry.key);
            Write::Put { item: Item::of(key, &record), condition: Condition::Always }
        });
        records.collect()
    }

    /// Sends what an ended batch left over. A duplicate of it ends once only.
    pub(super) async fn finish(&self, batch: &Batch, end: &BatchEnd) -> Result<Disposal, Interruption> {
        if !end.remainder.is_empty() && !is_planted(Defect::LostRemainder) {
            let rest = batch.remainder(&end.remainder);
            info!(batch = batch.id.as_str(), objects = rest.objects.len(), "objects left over are tried again");
            let bound = Duration::from_secs(remainder_delay(rest.attempts).into());
            let delay = bound.mul_f64(0.5 + self.process.clock.random() / 2.0);
            let messages = [OutgoingMessage { body: rest.body(), delay }];
            let queue = &self.process.ports.queue;
            while !self.process.queue(|| queue.send(&messages)).await?.is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Ok(Disposal::Delete)
    }
}

/// The record of a batch's end, and those of its failures.
fn sum_up(
    batch: &Batch,
    pairs: &[BucketPair],
    outcomes: Vec<EntryOutcome>,
    by: &str,
    at: i64,
) -> (BatchEnd, Vec<FailureRecord>) {
    let pair =
        pairs.iter().position(|pair| *pair == batch.pair).and_then(|i| u32::try_from(i).ok()).unwrap_or_default();
    let mut counts = EndCounts::default();
    let mut remainder = Vec::new();
    let mut failures = Vec::new();
    for ((entry, outcome), place) in batch.objects.iter().zip(outcomes).zip(0..) {
        match outcome {
            EntryOutcome::Done(Delivery { bytes, losses, .. }) => {
                counts.done += 1;
                counts.done_bytes += bytes;
                counts.losses.add(&losses);
            }
            EntryOutcome::Gone => {
                counts.gone += 1;
                counts.gone_bytes += entry.size;
            }
            EntryOutcome::Retry(_) | EntryOutcome::Interrupted => remainder.push(place),
            EntryOutcome::Failed(Failure { class, message, request_id }) => {
                counts.failed += 1;
                counts.failed_bytes += entry.size;
                failures.push(FailureRecord {
                    pair,
                    key: entry.key.clone(),
                    size: entry.size,
                    class,
                    message,
                    attempts: batch.attempts + 1,
                    request_ids: request_id.into_iter().collect(),
                    at,
                });
            }
        }
    }
    (BatchEnd { id: batch.id.clone(), by: by.to_owned(), at, counts, remainder, piece: None }, failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::message::{BatchId, Entry, MESSAGE_VERSION};
    use migration_core::outcome::{FailureClass, Losses};

    #[test]
    fn every_entry_is_counted_once_or_left_over() {
        let pair = BucketPair {
            source_bucket: "a".into(),
            source_prefix: String::new(),
            destination_bucket: "b".into(),
            destination_prefix: String::new(),
            prefix_mode: migration_core::pair::PrefixMode::Append,
        };
        let entry = |key: &str, size| Entry {
            key: key.into(),
            size,
            etag: None,
            version_id: None,
            destination: None,
            unlisted: false,
        };
        let batch = Batch {
            version: MESSAGE_VERSION,
            job: "u".into(),
            run: "r".into(),
            id: BatchId::new(0, 1, 0),
            scanned: 0,
            pair: pair.clone(),
            attempts: 2,
            objects: vec![entry("a", 1), entry("b", 2), entry("c", 4), entry("d", 8)],
        };
        let failure = || Failure::new(FailureClass::Archived, "x");
        let outcomes = vec![
            EntryOutcome::Done(Delivery {
                bytes: 1,
                losses: Losses { lost_tags: 1, ..Losses::default() },
                ..Delivery::default()
            }),
            EntryOutcome::Gone,
            EntryOutcome::Failed(failure()),
            EntryOutcome::Retry(failure()),
        ];
        let (end, failures) = sum_up(&batch, &[pair], outcomes, "w", 9);
        let losses = Losses { lost_tags: 1, ..Losses::default() };
        let expected = EndCounts { done: 1, done_bytes: 1, gone: 1, gone_bytes: 2, failed: 1, failed_bytes: 4, losses };
        assert_eq!((end.counts, end.remainder), (expected, vec![3]));
        assert_eq!(failures.iter().map(|f| (f.key.as_str(), f.attempts)).collect::<Vec<_>>(), [("c", 3)]);
    }
}
