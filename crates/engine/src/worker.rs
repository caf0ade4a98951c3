//! The worker: receives messages, moves what they name, ends them in the ledger, removes them from the queue.

mod accept;
mod batch;
mod end;
mod lease;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use migration_core::ignore::IgnoreList;
use migration_core::lease::{LEASE, left_to_others};
use migration_core::message::MessageError;
use migration_core::pair::BucketPair;
use migration_core::ports::{ObjectStore, Queue, ReceivedMessage};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admission::PendingObject;
use crate::gate::PROBE_EVERY;
use crate::send_buffer::SendBuffer;
use crate::transfer::{self, Limits};
use crate::{Interruption, Process, Services};
use accept::Accepted;

/// How long one request waits for a message. SQS would take 20 s: but a worker that is told to end waits for its request,
/// and a job that is deleted waits for its workers. Idle workers are scaled away, so that the requests saved would be few.
const WAIT: Duration = Duration::from_secs(5);
/// How long a process that is ending waits for objects and parts in flight, before it gives their messages back as
/// they are. Kubernetes waits 120 s in all.
const GRACE: Duration = Duration::from_secs(100);
/// How long a worker keeps a message that others have to work on before it makes it visible again. It counts as one at
/// hand meanwhile, so that a queue full of such is not turned over as fast as it answers.
const LEFT_AFTER: Duration = Duration::from_secs(1);

/// Shortest time between two messages that are received to try out a missing right.
const SOONEST_SCOUT: Duration = Duration::from_millis(100);

/// How long after one such message the next one is received: soon at first, when a few more objects tell most, and later
/// as seldom as anything paused is tried.
fn between_scouts(missing: Duration) -> Duration {
    (missing / 20).clamp(SOONEST_SCOUT, PROBE_EVERY)
}

/// A worker.
pub struct Worker<P: Services> {
    process: Arc<Process<P>>,
    limits: Arc<Limits>,
    /// What events leave out; scans have left it out of their batches.
    ignore: IgnoreList,
    /// Pairs of the runs that were seen and work where this worker does; neither ever changes.
    runs: Mutex<HashMap<String, Arc<[BucketPair]>>>,
    /// Cancelled when a process that is ending waits no longer.
    abandon: CancellationToken,
}

/// What is done with a message after all is said and done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposal {
    /// It is over and recorded: remove it.
    Delete,
    /// Somebody else goes on: make it visible again.
    GiveBack,
    /// It is tried again after a while.
    Later(Duration),
    /// The same goes on as a new message, seen after a while: its lease can't be kept for much longer, or it has to wait
    /// for others without using up one of its deliveries.
    SendAnew(Duration),
}

impl<P: Services> Worker<P> {
    /// A worker of a job.
    pub fn new(process: Arc<Process<P>>, ignore: IgnoreList) -> Self {
        let limits = transfer::limits(&process.config);
        process.let_go_of_denied();
        Self { process, limits, ignore, runs: Mutex::default(), abandon: CancellationToken::new() }
    }

    /// What its objects share: the budget is back to nothing when nothing moves.
    pub fn limits(&self) -> Arc<Limits> {
        self.limits.clone()
    }

    /// Works until the process is to end. Then lets what is in flight end, and gives the other messages back.
    pub async fn run(self) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        let mut last = Instant::now();
        while let Some(message) = this.next(last).await {
            last = Instant::now();
            while tasks.try_join_next().is_some() {}
            this.process.activity.took_message();
            // Counted from its receipt on: what others could do is left to them.
            let held = this.limits.permits.expect();
            let this = this.clone();
            tasks.spawn(async move {
                this.handle(message, held).await;
                this.process.activity.left_message();
            });
        }
        info!(messages = tasks.len(), "ending: what is in flight is finished, nothing new is begun");
        if tokio::time::timeout(GRACE, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            this.abandon.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }

