//! SQS in memory: a standard queue and its dead letters.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{OutgoingMessage, Queue, ReceivedMessage};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::denial::Denials;
use crate::lock;
use crate::operation::Operation;

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
/// Longest time for which a message is kept from others.
const MAX_VISIBILITY: Duration = Duration::from_hours(12);

/// How a [`MemoryQueue`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// Deliveries after which a message goes to the dead letters in place of one more.
    pub max_receives: u32,
    /// Bytes of one message.
    pub max_bytes: usize,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { max_receives: 60, max_bytes: MAX_BYTES }
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

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    last_receipt: u64,
    duplicates: u32,
    newest_first: bool,
    messages: Vec<Message>,
    dead: Vec<DeadLetter>,
}

#[derive(Debug)]
struct Message {
    id: String,
    body: String,
    receives: u32,
    receipt: Option<String>,
    visible_at: Instant,
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

    /// Delivers the newest message first; standard queues promise no order.
    pub fn newest_first(&self, newest_first: bool) {
        lock(&self.state).newest_first = newest_first;
    }

    /// What the queue holds now.
    pub fn stats(&self) -> QueueStats {
        let now = Instant::now();
        let state = lock(&self.state);
        let mut counted = QueueStats { dead_letters: state.dead.len(), ..QueueStats::default() };
        for message in &state.messages {
            match (message.visible_at <= now, message.receives) {
                (true, _) => counted.visible += 1,
                (false, 0) => counted.delayed += 1,
                (false, _) => counted.in_flight += 1,
            }
        }
        counted
    }

