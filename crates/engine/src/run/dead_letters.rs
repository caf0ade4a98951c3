//! Records batches in the dead-letter queue as failures, so that their run can end. Does not delete the messages,
//! because a person may want to redrive them.
//!
//! | dead letter | what is written |
//! |---|---|
//! | a batch of the live run | failure records and the batch's end; sent again, so that a worker aborts its upload |
//! | a stale batch of the live run | nothing: its objects were sent again |
//! | a batch of another run or another job | nothing: that run has ended, or another operator handles it |
//! | a range of parts | nothing: the coordinator of the object sends the range again |
//! | a job message of the predecessor, S3 events, a batch of the run `events` | nothing: no run waits for it |
//! | any other message | nothing: its attribute `reason` says why it is there |
//!
//! All of them count as dead letters until they are removed.

use std::collections::BTreeSet;
use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::message::{Batch, Message};
use migration_core::outcome::{Failure, FailureClass};
use migration_core::ports::{DeadLetter, DeadLetterQueue, Ledger, OutgoingMessage, Queue, Write};
use migration_core::records::{self, BatchEnd, EndCounts, FailureRecord, RunRecord};
use migration_ledger::{WriteOutcome, write};
use tracing::warn;

use crate::log_context::{LogContext, within_sync};

/// Visibility timeout of received dead letters, long enough to receive all of them once.
const VISIBILITY: Duration = Duration::from_secs(10);
/// Maximum number of messages per request.
const PAGE: u32 = 10;
/// Maximum number of requests per drain. If there are more dead letters, the next drain receives others.
const PAGES: u32 = 50;
/// Interval between drains for a live run while the number of dead letters is unchanged, in milliseconds.
const LOOK_AGAIN_MS: i64 = 60_000;

/// The last drain of a job's dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastDrain {
    /// Number of dead letters at that time.
    pub depth: u64,
    /// Time of the drain, in milliseconds since 1970.
    pub at: i64,
}

/// Returns true if the dead letters must be drained: there are some, and their number has changed or a minute has
/// passed.
pub fn is_due(last: Option<LastDrain>, depth: u64, now: i64) -> bool {
    depth > 0 && last.is_none_or(|last| last.depth != depth || now - last.at >= LOOK_AGAIN_MS)
}

/// The two queues of a job, by name: one type implements both ports, so that swapped arguments would compile.
#[derive(Clone, Copy, Debug)]
pub struct Queues<'a, D, Q> {
    /// The queue to drain.
    pub dead_letters: &'a D,
    /// The queue that workers receive from.
    pub queue: &'a Q,
}

/// Receives the dead letters and ends the batches of a live run among them that have not ended. Returns the number of
/// batches it ended.
pub async fn drain<D: DeadLetterQueue, Q: Queue, L: Ledger>(
    queues: Queues<'_, D, Q>,
    ledger: &L,
    job: &str,
    run: &RunRecord,
    now: i64,
) -> Result<u32, DrainError> {
    let Queues { dead_letters, queue } = queues;
    let (mut seen, mut ended) = (BTreeSet::new(), 0);
    for _ in 0..PAGES {
        let letters = dead_letters.receive_dead_letters(PAGE, Duration::ZERO, VISIBILITY).await?;
        let fresh: Vec<_> = letters.into_iter().filter(|letter| seen.insert(letter.message.id.clone())).collect();
        if fresh.is_empty() {
            break;
        }
        for letter in &fresh {
            let Some(end) = ending(letter, job, run, now) else { continue };
            match record(ledger, &end).await {
                Ok(WriteOutcome::Written) => {
                    ended += 1;
                    clear_away(queue, &end.batch).await?;
                }
                Ok(WriteOutcome::Lost) => {}
                // One dead letter that cannot be recorded must not block the others.
                Err(error) if records::is_refused_for_good(&error) => {
                    let context = LogContext::Batch(end.batch.clone().into());
                    within_sync(context, || warn!(%error, "failed to record dead letter"));
                }
                Err(error) => return Err(DrainError::Ledger(error)),
            }
        }
    }
    Ok(ended)
}