    /// The next message; none when the process is to end. Waits while enough objects are at hand, and while a side is
    /// paused: what is received then would only use a delivery up. While a right is missing, messages come one by one, so
    /// that it is tried with other objects again and again.
    async fn next(&self, last: Instant) -> Option<ReceivedMessage> {
        let process = &self.process;
        loop {
            if process.stop.is_cancelled() {
                return None;
            }
            let too_early = process.right_missing().is_some_and(|missing| last.elapsed() < between_scouts(missing));
            if self.limits.permits.is_full() || process.is_paused() || too_early {
                let look = if too_early { SOONEST_SCOUT } else { Duration::from_secs(1) };
                tokio::select! {
                    () = process.stop.cancelled() => return None,
                    () = self.limits.permits.changed() => {}
                    () = tokio::time::sleep(look) => {}
                }
                continue;
            }
            // Never dropped half way: the queue may already have handed a message to it, which nobody would see again
            // until its lease has run out.
            match process.queue(|| process.ports.queue.receive(1, WAIT, LEASE)).await {
                Ok(messages) => match messages.into_iter().next() {
                    Some(message) if process.stop.is_cancelled() => self.give_back(&message, Duration::ZERO).await,
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

    /// Makes a message visible again after a while. Straight to the queue, not through the gate: a process that is
    /// ending still gives messages back.
    async fn give_back(&self, message: &ReceivedMessage, after: Duration) {
        if let Err(error) = self.process.ports.queue.set_visibility(&message.receipt, after).await {
            warn!(%error, message = message.id, "the message is seen again when its lease has run out");
        }
    }

    async fn handle(self: &Arc<Self>, message: ReceivedMessage, held: PendingObject) {
        let disposal = match self.accept(&message).await {
            Ok(Ok(Accepted::Work(work))) => self.work_off(&message, work, held).await,
            Ok(Ok(Accepted::Over { run })) => {
                info!(message = message.id, run, "a message of a run that worked elsewhere and is over is removed");
                Ok(Disposal::Delete)
            }
            Ok(Ok(Accepted::Others { why })) => match left_to_others(message.receives) {
                Some(after) => self.leave(&message, &why, after).await,
                None => Ok(Disposal::SendAnew(Duration::ZERO)),
            },
            Ok(Err(reason @ MessageError::OtherJob { .. })) => match left_to_others(message.receives) {
                Some(after) => self.leave(&message, &reason.to_string(), after).await,
                // It never came to a worker of that job: there is none, or none any more.
                None => self.refuse(&message, &reason).await,
            },
            Ok(Err(reason)) => self.refuse(&message, &reason).await,
            Err(interruption) => Err(interruption),
        };
        let process = &self.process;
        let result = match disposal {
            Ok(Disposal::Delete) => process.queue(|| process.ports.queue.delete(&message.receipt)).await,
            Ok(Disposal::GiveBack) | Err(Interruption::Stopped) => {
                return self.give_back(&message, Duration::ZERO).await;
            }
            Ok(Disposal::Later(after)) => return self.give_back(&message, after).await,
            Ok(Disposal::SendAnew(after)) => {
                self.replace(&message, vec![message.body.clone()], after).await.map(|_| ())
            }
            Err(interruption) => Err(interruption),
        };
        if let Err(error) = result {
            // Its lease runs out, and it is delivered again; what is done by then is seen at the destination.
            warn!(%error, message = message.id, "the message stays in the queue");
        }
    }

    /// Sends other messages in a message's place, and then removes it. A crash between leaves duplicates, which do no
    /// harm.
    async fn replace(
        &self,
        message: &ReceivedMessage,
        bodies: Vec<String>,
        after: Duration,
    ) -> Result<Disposal, Interruption> {
        let mut send_buffer = SendBuffer::delayed(after);
        for body in bodies {
            send_buffer.push(&self.process, body).await?;
        }
        send_buffer.flush(&self.process).await?;
        self.process.queue(|| self.process.ports.queue.delete(&message.receipt)).await?;
        Ok(Disposal::Delete)
    }

    /// Leaves a message to other workers: it is visible to them after a while.
    async fn leave(&self, message: &ReceivedMessage, why: &str, after: Duration) -> Result<Disposal, Interruption> {
        warn!(why, message = message.id, receives = message.receives, "a message is left to others");
        self.process.pause(LEFT_AFTER).await?;
        Ok(Disposal::Later(after))
    }

    /// Puts a message that can't be processed among the dead letters, with the reason.
    async fn refuse(&self, message: &ReceivedMessage, reason: &MessageError) -> Result<Disposal, Interruption> {
        warn!(%reason, message = message.id, "a message goes to the dead letters");
        self.bury(message, &reason.to_string()).await
    }

    /// Puts a message among the dead letters, with a reason.
    async fn bury(&self, message: &ReceivedMessage, reason: &str) -> Result<Disposal, Interruption> {
        let process = &self.process;
        process.queue(|| process.ports.queue.send_dead_letter(&message.body, reason)).await?;
        Ok(Disposal::Delete)
    }
}
