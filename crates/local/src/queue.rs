//! Queues on one machine: [`Queue`], [`DeadLetterQueue`] and [`MeasuredQueue`] in the state file.
//!
//! A queue has the rules of a standard SQS queue, but for these: messages are received in the order in which they became
//! visible, any number may be in flight, dead letters are kept until they are redriven, and [`State::open`] makes the
//! messages of dead owners visible at once. Times are those of the state's clock, in milliseconds.

pub mod bounds;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::ports::{
    Clock, DeadLetter, DeadLetterQueue, Depth, MeasuredQueue, Operation, OutgoingMessage, Queue, ReceivedMessage,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::state::{Database, State};
use table::{Kind, Place, Take, Taken};

/// Longest time until a waiting receive looks again: another process may have sent messages.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Settings of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Receives of a message after which the next one moves it to the dead letters.
    pub max_receives: u32,
    /// Time after which a message is removed, in flight or not.
    pub retention: Duration,
}

/// 60 receives, and 14 days, which is the longest that SQS has.
impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_receives: 60, retention: Duration::from_hours(14 * 24) }
    }
}

/// A queue of a state directory, by its name, with its dead letters. Clones are the same queue.
#[derive(Clone)]
pub struct LocalQueue {
    database: Database,
    clock: Arc<dyn Clock>,
    changed: Arc<Notify>,
    /// Set once nobody waits for messages any longer.
    closed: Arc<AtomicBool>,
    name: Arc<str>,
    settings: QueueSettings,
}

/// The dead-letter queue of a [`LocalQueue`]. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct LocalDeadLetters(LocalQueue);

impl LocalQueue {
    /// Returns the queue of this name, which is empty if nothing was ever sent to it. It can be used until the state is
    /// dropped.
    pub fn new(state: &State, name: &str, settings: QueueSettings) -> Self {
        Self {
            database: state.database(),
            clock: state.clock(),
            changed: state.changed(),
            closed: Arc::default(),
            name: name.into(),
            settings,
        }
    }

    /// Returns its dead-letter queue.
    pub fn dead_letter_queue(&self) -> LocalDeadLetters {
        LocalDeadLetters(self.clone())
    }

