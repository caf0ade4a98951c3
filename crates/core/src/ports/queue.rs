//! The queue of a job.

use std::future::Future;
use std::time::Duration;

use crate::error::ServiceError;

/// The queue of a job, and its dead letters.
pub trait Queue: Send + Sync + 'static {
    /// Sends up to 10 messages; gives the places of those that were not taken.
    fn send(&self, messages: &[OutgoingMessage]) -> impl Future<Output = Result<Vec<usize>, ServiceError>> + Send;

    /// Waits up to `wait` (at most 20 s) for at most `max` (at most 10) messages, and keeps them from others for
    /// `visibility`.
    fn receive(
        &self,
        max: u32,
        wait: Duration,
        visibility: Duration,
    ) -> impl Future<Output = Result<Vec<ReceivedMessage>, ServiceError>> + Send;

    /// Keeps a received message from others for this long from now; zero gives it back.
    fn set_visibility(
        &self,
        receipt: &str,
        visibility: Duration,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Removes a received message.
    fn delete(&self, receipt: &str) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Puts a copy of a message's body among the dead letters, with the reason as its attribute `reason`.
    fn send_dead_letter(&self, body: &str, reason: &str) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The body.
    pub body: String,
    /// How long it stays invisible at first; at most 900 s.
    pub delay: Duration,
}

/// A message received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// The service's id of the message.
    pub id: String,
    /// What later requests name this delivery with.
    pub receipt: String,
    /// The body.
    pub body: String,
    /// Deliveries so far, this one included.
    pub receives: u32,
}
