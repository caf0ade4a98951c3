//! SQS in memory: a standard queue and its dead letters.

mod port;
mod sink;
mod state;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_core::ports::OutgoingMessage;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use sink::SinkQueue;

use crate::denial::Denials;
use crate::lock;
use state::State;

/// Most messages of a request. Source: "Amazon SQS batch actions" in the SQS developer guide.
const MAX_BATCH: usize = 10;
/// Bytes of a message, and of all messages of a request. Source: "Amazon SQS message quotas".
const MAX_BYTES: usize = 1 << 20;
/// How receipts start.
const RECEIPT: &str = "receipt-";
/// Longest delay of a message.
const MAX_DELAY: Duration = Duration::from_mins(15);
/// Longest wait for messages.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Most messages that are delivered and not deleted. Source: "Amazon SQS standard queue quotas".
const MAX_IN_FLIGHT: usize = 120_000;
/// Longest time for which a message is kept from others, counted from its delivery.
/// Source: "Amazon SQS visibility timeout" in the SQS developer guide.
const MAX_VISIBILITY: Duration = Duration::from_hours(12);

/// Longest time for which a message stays.
const MAX_RETENTION: Duration = Duration::from_hours(14 * 24);

/// How a [`MemoryQueue`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// Deliveries after which a message goes to the dead letters in place of one more.
    pub max_receives: u32,
    /// Bytes of one message.
    pub max_bytes: usize,
    /// Messages that are delivered and not deleted at most: beyond it none is delivered.
    pub max_in_flight: usize,
    /// How long a message stays after it was sent, whoever has it: then it is gone without a word.
    /// Source: `MessageRetentionPeriod` of `CreateQueue` in the SQS API reference, at most 14 days.
    pub retention: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_receives: 60, max_bytes: MAX_BYTES, max_in_flight: MAX_IN_FLIGHT, retention: MAX_RETENTION }
    }
}

/// A standard queue in memory with its dead letters; clones are the same queue. Deadlines are in tokio's time, which
/// tests can pause.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    settings: QueueSettings,
    denials: Denials,
}

/// A message that can't be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The body.
    pub body: String,
    /// The attribute `reason`; none where the queue itself gave the message up after too many deliveries.
    pub reason: Option<String>,
}

/// A message that stands in the queue, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedMessage {
    /// The service's id of the message.
    pub id: String,
    /// The body.
    pub body: String,
    /// Deliveries so far.
    pub receives: u32,
    /// Whether it can be received now.
    pub visible: bool,
    /// What its last delivery is named with.
    pub receipt: Option<String>,
}

/// What a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Can be received.
    pub visible: usize,
    /// Delivered and kept from others.
    pub in_flight: usize,
    /// Not delivered yet and delayed.
    pub delayed: usize,
    /// Dead letters.
    pub dead_letters: usize,
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new(QueueSettings::default())
    }
}

impl MemoryQueue {
    /// An empty queue that behaves so.
    pub fn new(settings: QueueSettings) -> Self {
        Self { state: Arc::default(), changed: Arc::default(), settings, denials: Denials::default() }
    }

    /// The same queue for another caller, with switches of its own.
    #[must_use]
    pub fn with_own_denials(&self) -> Self {
        Self { denials: Denials::default(), ..self.clone() }
    }

    /// The switches that refuse this caller's requests.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Delivers each of the next `count` messages twice: it stays visible after it was delivered.
    pub fn deliver_twice(&self, count: u32) {
        lock(&self.state).duplicates = count;
    }

    /// Refuses each of the next `count` entries of batches, one by one, as a service does that has a bad moment.
    pub fn refuse_entries(&self, count: u32) {
        lock(&self.state).refusals = count;
    }

    /// Delivers the newest message first; standard queues promise no order.
    pub fn newest_first(&self, newest_first: bool) {
        lock(&self.state).newest_first = newest_first;
    }

    /// Forgets all messages, those that somebody has among them, as if they had grown too old.
    pub fn forget(&self) {
        lock(&self.state).messages.clear();
    }

    /// What the queue holds now.
    pub fn stats(&self) -> QueueStats {
        let now = Instant::now();
        let mut state = lock(&self.state);
        state.expire(now, self.settings.retention);
        state.stats(now)
    }

    /// The messages that are not deleted, oldest first.
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

    /// The dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.state).dead.clone()
    }

    fn refusal(&self, message: &OutgoingMessage) -> bool {
        message.body.is_empty()
            || message.body.len() > self.settings.max_bytes
            || message.delay > MAX_DELAY
            || !message.body.chars().all(is_allowed)
    }
}

/// Whether SQS takes a character. Source: `SendMessage` in the SQS API reference.
fn is_allowed(c: char) -> bool {
    matches!(c, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests;