    /// Lets receives of this queue and its clones return without waiting, from now on: a process that ends need not wait
    /// for messages that it would give back.
    pub fn stop_waiting(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Sends all dead letters to the queue again, as new messages without their reasons, and returns their number.
    pub async fn redrive(&self) -> Result<u64, ServiceError> {
        let (place, now) = (self.place(Kind::Messages), self.clock.now());
        let redrive = move |connection: &_| table::redrive(connection, &place, now);
        let moved = self.database.execute(Operation::ReceiveDeadLetters, redrive).await?;
        self.changed.notify_waiters();
        Ok(moved)
    }

    fn place(&self, kind: Kind) -> Place {
        Place { queue: Arc::clone(&self.name), kind, retention: bounds::millis(self.settings.retention) }
    }

    async fn take(
        &self,
        operation: Operation,
        kind: Kind,
        max: u32,
        visibility: Duration,
    ) -> Result<Taken, ServiceError> {
        let take = Take {
            place: self.place(kind),
            max: usize::try_from(max).unwrap_or(usize::MAX),
            visibility: bounds::millis(visibility),
            max_receives: self.settings.max_receives,
        };
        let now = self.clock.now();
        self.database.execute(operation, move |connection| table::take(connection, &take, now)).await
    }

    /// Takes messages as soon as there are some, waiting at most `wait`.
    async fn poll(
        &self,
        operation: Operation,
        kind: Kind,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<DeadLetter>, ServiceError> {
        bounds::check_receive(operation, max, wait, visibility)?;
        let until = Instant::now() + wait;
        loop {
            // Registered before the look, so that a message sent after it wakes this.
            let changed = self.changed.notified();
            let Taken { messages, buried, next } = self.take(operation, kind, max, visibility).await?;
            if buried > 0 {
                self.changed.notify_waiters();
            }
            let left = until.saturating_duration_since(Instant::now());
            if !messages.is_empty() || left.is_zero() || self.closed.load(Ordering::Relaxed) {
                return Ok(messages);
            }
            let until_visible = next.map_or(LOOK_AGAIN, |at| self.until(at));
            tokio::select! {
                () = changed => {}
                () = sleep(left.min(LOOK_AGAIN).min(until_visible)) => {}
            }
        }
    }

    /// Returns the time until `at`, zero if it has passed.
    fn until(&self, at: i64) -> Duration {
        Duration::from_millis(u64::try_from(at.saturating_sub(self.clock.now())).unwrap_or_default())
    }

    async fn count(&self, kind: Kind) -> Result<Depth, ServiceError> {
        let (place, now) = (self.place(kind), self.clock.now());
        let count = move |connection: &_| table::depth(connection, &place, now);
        self.database.execute(Operation::MeasureQueue, count).await
    }
}

impl Queue for LocalQueue {
    async fn send(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        const SEND: Operation = Operation::SendMessages;
        bounds::check_batch(messages)?;
        let is_rejected = |message: &&OutgoingMessage| bounds::is_rejected(message, bounds::MAX_BYTES);
        let (rejected, accepted): (Vec<_>, Vec<_>) =
            messages.iter().enumerate().partition(|(_, message)| is_rejected(message));
        let accepted: Vec<_> = accepted.into_iter().map(|(_, message)| message.clone()).collect();
        if !accepted.is_empty() {
            let (place, now) = (self.place(Kind::Messages), self.clock.now());
            let send = move |connection: &_| table::send(connection, &place, &accepted, now);
            self.database.execute(SEND, send).await?;
            self.changed.notify_waiters();
        }
        Ok(rejected.into_iter().map(|(index, _)| index).collect())
    }

    async fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        let received = self.poll(Operation::ReceiveMessages, Kind::Messages, max, wait, visibility).await?;
        Ok(received.into_iter().map(|received| received.message).collect())
    }

    async fn set_visibility(&self, receipt: &str, visibility: Duration) -> Result<(), ServiceError> {
        const SET: Operation = Operation::SetVisibility;
        bounds::check_visibility(SET, visibility)?;
        let receipt = receipt.parse().map_err(|()| bounds::unknown_receipt(SET))?;
        let (place, now) = (self.place(Kind::Messages), self.clock.now());
        let visibility = bounds::millis(visibility);
        let set = move |connection: &_| table::set_visibility(connection, &place, receipt, visibility, now);
        self.database.execute(SET, set).await?;
        self.changed.notify_waiters();
        Ok(())
    }

    /// With the receipt of an earlier delivery, the request succeeds without deleting.
    /// Source: `DeleteMessage` in the SQS API reference.
    async fn delete(&self, receipt: &str) -> Result<(), ServiceError> {
        const DELETE: Operation = Operation::DeleteMessage;
        let receipt = receipt.parse().map_err(|()| bounds::unknown_receipt(DELETE))?;
        let place = self.place(Kind::Messages);
        self.database.execute(DELETE, move |connection| table::delete(connection, &place, receipt)).await
    }

    async fn send_dead_letter(&self, body: &str, reason: &str) -> Result<(), ServiceError> {
        let (place, now) = (self.place(Kind::DeadLetters), self.clock.now());
        let (body, reason) = (body.to_owned(), reason.to_owned());
        let send = move |connection: &_| table::insert(connection, &place, &body, Some(&reason), now, now);
        self.database.execute(Operation::SendDeadLetter, send).await?;
        self.changed.notify_waiters();
        Ok(())
    }
}

impl MeasuredQueue for LocalQueue {
    async fn depth(&self) -> Result<Depth, ServiceError> {
        self.count(Kind::Messages).await
    }
}

impl DeadLetterQueue for LocalDeadLetters {
    async fn receive_dead_letters(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<DeadLetter>, ServiceError> {
        self.0.poll(Operation::ReceiveDeadLetters, Kind::DeadLetters, max, wait, visibility).await
    }
}

impl MeasuredQueue for LocalDeadLetters {
    async fn depth(&self) -> Result<Depth, ServiceError> {
        self.0.count(Kind::DeadLetters).await
    }
}

impl fmt::Debug for LocalQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalQueue").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}