/// Sends a batch that was just ended again if it may have left a multipart upload open. A worker, which may write to
/// the destination, finds the end and aborts the upload. Objects sent in parts are alone in their batch. If this
/// message is lost, the next run continues the upload, or the deletion of the job aborts it.
async fn clear_away<Q: Queue>(queue: &Q, batch: &Batch) -> Result<(), ServiceError> {
    if batch.objects.len() == 1 {
        queue.send(&[OutgoingMessage { body: batch.body(), delay: Duration::ZERO }]).await?;
    }
    Ok(())
}

/// Why dead letters could not be recorded as failures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// A queue request failed.
    #[error("failed to read dead letters: {0}")]
    Queue(#[from] ServiceError),
    /// A ledger request failed.
    #[error("failed to record dead letters: {0}")]
    Ledger(ServiceError),
}

/// The records written for a batch in the dead-letter queue.
#[derive(Clone, Debug, PartialEq)]
struct Ending {
    batch: Batch,
    failures: Vec<FailureRecord>,
    end: BatchEnd,
}

/// Returns the records to write for a dead letter, or `None` if it is not a batch of this run that counts; see the
/// table of the module.
fn ending(letter: &DeadLetter, job: &str, run: &RunRecord, now: i64) -> Option<Ending> {
    let Ok(Message::Batch(batch)) = Message::parse(&letter.message.body) else { return None };
    if batch.job != job || batch.run != run.run || run.is_stale(&batch.id) {
        return None;
    }
    let pair = run.pairs.iter().position(|pair| *pair == batch.pair)?;
    let pair = u32::try_from(pair).ok()?;
    let why = letter.reason.as_deref().unwrap_or("no worker finished it within the queue's maximum number of receives");
    let message = format!("failed to transfer object: its message went to the dead letter queue: {why}");
    let failure = Failure::new(FailureClass::DeadLetter, message);
    let failures = batch.objects.iter().map(|object| {
        let failure = FailureRecord::new(pair, &object.key, object.size, failure.clone(), now);
        failure.in_batch(&batch.id, batch.attempts)
    });
    let failures: Vec<_> = failures.collect();
    let counts = EndCounts {
        failed: u64::try_from(batch.objects.len()).unwrap_or(u64::MAX),
        failed_bytes: batch.bytes(),
        ..EndCounts::default()
    };
    let end = BatchEnd::new(batch.id.clone(), records::OPERATOR, now, counts);
    Some(Ending { batch, failures, end })
}

/// Writes the records of a batch. The outcome is `Lost` if the batch had already ended. The failures are written before
/// the end, so that a count is never without its records. If the batch was ended by another process, that process has
/// recorded its failures.
async fn record<L: Ledger>(ledger: &L, ending: &Ending) -> Result<WriteOutcome, ServiceError> {
    if ledger.get(&records::batch_key(&ending.batch)).await?.is_some() {
        return Ok(WriteOutcome::Lost);
    }
    for request in failure_requests(ending) {
        write::all(ledger, &request).await?;
    }
    write::all(ledger, &records::end_writes(&ending.batch, &ending.end)).await
}

