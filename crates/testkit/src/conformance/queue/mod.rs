//! The rules of [`Queue`]. Times are real seconds, since services count in seconds: the cases wait for messages, never
//! for a time.

mod delivery;
mod messages;

use std::future::Future;
use std::ops::AsyncFn;
use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::ports::{OutgoingMessage, Queue, ReceivedMessage};

use super::report::{Deviation, Failure, Report};
use super::{ensure, ensure_eq, run_cases};
use crate::queue::DeadLetter;

/// After how many deliveries a queue under test gives a message to its dead letters.
pub const MAX_RECEIVES: u32 = 2;

/// The longest wait of one receive.
const LONG: Duration = Duration::from_secs(20);
/// Longer than any case takes.
const LEASE: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

/// An empty queue with [`MAX_RECEIVES`], and its dead letters.
pub trait TestQueue {
    /// The implementation.
    type Queue: Queue;

    /// The queue.
    fn queue(&self) -> &Self::Queue;

    /// The dead letters that are there now, any number of times.
    fn dead_letters(&self) -> impl Future<Output = Result<Vec<DeadLetter>, Failure>>;
}

/// Runs all cases, each with what `make` gives.
pub async fn queue_suite<T: TestQueue>(make: impl AsyncFn() -> Result<T, Failure>, deviations: &[Deviation]) -> Report {
    let mut report = Report::new("queue", deviations);
    run_cases!(
        report,
        make,
        [
            messages::a_message_is_sent_received_and_deleted,
            messages::bodies_come_back_as_they_were,
            messages::ten_messages_go_in_one_request,
            messages::a_bad_message_is_named_by_its_place,
            messages::a_delay_over_15_minutes_is_refused,
            messages::too_many_messages_are_refused,
            messages::a_receipt_that_never_was_is_refused,
            messages::dead_letters_carry_their_reason,
            delivery::a_message_comes_back_when_its_visibility_ends,
            delivery::visibility_is_extended,
            delivery::zero_visibility_gives_back_at_once,
            delivery::delayed_messages_come_later,
            delivery::an_empty_queue_is_waited_for,
            delivery::a_waiting_receive_wakes_on_send,
            delivery::two_receivers_get_different_messages,
            delivery::too_many_deliveries_end_among_the_dead_letters,
        ]
    );
    report
}

fn message(body: &str) -> OutgoingMessage {
    OutgoingMessage { body: body.to_owned(), delay: Duration::ZERO }
}

async fn send(queue: &impl Queue, body: &str) -> Result<(), Failure> {
    ensure!(queue.send(&[message(body)]).await?.is_empty(), "not all messages were taken");
    Ok(())
}

/// The one message that comes within the longest wait.
async fn receive_one(queue: &impl Queue, visibility: Duration) -> Result<ReceivedMessage, Failure> {
    let mut received = queue.receive(10, LONG, visibility).await?;
    ensure_eq!(received.len(), 1, "messages received");
    received.pop().ok_or_else(|| Failure::new("no message"))
}

/// What comes without or with a short wait, kept from others for the rest of the case.
async fn receive_now(queue: &impl Queue, wait: Duration) -> Result<Vec<ReceivedMessage>, ServiceError> {
    queue.receive(10, wait, LEASE).await
}

/// Waits for the dead letters on the condition that there are so many.
async fn dead_letters<T: TestQueue>(t: &T, count: usize) -> Result<Vec<DeadLetter>, Failure> {
    let until = tokio::time::Instant::now() + LONG;
    loop {
        let found = t.dead_letters().await?;
        if found.len() >= count {
            return Ok(found);
        }
        ensure!(tokio::time::Instant::now() < until, "{} dead letters, expected {count}", found.len());
        // A receive is what moves messages that were delivered too often.
        let received = receive_now(t.queue(), SECOND).await?;
        ensure!(received.is_empty(), "received {received:?} in place of dead letters");
    }
}
