//! The worker: receives messages, transfers their objects, records the end in the ledger, deletes them from the queue.

mod accept;
mod batch;
mod deletes;
mod end;
mod event_ends;
mod lease;
mod removals;

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::lease::{LEASE, MessageSizes, begin_at_once, ending_meanwhile, left_to_others};
use migration_core::message::{Message, MessageError};
use migration_core::ports::{Queue, ReceivedMessage};
use migration_core::records::Reservation;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::admission::{ObjectClass, PendingObject};
use crate::gate::PROBE_EVERY;
use crate::log_context::{LogContext, within};
use crate::send_buffer::SendBuffer;
use crate::transfer::{self, TransferLimits};
use crate::{Interruption, Process, Services};
use accept::{Accepted, Decision, KnownRun, Received};
use deletes::Deletes;
use event_ends::EventEnds;

/// Time that one request waits for a message. SQS allows 20 s, but a stopping worker waits for its request, and the
/// deletion of a job waits for its workers. Idle workers are scaled down, so a longer wait would save few requests.
const WAIT: Duration = Duration::from_secs(5);
/// Time that a worker keeps a message for other workers before it makes it visible again. The message counts as held
/// meanwhile, so that a queue full of such messages is not received as fast as it answers.
const LEFT_AFTER: Duration = Duration::from_secs(1);

/// Minimum time between two messages received to probe a missing permission.
const SOONEST_SCOUT: Duration = Duration::from_millis(100);

/// Returns the time between two such messages: short at first, when a few more objects tell most, and later the
/// interval at which anything paused is tried.
fn between_scouts(missing: Duration) -> Duration {
    (missing / 20).clamp(SOONEST_SCOUT, PROBE_EVERY)
}

/// Receives and processes the messages of a job.
pub struct Worker<P: Services> {
    process: Arc<Process<P>>,
    limits: Arc<TransferLimits>,
    /// The runs seen that use this worker's sides.
    runs: Mutex<HashMap<String, KnownRun>>,
    /// Ends of work without a run, which are recorded together.
    event_ends: EventEnds,
    /// Messages of few objects, which are deleted together.
    deletes: Deletes,
    /// Of the messages received last.
    sizes: std::sync::Mutex<MessageSizes>,
    /// Deletions for events that this worker has reserved and not made.
    reserved: std::sync::Mutex<Reservation>,
    /// Cancelled when a stopping process does not wait any longer.
    abandon: CancellationToken,
}

/// The last receipt of messages.
#[derive(Clone, Copy, Debug)]
struct LastReceipt {
    /// When it ended.
    at: Instant,
    /// The objects that had ended then: see [`ObjectPermits::ended`](crate::admission::ObjectPermits::ended).
    ended: u64,
    /// Objects likely to end during the next one.
    ending: u32,
}

impl LastReceipt {
    /// Notes a receipt that began at a time and has ended now.
    fn note(&mut self, began: Instant, ended: u64) {
        let now = Instant::now();
        let ending = ending_meanwhile(ended - self.ended, now - self.at, now - began);
        *self = Self { at: now, ended, ending };
    }
}

/// What to do with a message after its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disposal {
    /// It is done and recorded: delete it.
    Delete,
    /// Another worker continues it: make it visible again.
    GiveBack,
    /// Make it visible again after a delay.
    Later(Duration),
    /// Replace it by a new message with a delay: its lease cannot be extended much longer, or it has to wait for other
    /// work without using up a delivery.
    SendAnew(Duration),
}

impl<P: Services> Worker<P> {
    /// Creates a worker of a job.
    pub fn new(process: Arc<Process<P>>) -> Self {
        let limits = transfer::limits(&process.config);
        process.let_go_of_denied();
        Self {
            process,
            limits,
            runs: Mutex::default(),
            event_ends: EventEnds::default(),
            deletes: Deletes::default(),
            sizes: std::sync::Mutex::default(),
            reserved: std::sync::Mutex::default(),
            abandon: CancellationToken::new(),
        }
    }

    /// Returns the limits shared by its objects. The budget is unused when nothing is in transfer.
    pub fn limits(&self) -> Arc<TransferLimits> {
        self.limits.clone()
    }

