//! The queue of a job.

use std::future::Future;
use std::time::Duration;

use crate::error::ServiceError;

/// A job's queue and its dead-letter queue.
pub trait Queue: Send + Sync + 'static {
    /// Sends up to 10 messages. Returns the indices of those that the queue rejected.
    fn send(&self, messages: &[OutgoingMessage]) -> impl Future<Output = Result<Vec<usize>, ServiceError>> + Send;

    /// Waits up to `wait` (at most 20 s) for up to `max` (at most 10) messages, and hides them from other receivers for
    /// `visibility`.
    fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> impl Future<Output = Result<Vec<ReceivedMessage>, ServiceError>> + Send;

    /// Hides a received message from other receivers for this long from now; zero makes it visible at once.
    fn set_visibility(
        &self,
        receipt: &str,
        visibility: Duration,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Deletes a received message.
    fn delete(&self, receipt: &str) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Deletes up to 10 received messages. Returns the indices of those that the queue may not have deleted, which the
    /// caller deletes by [`Queue::delete`]: all of them if the service cannot delete several at once. Queues without a
    /// request for it delete one after the other.
    fn delete_all(&self, receipts: &[String]) -> impl Future<Output = Result<Vec<usize>, ServiceError>> + Send {
        async move {
            let mut left = Vec::new();
            for (place, receipt) in receipts.iter().enumerate() {
                if self.delete(receipt).await.is_err() {
                    left.push(place);
                }
            }
            Ok(left)
        }
    }

    /// Sends a copy of a message's body to the dead letters, with the reason in the attribute `reason`.
    fn send_dead_letter(&self, body: &str, reason: &str) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// The dead-letter queue of a queue: messages received too often, and messages that a worker rejected.
pub trait DeadLetterQueue: Send + Sync + 'static {
    /// Waits up to `wait` (at most 20 s) for up to `max` (at most 10) dead letters, and hides them from other receivers
    /// for `visibility`. They are not deleted.
    fn receive_dead_letters(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> impl Future<Output = Result<Vec<DeadLetter>, ServiceError>> + Send;
}

/// A queue whose messages can be counted.
pub trait MeasuredQueue: Send + Sync + 'static {
    /// Returns the number of messages in this queue. Services estimate it, and the estimate may be some seconds old.
    fn depth(&self) -> impl Future<Output = Result<Depth, ServiceError>> + Send;
}

/// Number of messages in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages waiting to be received.
    pub visible: u64,
    /// Messages received but neither deleted nor visible again.
    pub in_flight: u64,
    /// Messages whose delay has not passed yet.
    pub delayed: u64,
}

impl Depth {
    /// Returns the sum of the three numbers.
    pub fn total(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// A message in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message as received.
    pub message: ReceivedMessage,
    /// Reason given by the worker that moved it; `None` if the queue moved it after too many receives.
    pub reason: Option<String>,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The body.
    pub body: String,
    /// Time before the message becomes visible; at most 900 s.
    pub delay: Duration,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The service's ID of the message.
    pub id: String,
    /// Receipt handle, which identifies this delivery in later requests.
    pub receipt: String,
    /// The body.
    pub body: String,
    /// Number of deliveries so far, this one included.
    pub receives: u32,
}
