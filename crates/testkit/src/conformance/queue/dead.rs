//! Rules of dead letters, and of counting messages.

use std::time::Duration;

use migration_core::ports::{self, DeadLetterQueue, Depth, MeasuredQueue, OutgoingMessage, Queue};
use tokio::time::Instant;

use super::{LEASE, LONG, MAX_RECEIVES, SECOND, TestQueue, message, receive_one, send};
use crate::conformance::report::{CaseResult, Failure};
use crate::conformance::{ensure, ensure_eq};

/// Receives the only dead letter, within the longest wait, and hides it for `visibility`.
async fn letter<T: TestQueue>(t: &T, visibility: Duration) -> Result<ports::DeadLetter, Failure> {
    let mut letters = t.dead_letter_queue().receive_dead_letters(10, LONG, visibility).await?;
    ensure_eq!(letters.len(), 1, "dead letters received");
    letters.pop().ok_or_else(|| Failure::new("no dead letter"))
}

/// Waits until the queue reports these numbers, which services estimate.
async fn counted(queue: &impl MeasuredQueue, expected: Depth) -> CaseResult {
    let until = Instant::now() + LONG;
    loop {
        let found = queue.depth().await?;
        if found == expected {
            return Ok(());
        }
        ensure!(Instant::now() < until, "counted {found:?}, expected {expected:?}");
        tokio::time::sleep(SECOND / 2).await;
    }
}

pub(super) async fn dead_letters_are_received_with_their_reason_and_stay<T: TestQueue>(t: &T) -> CaseResult {
    t.queue().send_dead_letter("body", "why").await?;
    let first = letter(t, SECOND * 2).await?;
    ensure_eq!((first.message.body.as_str(), first.reason.as_deref()), ("body", Some("why")), "body and reason");
    let now = t.dead_letter_queue().receive_dead_letters(10, Duration::ZERO, LEASE).await?;
    ensure_eq!(now, [], "dead letters while it is kept from others");
    let second = letter(t, LEASE).await?;
    ensure_eq!((second.message.id, second.message.receives), (first.message.id, 2), "id and deliveries");
    ensure_eq!(second.reason.as_deref(), Some("why"), "the reason of the second delivery");
    Ok(())
}

pub(super) async fn dead_letters_that_the_queue_gave_up_have_no_reason<T: TestQueue>(t: &T) -> CaseResult {
    send(t.queue(), "body").await?;
    for _ in 0..MAX_RECEIVES {
        let received = receive_one(t.queue(), LEASE).await?;
        t.queue().set_visibility(&received.receipt, Duration::ZERO).await?;
    }
    // The queue moves a message when it would be received once too often.
    ensure_eq!(t.queue().receive(10, SECOND, LEASE).await?, [], "messages left in the queue");
    let letter = letter(t, LEASE).await?;
    ensure_eq!((letter.message.body.as_str(), letter.reason), ("body", None), "body and reason");
    Ok(())
}

pub(super) async fn an_empty_queue_of_dead_letters_is_waited_for<T: TestQueue>(t: &T) -> CaseResult {
    let began = Instant::now();
    let none = t.dead_letter_queue().receive_dead_letters(10, SECOND * 2, LEASE).await?;
    ensure_eq!(none, [], "dead letters");
    ensure!(began.elapsed() + SECOND >= SECOND * 2, "it waited {:?} in place of 2 s", began.elapsed());
    Ok(())
}

pub(super) async fn messages_are_counted_by_where_they_are<T: TestQueue>(t: &T) -> CaseResult {
    counted(t.queue(), Depth::default()).await?;
    let later = OutgoingMessage { body: "later".into(), delay: Duration::from_mins(10) };
    ensure!(t.queue().send(&[message("a"), message("b"), later]).await?.is_empty(), "not all messages were taken");
    counted(t.queue(), Depth { visible: 2, in_flight: 0, delayed: 1 }).await?;
    let received = t.queue().receive(1, LONG, LEASE).await?;
    counted(t.queue(), Depth { visible: 1, in_flight: 1, delayed: 1 }).await?;
    for message in received {
        t.queue().delete(&message.receipt).await?;
    }
    counted(t.queue(), Depth { visible: 1, in_flight: 0, delayed: 1 }).await
}

pub(super) async fn dead_letters_are_counted<T: TestQueue>(t: &T) -> CaseResult {
    for body in ["a", "b"] {
        t.queue().send_dead_letter(body, "why").await?;
    }
    counted(t.dead_letter_queue(), Depth { visible: 2, in_flight: 0, delayed: 0 }).await?;
    counted(t.queue(), Depth::default()).await?;
    let received = t.dead_letter_queue().receive_dead_letters(1, LONG, LEASE).await?;
    ensure_eq!(received.len(), 1, "dead letters received");
    counted(t.dead_letter_queue(), Depth { visible: 1, in_flight: 1, delayed: 0 }).await
}