    /// Works until the process has to stop. Then finishes the work in flight, and returns the other messages.
    pub async fn run(self) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        let mut last = LastReceipt { at: Instant::now(), ended: 0, ending: 0 };
        while let Some(messages) = this.next(&mut last).await {
            while tasks.try_join_next().is_some() {}
            for (message, held) in messages {
                this.process.runtime.activity.took_message();
                let (this, context) = (this.clone(), LogContext::message(&message));
                // Boxed, since the compiler computes the layout of a future from everything inside it, to a limited depth.
                let work = Box::pin(async move {
                    this.handle(message, held).await;
                    this.process.runtime.activity.left_message();
                });
                tasks.spawn(within(context, work));
            }
        }
        info!(messages = tasks.len(), "stopping: work in flight is finished, nothing new is begun");
        let grace = this.process.runtime.grace;
        if tokio::time::timeout(grace, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            this.abandon.cancel();
            while tasks.join_next().await.is_some() {}
        }
    }

    /// Returns the next messages, with their objects as counted, or `None` when the process has to stop. Waits while
    /// enough objects are held, and while a side is paused: a message received then would only use up a delivery. While
    /// a permission is missing, receives messages one by one, to probe it with other objects.
    async fn next(&self, last: &mut LastReceipt) -> Option<Vec<(ReceivedMessage, PendingObject)>> {
        let process = &self.process;
        loop {
            if process.runtime.stop.is_cancelled() {
                return None;
            }
            let missing = process.right_missing();
            let too_early = missing.is_some_and(|missing| last.at.elapsed() < between_scouts(missing));
            let room = self.room(last.ending);
            if room == 0 || process.is_paused() || too_early {
                let look = if too_early { SOONEST_SCOUT } else { Duration::from_secs(1) };
                tokio::select! {
                    () = process.runtime.stop.cancelled() => return None,
                    () = self.limits.permits.changed() => {}
                    () = self.event_ends.changed() => {}
                    () = tokio::time::sleep(look) => {}
                }
                continue;
            }
            let at_once = if missing.is_some() { 1 } else { self.sizes().at_once(room) };
            // Never cancelled halfway: the queue may already have delivered a message, which would then stay invisible
            // until its lease runs out.
            let began = Instant::now();
            match process.queue(|| process.ports.queue.receive(at_once, WAIT, LEASE)).await {
                Ok(messages) if process.runtime.stop.is_cancelled() => {
                    for message in messages {
                        within(LogContext::message(&message), self.give_back(&message, Duration::ZERO)).await;
                    }
                }
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => {
                    last.note(began, self.limits.permits.ended());
                    return Some(self.begin(messages, room).await);
                }
                Err(Interruption::Stopped) => return None,
                Err(Interruption::Service(error)) => {
                    warn!(%error, "failed to receive messages");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Returns how many more objects can begin, once `ending` of those held have ended.
    fn room(&self, ending: u32) -> u32 {
        self.limits.permits.room(ending).min(u32::try_from(self.event_ends.room()).unwrap_or(u32::MAX))
    }

    /// Returns the messages to begin with room for so many objects. They are counted from now on, so that other workers
    /// get the messages that this one cannot work on yet. The others would only wait: they are left to other workers.
    async fn begin(&self, messages: Vec<ReceivedMessage>, room: u32) -> Vec<(ReceivedMessage, PendingObject)> {
        let objects: Vec<u32> = messages.iter().map(|message| self.objects_of(message)).collect();
        for number in &objects {
            self.sizes().received(*number);
        }
        let mut begun = Vec::new();
        for ((message, number), begins) in messages.into_iter().zip(&objects).zip(begin_at_once(room, &objects)) {
            if begins {
                begun.push((message, self.expect(*number)));
            } else {
                within(LogContext::message(&message), self.give_back(&message, Duration::ZERO)).await;
            }
        }
        begun
    }

    /// Counts the objects of a message until each of them is counted.
    fn expect(&self, objects: u32) -> PendingObject {
        let permits = &self.limits.permits;
        if objects == u32::MAX { permits.expect(ObjectClass::InParts) } else { permits.expect_message(objects) }
    }

    /// Returns the number of objects of a message, or [`u32::MAX`] for one with an object in parts: more of them would
    /// keep others from helping.
    fn objects_of(&self, message: &ReceivedMessage) -> u32 {
        let in_parts = |bytes| self.limits.class_of(bytes) == ObjectClass::InParts;
        let number = match Message::parse(&message.body) {
            Ok(Message::PartRange(_)) => return u32::MAX,
            Ok(Message::Batch(batch)) if batch.objects.iter().any(|entry| in_parts(entry.size)) => return u32::MAX,
            Ok(Message::Events(events)) if events.iter().any(|event| event.size.is_some_and(in_parts)) => {
                return u32::MAX;
            }
            Ok(Message::Job(job)) if in_parts(job.size) => return u32::MAX,
            Ok(Message::Batch(batch)) => batch.objects.len(),
            Ok(Message::Events(events)) => events.len(),
            Ok(Message::Job(_) | Message::TestEvent) | Err(_) => 1,
        };
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Returns true if messages come several at once.
    fn are_messages_small(&self) -> bool {
        self.sizes().are_small(self.limits.permits.limit())
    }

    fn sizes(&self) -> MutexGuard<'_, MessageSizes> {
        // A poisoned lock is used as it is: no statement changes the sizes halfway.
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a message visible again after a delay. Bypasses the gate, so that a stopping process still returns
    /// messages.
    async fn give_back(&self, message: &ReceivedMessage, after: Duration) {
        if let Err(error) = self.process.ports.queue.set_visibility(&message.receipt, after).await {
            warn!(%error, id = message.id, "failed to return a message; its lease has to run out");
        }
    }

    /// Handles a message: the log tells of its batch or range as soon as that is known.
    async fn handle(self: &Arc<Self>, message: ReceivedMessage, held: PendingObject) {
        match self.accept(&message).await {
            Ok(Received { context, decision }) => within(context, self.act(&message, Ok(decision), held)).await,
            Err(interruption) => self.act(&message, Err(interruption), held).await,
        }
    }

    /// Acts on what was decided about a message.
    async fn act(
        self: &Arc<Self>,
        message: &ReceivedMessage,
        decision: Result<Decision, Interruption>,
        held: PendingObject,
    ) {
        let disposal = match decision {
            Ok(Ok(Accepted::Work(work))) => self.work_off(message, work, held).await,
            Ok(Ok(Accepted::Over)) => {
                debug!(id = message.id, "deleting a message of a run that is over");
                Ok(Disposal::Delete)
            }
            Ok(Ok(Accepted::Others { why })) => match left_to_others(message.receives) {
                Some(after) => self.leave(message, &why, after).await,
                None => Ok(Disposal::SendAnew(Duration::ZERO)),
            },
            Ok(Err(reason @ MessageError::OtherJob { .. })) => match left_to_others(message.receives) {
                Some(after) => self.leave(message, &reason.to_string(), after).await,
                // No worker of that job received it: there is none, or none any more.
                None => self.refuse(message, &reason).await,
            },
            Ok(Err(reason)) => self.refuse(message, &reason).await,
            Err(interruption) => Err(interruption),
        };
        self.dispose(message, disposal).await;
    }

    /// Does with a message what was decided after its work.
    async fn dispose(&self, message: &ReceivedMessage, disposal: Result<Disposal, Interruption>) {
        let process = &self.process;
        let result = match disposal {
            Ok(Disposal::Delete) if self.are_messages_small() => self.deletes.delete(process, &message.receipt).await,
            Ok(Disposal::Delete) => process.queue(|| process.ports.queue.delete(&message.receipt)).await,
            Ok(Disposal::GiveBack) | Err(Interruption::Stopped) => {
                return self.give_back(message, Duration::ZERO).await;
            }
            Ok(Disposal::Later(after)) => return self.give_back(message, after).await,
            Ok(Disposal::SendAnew(after)) => self.replace(message, vec![message.body.clone()], after).await.map(|_| ()),
            Err(interruption) => Err(interruption),
        };
        if let Err(error) = result {
            // Its lease runs out and it is delivered again; finished work is then found at the destination.
            warn!(%error, id = message.id, "the message stays in the queue");
        }
    }

    /// Sends other messages in place of a message, and then deletes it. A crash in between leaves duplicates, which do
    /// no harm.
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

    /// Leaves a message to other workers: makes it visible after a delay.
    async fn leave(&self, message: &ReceivedMessage, why: &str, after: Duration) -> Result<Disposal, Interruption> {
        warn!(why, id = message.id, receives = message.receives, "leaving a message to other workers");
        self.process.pause(LEFT_AFTER).await?;
        Ok(Disposal::Later(after))
    }

    /// Sends a message that cannot be processed to the dead letters, with the reason.
    async fn refuse(&self, message: &ReceivedMessage, reason: &MessageError) -> Result<Disposal, Interruption> {
        self.bury(message, &reason.to_string()).await
    }

    /// Sends a message to the dead letters, with a reason.
    async fn bury(&self, message: &ReceivedMessage, reason: &str) -> Result<Disposal, Interruption> {
        let process = &self.process;
        process.queue(|| process.ports.queue.send_dead_letter(&message.body, reason)).await?;
        error!(reason, id = message.id, "sent a message to the dead letters");
        Ok(Disposal::Delete)
    }
}
