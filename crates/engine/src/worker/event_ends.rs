//! Records the ends of work that belongs to no run, many in one transaction: events come one object at a time, and a
//! transaction for each would cost more than the copy of a small object.
//!
//! Whoever ends a batch puts it into the queue. One of them writes the queue's transaction, the others wait for it. A
//! transaction that duplicates cancel is sent again without them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::message::Batch;
use migration_core::records::{BatchEnd, MOST_ENDS, batch_key, end_writes, ends_writes};
use migration_ledger::write;
use tokio::sync::{Notify, oneshot};
use tracing::debug;

use crate::{Interruption, Process, Services, WriteOutcome};

/// How long an end waits for others. Its object is copied, and the next one is under way.
const LINGER: Duration = Duration::from_millis(100);
/// Ends for which a transaction waits no longer: half of what it takes.
const ENOUGH: usize = MOST_ENDS / 2;
/// Ends that may wait before no more messages are received.
const MOST_WAITING: usize = 500;

type Answer = Result<WriteOutcome, Interruption>;

/// An end that is to be recorded.
struct Pending {
    batch: Arc<Batch>,
    end: BatchEnd,
    answer: oneshot::Sender<Answer>,
}

/// The ends that wait to be recorded.
#[derive(Default)]
pub(super) struct EventEnds {
    queue: Mutex<Vec<Pending>>,
    /// Held by the one who writes.
    turn: tokio::sync::Mutex<()>,
    /// Notified when enough ends wait.
    enough: Notify,
    /// Notified when ends were recorded.
    recorded: Notify,
}

impl EventEnds {
    fn queue(&self) -> MutexGuard<'_, Vec<Pending>> {
        // A poisoned lock is used as it is: no statement changes the list halfway.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many more ends may wait.
    pub(super) fn room(&self) -> usize {
        MOST_WAITING.saturating_sub(self.queue().len())
    }

    /// Waits until ends were recorded.
    pub(super) async fn changed(&self) {
        self.recorded.notified().await;
    }

    /// Records the end of a batch if there is none yet.
    pub(super) async fn record<P: Services>(&self, process: &Process<P>, batch: &Arc<Batch>, end: &BatchEnd) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        let number = {
            let mut queue = self.queue();
            queue.push(Pending { batch: batch.clone(), end: end.clone(), answer });
            queue.len()
        };
        if number >= ENOUGH {
            self.enough.notify_one();
        }
        loop {
            tokio::select! {
                biased;
                // One whose writer was stopped was not recorded, or nobody knows: the message is delivered again.
                answer = &mut answered => return answer.unwrap_or(Err(Interruption::Stopped)),
                _turn = self.turn.lock() => self.write_queue(process).await,
            }
        }
    }

    /// Writes one transaction of the ends that wait, a moment later.
    async fn write_queue<P: Services>(&self, process: &Process<P>) {
        if self.queue().is_empty() {
            // The answer of this one is on its way.
            return tokio::task::yield_now().await;
        }
        if self.queue().len() < ENOUGH {
            tokio::select! {
                () = self.enough.notified() => {}
                () = tokio::time::sleep(LINGER) => {}
                () = process.runtime.stop.cancelled() => {}
            }
        }
        let group: Vec<Pending> = {
            let mut queue = self.queue();
            let number = queue.len().min(MOST_ENDS);
            queue.drain(..number).collect()
        };
        write_group(process, group).await;
        self.recorded.notify_one();
    }
}

/// Records ends, and answers each. Of several ends of one batch the first counts; the others are answered as if they had
/// come later.
async fn write_group<P: Services>(process: &Process<P>, group: Vec<Pending>) {
    let mut seen = HashSet::new();
    let (mut left, duplicates): (Vec<_>, Vec<_>) =
        group.into_iter().partition(|pending| seen.insert(batch_key(&pending.batch)));
    let mut failed = HashMap::new();
    let mut answer = |pending: Pending, result: Answer| {
        if let Err(error) = &result {
            failed.insert(batch_key(&pending.batch), error.clone());
        }
        reply(pending, result);
    };
    while !left.is_empty() {
        let ends: Vec<_> = left.iter().map(|pending| (&*pending.batch, &pending.end)).collect();
        let writes = ends_writes(&ends);
        match process.ledger(|| write::or_failed(&process.ports.ledger, &writes)).await {
            Ok(failed) if failed.is_empty() => {
                left.drain(..).for_each(|pending| answer(pending, Ok(WriteOutcome::Written)));
            }
            Ok(failed) => {
                debug!(ends = left.len(), duplicates = failed.len(), "recording ends again without the duplicates");
                let mut place = 0;
                for lost in left.extract_if(.., |_| {
                    place += 1;
                    failed.contains(&(place - 1))
                }) {
                    answer(lost, Ok(WriteOutcome::Lost));
                }
            }
            Err(Interruption::Service(error)) if !error.is_retryable() && left.len() > 1 => {
                // One of them may be what the ledger refuses.
                for pending in std::mem::take(&mut left) {
                    let result = write_one(process, &pending).await;
                    answer(pending, result);
                }
            }
            Err(error) => left.drain(..).for_each(|pending| answer(pending, Err(error.clone()))),
        }
    }
    for duplicate in duplicates {
        let result = failed.get(&batch_key(&duplicate.batch)).cloned().map_or(Ok(WriteOutcome::Lost), Err);
        reply(duplicate, result);
    }
}

async fn write_one<P: Services>(process: &Process<P>, pending: &Pending) -> Answer {
    process.write(&end_writes(&pending.batch, &pending.end)).await
}

/// Answers one that waits. One that does not wait any longer lets its message be delivered again.
fn reply(pending: Pending, result: Answer) {
    let _ = pending.answer.send(result);
}
