//! Deletes messages of few objects, several in one request: events come one object at a time, and a request for each
//! would be most of what the queue is asked.
//!
//! Whoever is done with a message puts it into the list. One of them sends the list's request, the others wait for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use migration_core::ports::Queue;
use tokio::sync::{Notify, oneshot};

use crate::{Interruption, Process, Services};

/// How long a message waits for others. Its end is recorded, and the next one is under way.
const LINGER: Duration = Duration::from_millis(50);
/// Messages that one request deletes. Source: `DeleteMessageBatch` in the SQS API reference.
const MOST: usize = 10;

type Answer = Result<(), Interruption>;

/// A message that is to be deleted.
struct Pending {
    receipt: String,
    answer: oneshot::Sender<Answer>,
}

/// The messages that wait to be deleted.
#[derive(Default)]
pub(super) struct Deletes {
    list: Mutex<Vec<Pending>>,
    /// Held by the one who waits for others before it sends.
    turn: tokio::sync::Mutex<()>,
    /// Notified when enough messages wait.
    enough: Notify,
}

impl Deletes {
    fn list(&self) -> MutexGuard<'_, Vec<Pending>> {
        // A poisoned lock is used as it is: no statement changes the list halfway.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes a message, together with others that are done about now.
    pub(super) async fn delete<P: Services>(&self, process: &Process<P>, receipt: &str) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        let number = {
            let mut list = self.list();
            list.push(Pending { receipt: receipt.to_owned(), answer });
            list.len()
        };
        if number >= MOST {
            self.enough.notify_one();
        }
        loop {
            let group = tokio::select! {
                biased;
                // One whose sender was stopped was not deleted, or nobody knows: the message is delivered again.
                answer = &mut answered => return answer.unwrap_or(Err(Interruption::Stopped)),
                turn = self.turn.lock() => {
                    let group = self.gather(process).await;
                    // The next request is gathered while this one is under way.
                    drop(turn);
                    group
                }
            };
            if group.is_empty() {
                // Somebody else has taken this one.
                return answered.await.unwrap_or(Err(Interruption::Stopped));
            }
            delete_group(process, group).await;
        }
    }

    /// Takes the messages of one request from the list, a moment later.
    async fn gather<P: Services>(&self, process: &Process<P>) -> Vec<Pending> {
        let number = self.list().len();
        if (1..MOST).contains(&number) {
            tokio::select! {
                () = self.enough.notified() => {}
                () = tokio::time::sleep(LINGER) => {}
                () = process.runtime.stop.cancelled() => {}
            }
        }
        let mut list = self.list();
        let number = list.len().min(MOST);
        list.drain(..number).collect()
    }
}

/// Deletes messages, and answers each. Those that the queue does not delete together are deleted one by one.
async fn delete_group<P: Services>(process: &Process<P>, group: Vec<Pending>) {
    let queue = &process.ports.queue;
    if group.len() > 1 {
        let receipts: Vec<String> = group.iter().map(|pending| pending.receipt.clone()).collect();
        match process.queue(|| queue.delete_all(&receipts)).await {
            Ok(left) => {
                let delete_left = group.into_iter().enumerate().map(async |(place, pending)| {
                    let result = if left.contains(&place) {
                        process.queue(|| queue.delete(&pending.receipt)).await
                    } else {
                        Ok(())
                    };
                    answer(pending, result);
                });
                join_all(delete_left).await;
            }
            Err(error) => group.into_iter().for_each(|pending| answer(pending, Err(error.clone()))),
        }
        return;
    }
    for pending in group {
        let result = process.queue(|| queue.delete(&pending.receipt)).await;
        answer(pending, result);
    }
}

/// Answers one that waits. One that does not wait any longer lets its message be delivered again.
fn answer(pending: Pending, result: Answer) {
    let _ = pending.answer.send(result);
}
