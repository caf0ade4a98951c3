//! Ends a batch: records the failures, then the end and the counters in one transaction, then sends the remaining
//! objects as a new batch, and only then deletes the message. After a crash in between, the next delivery continues
//! from the record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use migration_core::message::Batch;
use migration_core::mutants::{Mutant, is_active};
use migration_core::outcome::{Delivery, EntryOutcome, Failure};
use migration_core::pair::BucketPair;
use migration_core::ports::{Condition, Item, OutgoingMessage, Queue, ReceivedMessage, Write};
use migration_core::records::{self, BatchEnd, EndCounts, FailureRecord, RunRecord, VersionRecord};
use migration_core::retry::{Tried, next_try, remainder_delay};
use migration_ledger::{ReadError, get};
use tracing::{debug, error, warn};

use super::{Disposal, Worker};
use crate::log_context::{LogContext, within_sync};
use crate::telemetry::ObjectTally;
use crate::{Interruption, Services, WriteOutcome, report, uploads};

impl<P: Services> Worker<P> {
    /// Ends a batch with the outcomes of its entries, in order. If the ledger rejects the record permanently, it would
    /// do so at each delivery: the message goes to the dead letters, with the ledger's error.
    pub(super) async fn end(
        &self,
        message: &ReceivedMessage,
        batch: &Arc<Batch>,
        pairs: &[BucketPair],
        outcomes: Vec<EntryOutcome>,
    ) -> Result<Disposal, ReadError<Interruption>> {
        match self.record(message, batch, pairs, outcomes).await {
            Ok(Some(end)) => Ok(self.finish(batch, &end).await?),
            Ok(None) => Ok(Disposal::GiveBack),
            Err(ReadError::Request(Interruption::Service(error))) if records::is_refused_for_good(&error) => {
                let why = format!("failed to record the end of batch {}: {error}", batch.id.as_str());
                Ok(self.bury(message, &why).await?)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the end of a batch and returns the recorded end. Returns `None` if the recorded end, or whether the batch
    /// counts, is unknown.
    async fn record(
        &self,
        message: &ReceivedMessage,
        batch: &Arc<Batch>,
        pairs: &[BucketPair],
        outcomes: Vec<EntryOutcome>,
    ) -> Result<Option<BatchEnd>, ReadError<Interruption>> {
        let now = self.process.runtime.clock.now();
        let versions = self.versions(batch, &outcomes, now);
        let done = done_uploads(batch, &outcomes);
        let piece = report::write_fragment(&self.process, batch, &outcomes, now).await?;
        let most = self.process.config.transfer.max_attempts;
        let tally = ObjectTally::of(&outcomes);
        let (mut end, failures) = sum_up(batch, pairs, outcomes, &self.process.runtime.name, most, now);
        end.piece = piece;
        // Failures of a stale batch must not replace valid ones.
        let is_stale = if failures.is_empty() { Some(false) } else { self.is_stale(batch).await? };
        let Some(is_stale) = is_stale else { return Ok(None) };
        let valid = failures.iter().filter(|_| !is_stale);
        let writes = valid.map(|failure| records::failure_write(&batch.job, &batch.run, &failure.record));
        for request in records::requests(writes.chain(versions)) {
            self.process.write(&request).await?;
        }
        let end = match self.write_end(batch, &end).await? {
            WriteOutcome::Written => {
                self.process.runtime.telemetry.ended(&tally, now);
                failures.iter().filter(|_| !is_stale).for_each(|failure| failure.log(batch));
                Some(end)
            }
            WriteOutcome::Lost => self.other_end(message, batch, end).await?,
        };
        if end.is_some() {
            uploads::forget_done(&self.process, done).await?;
        }
        Ok(end)
    }

    /// Returns the end to act on if another one was recorded before, by another delivery or by a try of this one whose
    /// answer was lost: the recorded one counts.
    async fn other_end(
        &self,
        message: &ReceivedMessage,
        batch: &Batch,
        own: BatchEnd,
    ) -> Result<Option<BatchEnd>, ReadError<Interruption>> {
        let must_look = self.must_look(batch);
        let may_be_left = must_look && message.receives > 1;
        if batch.id.place().is_none() && own.remainder.is_empty() && !may_be_left {
            // Whoever recorded the end of this event sends what it left over. This one left nothing.
            return Ok(Some(own));
        }
        let recorded = self.ended(batch).await?;
        // The end of another delivery says nothing about what this one has still to look at.
        Ok(recorded.map(|recorded| if must_look && recorded.remainder.is_empty() { own } else { recorded }))
    }

    /// Writes the end of a batch and counts it, if it has none yet.
    async fn write_end(&self, batch: &Arc<Batch>, end: &BatchEnd) -> Result<WriteOutcome, Interruption> {
        if batch.id.place().is_none() {
            return self.event_ends.record(&self.process, batch, end).await;
        }
        self.process.write(&records::end_writes(batch, end)).await
    }

    /// Returns true if a batch does not count according to the current record of its run. Returns `None` if that record
    /// cannot be read; the run is then removed from the cache, so that its messages are left to workers that can read
    /// it.
    async fn is_stale(&self, batch: &Batch) -> Result<Option<bool>, Interruption> {
        if batch.id.place().is_none() {
            return Ok(Some(false));
        }
        match get::<RunRecord, _>(self.process.as_ref(), &records::run_key(&batch.job, &batch.run)).await {
            Ok(run) => Ok(Some(run.is_some_and(|run| run.is_stale(&batch.id)))),
            Err(ReadError::Request(error)) => Err(error),
            Err(ReadError::Record(error)) => {
                warn!(%error, "failed to read run of batch; leaving the batch to another worker");
                self.runs.lock().await.remove(&batch.run);
                Ok(None)
            }
        }
    }

    /// Returns the writes that record the copied versions, for runs that compare them. The records do not expire: the
    /// next run may be in a year. If two versions of a key named twice were copied, it is unknown which one is current:
    /// nothing is recorded, and an earlier record is removed.
    fn versions(&self, batch: &Batch, outcomes: &[EntryOutcome], now: i64) -> Vec<Write> {
        if !self.process.config.versioning.compare_version_id {
            return Vec::new();
        }
        let place = self.process.config.destination.place_name();
        let moved = batch.objects.iter().zip(outcomes).filter_map(|(entry, outcome)| match outcome {
            EntryOutcome::Done(delivery) => Some((entry, delivery)),
            _ => None,
        });
        let mut copied: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
        for (entry, delivery) in moved {
            copied.entry(&entry.key).or_default().push(delivery);
        }
        let records = copied.into_iter().filter_map(|(key, deliveries)| {
            let last = deliveries.last()?;
            let key = records::version_key(&batch.job, &batch.pair, key);
            if deliveries.iter().any(|delivery| delivery.version_id != last.version_id) {
                return Some(Write::Delete { key, condition: Condition::Always });
            }
            let (version_id, place) = (last.version_id.clone(), Some(place.clone()));
            let record = VersionRecord { version_id, place, size: last.bytes, at: now };
            Some(Write::Put { item: Item::of(key, &record), condition: Condition::Always })
        });
        records.collect()
    }

    /// Sends the remaining objects of an ended batch. A duplicate of that message ends only once.
    pub(super) async fn finish(&self, batch: &Batch, end: &BatchEnd) -> Result<Disposal, Interruption> {
        if !end.remainder.is_empty() && !is_active(Mutant::LostRemainder) {
            let rest = batch.remainder(&end.remainder, &end.tried);
            debug!(objects = rest.objects.len(), "retrying the remaining objects of a batch");
            let bound = Duration::from_secs(remainder_delay(rest.most_tries()).into());
            let delay = bound.mul_f64(0.5 + self.process.runtime.clock.random() / 2.0);
            let messages = [OutgoingMessage { body: rest.body(), delay }];
            let queue = &self.process.ports.queue;
            while !self.process.queue(|| queue.send(&messages)).await?.is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Ok(Disposal::Delete)
    }
}

/// Returns bucket, key and revision of the upload records of finished objects, which are not needed once the end of the
/// batch is recorded.
fn done_uploads<'a>(batch: &'a Batch, outcomes: &[EntryOutcome]) -> Vec<(&'a str, String, u64)> {
    let done = batch.objects.iter().zip(outcomes).filter_map(|(entry, outcome)| match outcome {
        EntryOutcome::Done(Delivery { upload: Some(revision), .. }) => {
            Some((batch.pair.destination_bucket.as_str(), batch.pair.map_key(&entry.key).ok()?, *revision))
        }
        _ => None,
    });
    done.collect()
}

/// The failure of an object.
struct FailedObject {
    /// The object's index in the batch.
    place: usize,
    record: FailureRecord,
}

impl FailedObject {
    /// Logs a failure that is recorded, once: a batch has one end, however often it is delivered. The reason ends with
    /// the request that failed.
    fn log(&self, batch: &Arc<Batch>) {
        let FailureRecord { class, message, .. } = &self.record;
        let class = class.as_str();
        within_sync(LogContext::Object(batch.clone(), self.place), || error!(class, reason = message, "object failed"));
    }
}

/// Returns the record of a batch's end, and its failures.
fn sum_up(
    batch: &Batch,
    pairs: &[BucketPair],
    outcomes: Vec<EntryOutcome>,
    by: &str,
    most: u32,
    at: i64,
) -> (BatchEnd, Vec<FailedObject>) {
    let pair =
        pairs.iter().position(|pair| *pair == batch.pair).and_then(|i| u32::try_from(i).ok()).unwrap_or_default();
    let mut counts = EndCounts::default();
    let (mut remainder, mut tried) = (Vec::new(), Vec::new());
    let mut failures = Vec::new();
    for ((place, (entry, outcome)), number) in batch.objects.iter().zip(outcomes).enumerate().zip(0_u32..) {
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
            EntryOutcome::Retry(Failure { cause, .. }) => {
                let before = batch.tries(entry);
                let counted = Tried { tries: Some(before + 1), ..entry.tried };
                tried.push(next_try(cause, entry.tried, before, most, at).unwrap_or(counted));
                remainder.push(number);
            }
            EntryOutcome::Interrupted => {
                tried.push(Tried { tries: Some(batch.tries(entry)), ..entry.tried });
                remainder.push(number);
            }
            EntryOutcome::Failed(failure) => {
                counts.failed += 1;
                counts.failed_bytes += entry.size;
                let record = FailureRecord::new(pair, &entry.key, entry.size, failure, at);
                let record = record.in_batch(&batch.id, batch.tries(entry) + 1);
                failures.push(FailedObject { place, record });
            }
        }
    }
    (BatchEnd { id: batch.id.clone(), by: by.to_owned(), at, counts, remainder, tried, piece: None }, failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::message::{BatchId, Entry, MESSAGE_VERSION};
    use migration_core::outcome::{FailureClass, NotPreserved};
    use migration_testkit::samples::bucket_pair;

    #[test]
    fn every_entry_is_counted_once_or_left_over() {
        let pair = bucket_pair("a");
        let entry = |key: &str, size| Entry {
            key: key.into(),
            size,
            etag: None,
            version_id: None,
            destination: None,
            unlisted: false,
            tried: Tried::default(),
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
                losses: NotPreserved { lost_tags: 1, ..NotPreserved::default() },
                ..Delivery::default()
            }),
            EntryOutcome::Gone,
            EntryOutcome::Failed(failure()),
            EntryOutcome::Retry(failure()),
        ];
        let (end, failures) = sum_up(&batch, &[pair], outcomes, "w", 8, 9);
        let losses = NotPreserved { lost_tags: 1, ..NotPreserved::default() };
        let expected = EndCounts { done: 1, done_bytes: 1, gone: 1, gone_bytes: 2, failed: 1, failed_bytes: 4, losses };
        assert_eq!((end.counts, end.remainder), (expected, vec![3]));
        assert_eq!(end.tried, [Tried { tries: Some(3), since: Some(9), parts: 0 }]);
        let failed: Vec<_> = failures.iter().map(|f| (f.place, f.record.key.as_str(), f.record.attempts)).collect();
        assert_eq!(failed, [(2, "c", 3)]);
    }
}
