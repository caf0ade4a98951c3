//! SQS in memory: a standard queue and its dead letter queue.

mod port;
mod sink;
mod state;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_local::queue::bounds::MAX_BYTES;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use sink::SinkQueue;

use crate::denial::Denials;
use crate::lock;
use state::QueueState;

/// Prefix of receipts.
const RECEIPT: &str = "receipt-";
/// Most messages in flight. Source: "Amazon SQS standard queue quotas".
const MAX_IN_FLIGHT: usize = 120_000;
/// Longest retention of a message.
const MAX_RETENTION: Duration = Duration::from_hours(14 * 24);

/// Limits of a [`MemoryQueue`].
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// Deliveries after which the next receive moves a message to the dead letters.
    pub max_receives: u32,
    /// Bytes per message.
    pub max_bytes: usize,
    /// Most messages in flight; more are not delivered.
    pub max_in_flight: usize,
    /// Time after which a message disappears, in flight or not.
    /// Source: `MessageRetentionPeriod` of `CreateQueue` in the SQS API reference, at most 14 days.
    pub retention: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_receives: 60, max_bytes: MAX_BYTES, max_in_flight: MAX_IN_FLIGHT, retention: MAX_RETENTION }
    }
}

/// A standard queue in memory with its dead letter queue. Clones are the same queue. Deadlines use tokio's time, which
/// tests can pause.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    state: Arc<Mutex<QueueState>>,
    changed: Arc<Notify>,
    settings: QueueSettings,
    denials: Denials,
}

/// A message in the dead letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Body of the message.
    pub body: String,
    /// Attribute `reason`; `None` if the queue moved the message after too many deliveries.
    pub reason: Option<String>,
}

/// A message in the queue, for inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Message id given by the service.
    pub id: String,
    /// Body of the message.
    pub body: String,
    /// Deliveries so far.
    pub receives: u32,
    /// True if it can be received now.
    pub visible: bool,
    /// Receipt of its last delivery; `None` if there was none.
    pub receipt: Option<String>,
}

/// Number of messages in a queue, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Messages that can be received.
    pub visible: usize,
    /// Messages in flight.
    pub in_flight: usize,
    /// Messages whose delay has not passed.
    pub delayed: usize,
    /// Messages in the dead letter queue.
    pub dead_letters: usize,
}

/// The dead-letter queue of a [`MemoryQueue`]. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryDeadLetters(MemoryQueue);

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new(QueueSettings::default())
    }
}

impl MemoryQueue {
    /// Creates an empty queue.
    pub fn new(settings: QueueSettings) -> Self {
        Self { state: Arc::default(), changed: Arc::default(), settings, denials: Denials::default() }
    }

    /// Returns the same queue for another caller, with its own switches.
    #[must_use]
    pub fn with_own_denials(&self) -> Self {
        Self { denials: Denials::default(), ..self.clone() }
    }

    /// Returns the switches that reject this caller's requests.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Delivers each of the next `count` messages twice: it stays visible after its delivery.
    pub fn deliver_twice(&self, count: u32) {
        lock(&self.state).duplicates = count;
    }

    /// Rejects each of the next `count` entries of batches, as a service with a transient fault does.
    pub fn refuse_entries(&self, count: u32) {
        lock(&self.state).refusals = count;
    }

    /// Delivers the newest message first; standard queues guarantee no order.
    pub fn newest_first(&self, newest_first: bool) {
        lock(&self.state).newest_first = newest_first;
    }

    /// Removes all messages, those in flight included, as if they had exceeded their retention.
    pub fn forget(&self) {
        lock(&self.state).messages.clear();
    }

    /// Returns the number of messages by state.
    pub fn stats(&self) -> QueueStats {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.expire(now, self.settings.retention);
        state.stats(now)
    }

    /// Returns the messages that are not deleted, oldest first.
    pub fn messages(&self) -> Vec<QueuedMessage> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.expire(now, self.settings.retention);
        let seen = state.messages.iter().map(|message| QueuedMessage {
            id: message.id.clone(),
            body: message.body.clone(),
            receives: message.receives,
            visible: message.visible_at <= now,
            receipt: message.receipt.clone(),
        });
        seen.collect()
    }

    /// Returns the dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        let state = lock(&self.state);
        let seen =
            state.dead.iter().map(|dead| DeadLetter { body: dead.message.body.clone(), reason: dead.reason.clone() });
        seen.collect()
    }

    /// Returns the dead-letter queue.
    pub fn dead_letter_queue(&self) -> MemoryDeadLetters {
        MemoryDeadLetters(self.clone())
    }
}

#[cfg(test)]
mod tests;
