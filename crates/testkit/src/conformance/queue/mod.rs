//! Rules of [`Queue`], [`DeadLetterQueue`] and [`MeasuredQueue`]. Times are real seconds, because services count in
//! seconds. The cases wait for messages, never for a fixed time.

mod dead;
mod delivery;
mod messages;

use std::future::Future;
use std::ops::AsyncFn;
use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::ports::{DeadLetterQueue, MeasuredQueue, OutgoingMessage, Queue, ReceivedMessage};

use super::report::{Deviation, Failure, Report};
use super::{ensure, ensure_eq, run_cases};
use crate::queue::DeadLetter;

/// Deliveries after which a queue under test moves a message to its dead letters.
pub const MAX_RECEIVES: u32 = 2;

/// Longest wait of a receive.
const LONG: Duration = Duration::from_secs(20);
/// Visibility time-out longer than any case.
const LEASE: Duration = Duration::from_mins(10);
const SECOND: Duration = Duration::from_secs(1);

/// An empty queue with [`MAX_RECEIVES`], and its dead letters.
pub trait TestQueue {
    /// Implementation under test.
    type Queue: Queue + MeasuredQueue;
    /// The implementation of the dead-letter queue.
    type DeadLetters: DeadLetterQueue + MeasuredQueue;

    /// Returns the queue.
    fn queue(&self) -> &Self::Queue;

    /// Returns the dead-letter queue.
    fn dead_letter_queue(&self) -> &Self::DeadLetters;

    /// Returns the current dead letters. Can be called repeatedly.
    fn dead_letters(&self) -> impl Future<Output = Result<Vec<DeadLetter>, Failure>>;
}

/// Runs all cases, each on a queue from `make`.
pub async fn queue_suite<T: TestQueue>(make: impl AsyncFn() -> Result<T, Failure>, deviations: &[Deviation]) -> Report {
    let mut report = Report::new("queue", deviations);
    run_cases!(
        report,
        make,
        [
            messages::a_message_is_sent_received_and_deleted,
            messages::bodies_come_back_as_they_were,
            messages::ten_messages_go_in_one_request,
            messages::several_messages_are_deleted_in_one_request,
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
            dead::dead_letters_are_received_with_their_reason_and_stay,
            dead::dead_letters_that_the_queue_gave_up_have_no_reason,
            dead::an_empty_queue_of_dead_letters_is_waited_for,
            dead::messages_are_counted_by_where_they_are,
            dead::dead_letters_are_counted,
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

/// Receives the one message that comes within the longest wait.
async fn receive_one(queue: &impl Queue, visibility: Duration) -> Result<ReceivedMessage, Failure> {
    let mut received = queue.receive(10, LONG, visibility).await?;
    ensure_eq!(received.len(), 1, "messages received");
    received.pop().ok_or_else(|| Failure::new("no message"))
}

/// Receives after at most a short wait, hiding the messages for the rest of the case.
async fn receive_now(queue: &impl Queue, wait: Duration) -> Result<Vec<ReceivedMessage>, ServiceError> {
    queue.receive(10, wait, LEASE).await
}

/// Waits until there are `count` dead letters.
async fn dead_letters<T: TestQueue>(t: &T, count: usize) -> Result<Vec<DeadLetter>, Failure> {
    let until = tokio::time::Instant::now() + LONG;
    loop {
        let found = t.dead_letters().await?;
        if found.len() >= count {
            return Ok(found);
        }
        ensure!(tokio::time::Instant::now() < until, "{} dead letters, expected {count}", found.len());
        // Messages delivered too often are moved by the next receive.
        let received = receive_now(t.queue(), SECOND).await?;
        ensure!(received.is_empty(), "received {received:?} in place of dead letters");
    }
}