/// Returns the requests that write the failures of a batch. A batch of a work list may name a key more than once.
fn failure_requests(ending: &Ending) -> Vec<Vec<Write>> {
    let (job, run) = (&ending.batch.job, &ending.batch.run);
    records::requests(ending.failures.iter().map(|failure| records::failure_write(job, run, failure)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_core::error::ErrorClass;
    use migration_core::etag::ETag;
    use migration_core::message::{BatchId, EVENTS_RUN, Entry, MESSAGE_VERSION, PartRange};
    use migration_core::object::SourceIdentity;
    use migration_core::part::PartLayout;
    use migration_core::ports::{Condition, ReceivedMessage};
    use migration_core::records::Reopening;
    use migration_core::retry::Tried;
    use migration_testkit::samples::{bucket_pair, run_record};
    use migration_testkit::{MemoryLedger, MemoryQueue};

    fn batch() -> Batch {
        let entry = |key: &str| Entry {
            key: key.into(),
            size: 7,
            etag: None,
            version_id: None,
            destination: None,
            unlisted: false,
            tried: Tried::default(),
        };
        Batch {
            version: MESSAGE_VERSION,
            job: "u-1".into(),
            run: "r1".into(),
            id: BatchId::new(0, 1, 0),
            scanned: 1,
            pair: bucket_pair("second"),
            attempts: 2,
            objects: vec![entry("x"), entry("y")],
        }
    }

    fn queues<'a, D>(dead_letters: &'a D, queue: &'a MemoryQueue) -> Queues<'a, D, MemoryQueue> {
        Queues { dead_letters, queue }
    }

    fn letter(body: String, reason: Option<&str>) -> DeadLetter {
        let message = ReceivedMessage { id: "m".into(), receipt: "r".into(), body, receives: 61 };
        DeadLetter { message, reason: reason.map(ToOwned::to_owned) }
    }

    fn live() -> RunRecord {
        RunRecord { run: "r1".into(), pairs: vec![bucket_pair("first"), bucket_pair("second")], ..run_record(true) }
    }

    #[test]
    fn a_dead_batch_gives_failures_and_one_end_with_its_counts() {
        let ending = ending(&letter(batch().body(), Some("stalled")), "u-1", &live(), 50).unwrap();
        assert_eq!(ending.failures.len(), 2);
        assert_eq!((ending.failures[1].pair, ending.failures[1].key.as_str()), (1, "y"));
        assert!(ending.failures[0].message.ends_with("stalled"));
        let [put, add] = records::end_writes(&ending.batch, &ending.end);
        assert!(matches!(put, Write::Put { condition: Condition::Absent, .. }));
        let Write::Add { deltas, key, .. } = add else { panic!("the counters are added to") };
        assert_eq!(key.sort, "counter/operator");
        assert_eq!(deltas, [("batches".into(), 1), ("failed".into(), 2), ("failedBytes".into(), 14)]);
    }

    #[test]
    fn a_key_that_a_dead_batch_names_twice_is_recorded_once() {
        let mut batch = batch();
        batch.objects.extend([batch.objects[0].clone(), Entry { key: String::new(), ..batch.objects[1].clone() }]);
        let ending = ending(&letter(batch.body(), None), "u-1", &live(), 50).unwrap();
        assert_eq!(ending.end.counts.failed, 4, "each entry is counted");
        let requests = failure_requests(&ending);
        let sorts: Vec<_> = requests.iter().flatten().map(|write| write.key().sort.clone()).collect();
        assert_eq!(requests.len(), 1);
        assert_eq!(sorts[..2], ["x", "y"]);
        assert!(sorts.len() == 3 && !sorts[2].is_empty(), "{sorts:?}");
    }

    #[test]
    fn what_is_not_of_this_run_is_left_alone() {
        let none = |change: fn(&mut Batch)| {
            let mut batch = batch();
            change(&mut batch);
            ending(&letter(batch.body(), None), "u-1", &live(), 5).is_none()
        };
        assert!(none(|batch| batch.run = "r0".into()));
        assert!(none(|batch| batch.job = "u-2".into()));
        assert!(none(|batch| batch.pair.source_bucket = "third".into()));
        let mut reopened = live();
        reopened.reopened.push(Reopening { at: 1, epoch: 2, ranges: vec![0] });
        assert_eq!(ending(&letter(batch().body(), None), "u-1", &reopened, 5), None, "it was sent anew");
        assert!(ending(&letter("nonsense".into(), None), "u-1", &live(), 5).is_none());
    }

    #[test]
    fn a_dead_part_range_needs_no_failure_since_its_batch_lives_and_sends_it_again() {
        let source =
            SourceIdentity { bucket: "second".into(), key: "x".into(), etag: ETag::new("e"), version_id: None };
        let batch = Batch { pair: bucket_pair("second"), ..batch() };
        let all = PartRange::whole(&batch, source, "x", ("id", PartLayout { size: 25, part_size: 10 }, true));
        let body = all.between(2, 3).body();
        assert!(matches!(Message::parse(&body), Ok(Message::PartRange(_))));
        assert_eq!(ending(&letter(body, Some("stalled")), "u-1", &live(), 5), None);
    }

    #[test]
    fn dead_foreign_messages_stay_where_the_status_counts_them() {
        let job = r#"{"Src_bucket":"second","Src_key":"x","Des_bucket":"b","Des_key":"x","Size":7,"versionId":"null"}"#;
        assert!(matches!(Message::parse(job), Ok(Message::Job(_))));
        let events =
            r#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"second"},"object":{"key":"x"}}}]}"#;
        assert!(matches!(Message::parse(events), Ok(Message::Events(_))));
        let rest = Batch { run: EVENTS_RUN.to_owned(), ..batch() }.body();
        for body in [job.to_owned(), events.to_owned(), rest] {
            assert_eq!(ending(&letter(body.clone(), None), "u-1", &live(), 5), None, "{body}");
        }
    }

    #[test]
    fn it_is_looked_when_the_number_changed_or_a_minute_passed() {
        let last = Some(LastDrain { depth: 2, at: 0 });
        for (last, depth, now, expected) in [
            (None, 0, 0, false),
            (None, 1, 0, true),
            (last, 2, 59_999, false),
            (last, 2, 60_000, true),
            (last, 3, 1, true),
            (last, 0, 90_000, false),
        ] {
            assert_eq!(is_due(last, depth, now), expected, "{last:?} {depth} {now}");
        }
    }
    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_each_batch_once_and_leaves_the_letters_where_they_are() {
        let (queue, ledger, run) = (MemoryQueue::default(), MemoryLedger::new(), live());
        let one = Batch { id: BatchId::new(0, 1, 1), objects: vec![batch().objects[0].clone()], ..batch() };
        let stale = Batch { run: "r0".into(), ..batch() };
        for body in [batch().body(), one.body(), stale.body(), "nonsense".to_owned()] {
            queue.send_dead_letter(&body, "stalled").await.unwrap();
        }
        let drain = async || drain(queues(&queue.dead_letter_queue(), &queue), &ledger, "u-1", &run, 50).await;
        assert_eq!(drain().await, Ok(2));
        let ended = |batch: &Batch| ledger.items().iter().any(|item| item.key == records::batch_key(batch));
        assert!(ended(&batch()) && ended(&one) && !ended(&stale));
        let failures = ledger.items().into_iter().filter(|item| item.key.partition.starts_with("failure/"));
        assert_eq!(failures.count(), 2, "both name x");
        assert_eq!(queue.dead_letters().len(), 4);
        // If the batch may have left an upload open, it is sent to a worker again.
        let bodies = |queue: &MemoryQueue| queue.messages().into_iter().map(|message| message.body).collect::<Vec<_>>();
        assert_eq!(bodies(&queue), [one.body()]);
        assert_eq!(drain().await, Ok(0), "they are kept from this look");
        tokio::time::advance(VISIBILITY).await;
        assert_eq!(drain().await, Ok(0), "they have ended");
        assert_eq!(bodies(&queue).len(), 1);
    }

    #[tokio::test]
    async fn a_letter_that_the_ledger_refuses_stops_none_of_the_others() {
        let (queue, ledger, run) = (MemoryQueue::default(), MemoryLedger::new(), live());
        let mut wide = batch();
        // Longer than the maximum length of a partition key in DynamoDB.
        wide.run = "r".repeat(3_000);
        let run = RunRecord { run: wide.run.clone(), ..run };
        queue.send_dead_letter(&wide.body(), "stalled").await.unwrap();
        let drained = drain(queues(&queue.dead_letter_queue(), &queue), &ledger, "u-1", &run, 50).await;
        assert_eq!((drained, ledger.items().len()), (Ok(0), 0));
        ledger.denials().deny_all(ErrorClass::Throttled, "ThrottlingException");
        queue.send_dead_letter(&batch().body(), "stalled").await.unwrap();
        let drained = drain(queues(&queue.dead_letter_queue(), &queue), &ledger, "u-1", &live(), 50).await;
        assert!(matches!(drained, Err(DrainError::Ledger(_))), "{drained:?}");
    }
}