    /// The messages that are not deleted, oldest first.
    pub fn messages(&self) -> Vec<QueuedMessage> {
        let now = Instant::now();
        let state = lock(&self.state);
        let seen = state.messages.iter().map(|message| QueuedMessage {
            id: message.id.clone(),
            body: message.body.clone(),
            receives: message.receives,
            visible: message.visible_at <= now,
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

fn refused(operation: Operation, code: &str, message: &str) -> ServiceError {
    ServiceError::new(ErrorClass::Refused, operation.as_str(), code, message)
}

impl State {
    fn push(&mut self, body: String, visible_at: Instant) {
        self.last_id += 1;
        let id = format!("message-{}", self.last_id);
        self.messages.push(Message { id, body, receives: 0, receipt: None, visible_at });
    }

    /// Messages delivered too often become dead letters when somebody asks for them once more.
    fn bury(&mut self, now: Instant, max_receives: u32) {
        let (dead, alive): (Vec<_>, Vec<_>) =
            self.messages.drain(..).partition(|m| m.visible_at <= now && m.receives >= max_receives);
        self.messages = alive;
        self.dead.extend(dead.into_iter().map(|m| DeadLetter { body: m.body, reason: None }));
    }

    fn take(&mut self, now: Instant, max: usize, visibility: Duration) -> Vec<ReceivedMessage> {
        let mut places: Vec<usize> = (0..self.messages.len()).collect();
        if self.newest_first {
            places.reverse();
        }
        let mut taken = Vec::new();
        for place in places {
            let Some(message) = self.messages.get_mut(place).filter(|m| m.visible_at <= now) else { continue };
            if taken.len() == max {
                break;
            }
            self.last_receipt += 1;
            let receipt = format!("{RECEIPT}{}", self.last_receipt);
            message.receives += 1;
            message.receipt = Some(receipt.clone());
            if self.duplicates > 0 {
                self.duplicates -= 1;
            } else {
                message.visible_at = now + visibility;
            }
            taken.push(ReceivedMessage {
                id: message.id.clone(),
                receipt,
                body: message.body.clone(),
                receives: message.receives,
            });
        }
        taken
    }

    /// Whether a delivery had this receipt, be it long ago.
    fn knows(&self, receipt: &str) -> bool {
        let number = receipt.strip_prefix(RECEIPT).and_then(|number| number.parse::<u64>().ok());
        number.is_some_and(|number| (1..=self.last_receipt).contains(&number))
    }

    fn next_visible(&self, now: Instant) -> Option<Instant> {
        self.messages.iter().map(|message| message.visible_at).filter(|at| *at > now).min()
    }
}

impl Queue for MemoryQueue {
    async fn send(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        const SEND: Operation = Operation::SendMessages;
        self.denials.check(SEND)?;
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        if messages.len() > MAX_BATCH {
            return Err(refused(SEND, "TooManyEntriesInBatchRequest", "maximum number of entries per request are 10"));
        }
        if messages.iter().map(|message| message.body.len()).sum::<usize>() > MAX_BYTES {
            return Err(refused(
                SEND,
                "BatchRequestTooLong",
                "the length of all the messages put together is too long",
            ));
        }
        let mut failed = Vec::new();
        {
            let mut state = lock(&self.state);
            let now = Instant::now();
            for (place, message) in messages.iter().enumerate() {
                if self.refusal(message) {
                    failed.push(place);
                } else {
                    state.push(message.body.clone(), now + message.delay);
                }
            }
        }
        self.changed.notify_waiters();
        Ok(failed)
    }

    async fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> Result<Vec<ReceivedMessage>, ServiceError> {
        const RECEIVE: Operation = Operation::ReceiveMessages;
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if !(1..=MAX_BATCH).contains(&max) || wait > MAX_WAIT || visibility > MAX_VISIBILITY {
            return Err(refused(RECEIVE, "InvalidParameterValue", "a number is out of its bounds"));
        }
        let until = Instant::now() + wait;
        loop {
            self.denials.check(RECEIVE)?;
            // Made before the look, so that what is sent after the look wakes it.
            let changed = self.changed.notified();
            let now = Instant::now();
            let (taken, next) = {
                let mut state = lock(&self.state);
                state.bury(now, self.settings.max_receives);
                (state.take(now, max, visibility), state.next_visible(now))
            };
            if !taken.is_empty() || now >= until {
                return Ok(taken);
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(next.map_or(until, |next| next.min(until))) => {}
            }
        }
    }

    async fn set_visibility(&self, receipt: &str, visibility: Duration) -> Result<(), ServiceError> {
        const SET: Operation = Operation::SetVisibility;
        self.denials.check(SET)?;
        if visibility > MAX_VISIBILITY {
            return Err(refused(SET, "InvalidParameterValue", "the visibility timeout is over 12 hours"));
        }
        let now = Instant::now();
        {
            let mut state = lock(&self.state);
            let message = state.messages.iter_mut().find(|m| m.receipt.as_deref() == Some(receipt));
            let message = message.ok_or_else(|| refused(SET, "ReceiptHandleIsInvalid", "the receipt is not valid"))?;
            if message.visible_at <= now {
                return Err(refused(SET, "MessageNotInflight", "the message referred to is not in flight"));
            }
            message.visible_at = now + visibility;
        }
        self.changed.notify_waiters();
        Ok(())
    }

    /// With the receipt of an earlier delivery nothing happens, and it is not said.
    /// Source: `DeleteMessage` in the SQS API reference: "the request succeeds, but the message might not be deleted".
    async fn delete(&self, receipt: &str) -> Result<(), ServiceError> {
        const DELETE: Operation = Operation::DeleteMessage;
        self.denials.check(DELETE)?;
        let mut state = lock(&self.state);
        if !state.knows(receipt) {
            return Err(refused(DELETE, "ReceiptHandleIsInvalid", "the receipt is not valid"));
        }
        state.messages.retain(|message| message.receipt.as_deref() != Some(receipt));
        Ok(())
    }

    async fn send_dead_letter(&self, body: &str, reason: &str) -> Result<(), ServiceError> {
        self.denials.check(Operation::SendDeadLetter)?;
        let letter = DeadLetter { body: body.to_owned(), reason: Some(reason.to_owned()) };
        lock(&self.state).dead.push(letter);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent() -> MemoryQueue {
        let queue = MemoryQueue::default();
        for body in ["first", "second"] {
            let message = OutgoingMessage { body: body.to_owned(), delay: Duration::ZERO };
            assert!(queue.send(&[message]).await.unwrap().is_empty());
        }
        queue
    }

    #[tokio::test]
    async fn a_stale_receipt_deletes_nothing() {
        let queue = sent().await;
        let first = queue.receive(1, Duration::ZERO, Duration::ZERO).await.unwrap();
        let second = queue.receive(1, Duration::ZERO, MAX_VISIBILITY).await.unwrap();
        assert_eq!(first[0].id, second[0].id);
        queue.delete(&first[0].receipt).await.unwrap();
        assert_eq!(queue.messages().len(), 2);
        assert!(queue.set_visibility(&first[0].receipt, MAX_WAIT).await.is_err());
        queue.delete(&second[0].receipt).await.unwrap();
        assert_eq!(queue.messages().len(), 1);
    }

    #[tokio::test]
    async fn a_message_is_delivered_twice_where_asked() {
        let queue = sent().await;
        queue.deliver_twice(1);
        let mut receives = Vec::new();
        for _ in 0..3 {
            receives.extend(queue.receive(1, Duration::ZERO, MAX_VISIBILITY).await.unwrap());
        }
        let bodies: Vec<_> = receives.iter().map(|message| (message.body.as_str(), message.receives)).collect();
        assert_eq!(bodies, [("first", 1), ("first", 2), ("second", 1)]);
    }

    #[tokio::test]
    async fn the_newest_comes_first_where_asked() {
        let queue = sent().await;
        queue.newest_first(true);
        assert_eq!(queue.receive(1, Duration::ZERO, MAX_VISIBILITY).await.unwrap()[0].body, "second");
    }

    #[tokio::test]
    async fn stats_tell_what_the_queue_holds() {
        let queue = sent().await;
        let delayed = OutgoingMessage { body: "later".into(), delay: MAX_DELAY };
        assert!(queue.send(&[delayed]).await.unwrap().is_empty());
        queue.receive(1, Duration::ZERO, MAX_VISIBILITY).await.unwrap();
        queue.send_dead_letter("x", "y").await.unwrap();
        assert_eq!(queue.stats(), QueueStats { visible: 1, in_flight: 1, delayed: 1, dead_letters: 1 });
        assert_eq!(queue.messages().iter().map(|message| message.receives).collect::<Vec<_>>(), [1, 0, 0]);
    }

    #[tokio::test]
    async fn one_caller_is_denied_and_another_is_not() {
        let queue = sent().await;
        let other = queue.with_own_denials();
        queue.denials().deny_all(ErrorClass::AccessDenied, "AccessDenied");
        assert!(queue.receive(1, Duration::ZERO, MAX_VISIBILITY).await.is_err());
        assert_eq!(queue.messages()[0].receives, 0);
        assert_eq!(other.receive(1, Duration::ZERO, MAX_VISIBILITY).await.unwrap().len(), 1);
        queue.denials().heal();
        assert_eq!(queue.receive(1, Duration::ZERO, MAX_VISIBILITY).await.unwrap().len(), 1);
    }
}
