//! The worker: receives messages, moves what they name, ends them in the ledger, removes them from the queue.

mod batch;
mod end;
mod lease;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use migration_core::lease::LEASE;
use migration_core::message::{Batch, Message, MessageError};
use migration_core::pair::BucketPair;
use migration_core::ports::{Ledger, ObjectStore, Queue, ReceivedMessage};
use migration_core::records::{self, RunRecord};
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::transfer::{self, Limits};
use crate::{Interruption, Process};

/// How long one request waits for a message. The longest that SQS takes: fewest requests for an idle worker.
const WAIT: Duration = Duration::from_secs(20);
/// How long a process that is ending waits for objects and parts in flight, before it gives their messages back as
/// they are. Kubernetes waits 120 s in all.
const GRACE: Duration = Duration::from_secs(100);

/// A worker.
pub struct Consumer<S, Q, L> {
    process: Arc<Process<S, Q, L>>,
    limits: Arc<Limits>,
    /// Pairs of the runs that were seen; a run's pairs never change.
    runs: Mutex<HashMap<String, Arc<[BucketPair]>>>,
    /// Objects of held messages that are not over.
    pending: AtomicU32,
    /// Told when `pending` falls.
    room: Notify,
    /// Cancelled when a process that is ending waits no longer.
    abandon: CancellationToken,
}

/// What is done with a message after all is said and done.
enum Disposal {
    /// It is over and recorded: remove it.
    Delete,
    /// Somebody else goes on: make it visible again.
    GiveBack,
}

impl<S: ObjectStore, Q: Queue, L: Ledger> Consumer<S, Q, L> {
    /// A worker of a job.
    pub fn new(process: Arc<Process<S, Q, L>>) -> Self {
        let limits = transfer::limits(&process.config);
        Self {
            process,
            limits,
            runs: Mutex::default(),
            pending: AtomicU32::new(0),
            room: Notify::new(),
            abandon: CancellationToken::new(),
        }
    }

    /// Works until the process is to end. Then lets what is in flight end, and gives the other messages back.
    pub async fn run(self) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        while let Some(message) = this.next().await {
            while tasks.try_join_next().is_some() {}
            this.process.activity.took_message();
            let this = this.clone();
            tasks.spawn(async move {
                this.handle(message).await;
                this.process.activity.left_message();
                this.room.notify_one();
            });
        }
        info!(messages = tasks.len(), "ending: what is in flight is finished, nothing new is begun");
        if tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            this.abandon.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }

    /// The next message; none when the process is to end. Waits while enough objects are at hand, and while a side is
    /// paused: what is received then would only use a delivery up.
    async fn next(&self) -> Option<ReceivedMessage> {
        let process = &self.process;
        loop {
            if process.stop.is_cancelled() {
                return None;
            }
            let full = self.pending.load(Ordering::Relaxed) >= process.config.transfer.files_per_worker;
            if full || process.is_paused() {
                tokio::select! {
                    () = process.stop.cancelled() => return None,
                    () = self.room.notified() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
                continue;
            }
            // Never dropped half way: the queue may already have handed a message to it, which nobody would see again
            // until its lease has run out.
            match process.queue(|| process.ports.queue.receive(1, WAIT, LEASE)).await {
                Ok(messages) => match messages.into_iter().next() {
                    Some(message) if process.stop.is_cancelled() => self.give_back(&message).await,
                    Some(message) => return Some(message),
                    None => {}
                },
                Err(Interruption::Stopped) => return None,
                Err(Interruption::Service(error)) => {
                    warn!(%error, "no messages");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Makes a message visible again at once. Straight to the queue, not through the gate: a process that is ending
    /// still gives messages back.
    async fn give_back(&self, message: &ReceivedMessage) {
        if let Err(error) = self.process.ports.queue.set_visibility(&message.receipt, Duration::ZERO).await {
            warn!(%error, message = message.id, "the message is seen again when its lease has run out");
        }
    }

    async fn handle(&self, message: ReceivedMessage) {
        let disposal = match self.accept(&message).await {
            Ok(Accepted::Batch(batch, pairs)) => self.work_off(&message, batch, &pairs).await,
            Ok(Accepted::Refused(reason)) => self.refuse(&message, &reason).await,
            Err(interruption) => Err(interruption),
        };
        let process = &self.process;
        let result = match disposal {
            Ok(Disposal::Delete) => process.queue(|| process.ports.queue.delete(&message.receipt)).await,
            Ok(Disposal::GiveBack) | Err(Interruption::Stopped) => return self.give_back(&message).await,
            Err(interruption) => Err(interruption),
        };
        if let Err(error) = result {
            // Its lease runs out, and it is delivered again; what is done by then is seen at the destination.
            warn!(%error, message = message.id, "the message stays in the queue");
        }
    }

    /// Reads a message and checks that it is this job's.
    async fn accept(&self, message: &ReceivedMessage) -> Result<Accepted, Interruption> {
        let batch = match Message::parse(&message.body) {
            Ok(Message::Batch(batch)) => batch,
            Err(reason) => return Ok(Accepted::Refused(reason)),
        };
        let job = &self.process.config.job.uid;
        if batch.job != *job {
            return Ok(Accepted::Refused(MessageError::OtherJob { found: batch.job, expected: job.clone() }));
        }
        let Some(pairs) = self.pairs(&batch.run).await? else {
            return Ok(Accepted::Refused(MessageError::UnknownRun(batch.run)));
        };
        Ok(match batch.check(job, &pairs) {
            Ok(()) => Accepted::Batch(batch, pairs),
            Err(reason) => Accepted::Refused(reason),
        })
    }

    async fn pairs(&self, run: &str) -> Result<Option<Arc<[BucketPair]>>, Interruption> {
        let mut runs = self.runs.lock().await;
        if let Some(pairs) = runs.get(run) {
            return Ok(Some(pairs.clone()));
        }
        let process = &self.process;
        let key = records::run_key(&process.config.job.uid, run);
        let item = process.ledger(|| process.ports.ledger.get(&key)).await?;
        let Some(record) = item.and_then(|item| item.read::<RunRecord>().ok()) else { return Ok(None) };
        let pairs: Arc<[BucketPair]> = record.pairs.into();
        runs.insert(run.to_owned(), pairs.clone());
        Ok(Some(pairs))
    }

    /// Puts a message that can't be processed among the dead letters, with the reason.
    async fn refuse(&self, message: &ReceivedMessage, reason: &MessageError) -> Result<Disposal, Interruption> {
        warn!(%reason, message = message.id, "a message goes to the dead letters");
        let (process, reason) = (&self.process, reason.to_string());
        process.queue(|| process.ports.queue.send_dead_letter(&message.body, &reason)).await?;
        Ok(Disposal::Delete)
    }
}

/// A message that was read.
enum Accepted {
    Batch(Batch, Arc<[BucketPair]>),
    Refused(MessageError),
}
