//! Rules of delivery: when messages arrive, and how often.

use std::collections::BTreeSet;
use std::time::Duration;

use migration_core::ports::{OutgoingMessage, Queue};
use tokio::time::Instant;

use super::{LEASE, LONG, MAX_RECEIVES, SECOND, TestQueue, dead_letters, message, receive_now, receive_one, send};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_eq};
use crate::queue::DeadLetter;

/// Tolerance for services that count whole seconds.
const EARLY: Duration = SECOND;

pub(super) async fn a_message_comes_back_when_its_visibility_ends<T: TestQueue>(t: &T) -> CaseResult {
    send(t.queue(), "body").await?;
    let first = receive_one(t.queue(), SECOND * 2).await?;
    ensure_eq!(receive_now(t.queue(), Duration::ZERO).await?, [], "messages while it is kept from others");
    let second = receive_one(t.queue(), LEASE).await?;
    ensure_eq!((second.id, second.body), (first.id, first.body), "id and body of the second delivery");
    ensure_eq!((first.receives, second.receives), (1, 2), "deliveries");
    ensure!(first.receipt != second.receipt, "both deliveries have one receipt");
    t.queue().delete(&second.receipt).await?;
    Ok(())
}

pub(super) async fn visibility_is_extended<T: TestQueue>(t: &T) -> CaseResult {
    send(t.queue(), "body").await?;
    let first = receive_one(t.queue(), SECOND * 2).await?;
    t.queue().set_visibility(&first.receipt, SECOND * 5).await?;
    let extended = Instant::now();
    let second = receive_one(t.queue(), LEASE).await?;
    let after = extended.elapsed();
    ensure!(after + EARLY >= SECOND * 5, "it came back after {after:?}, and was to be kept for 5 s");
    ensure_eq!(second.receives, 2, "deliveries");
    Ok(())
}

pub(super) async fn zero_visibility_gives_back_at_once<T: TestQueue>(t: &T) -> CaseResult {
    send(t.queue(), "body").await?;
    let first = receive_one(t.queue(), LEASE).await?;
    t.queue().set_visibility(&first.receipt, Duration::ZERO).await?;
    let given_back = Instant::now();
    let second = receive_one(t.queue(), LEASE).await?;
    ensure!(given_back.elapsed() < SECOND * 5, "it came back after {:?}", given_back.elapsed());
    ensure_eq!((second.id, second.receives), (first.id, 2), "id and deliveries");
    Ok(())
}

pub(super) async fn delayed_messages_come_later<T: TestQueue>(t: &T) -> CaseResult {
    let sent = Instant::now();
    let later = OutgoingMessage { body: "later".into(), delay: SECOND * 3 };
    ensure!(t.queue().send(&[later, message("now")]).await?.is_empty(), "not all messages were taken");
    ensure_eq!(receive_one(t.queue(), LEASE).await?.body, "now", "first message");
    ensure_eq!(receive_one(t.queue(), LEASE).await?.body, "later", "second message");
    ensure!(sent.elapsed() + EARLY >= SECOND * 3, "a message delayed by 3 s came after {:?}", sent.elapsed());
    Ok(())
}

pub(super) async fn an_empty_queue_is_waited_for<T: TestQueue>(t: &T) -> CaseResult {
    let began = Instant::now();
    ensure_eq!(receive_now(t.queue(), SECOND * 2).await?, [], "messages of an empty queue");
    let waited = began.elapsed();
    ensure!(waited + EARLY >= SECOND * 2, "it waited {waited:?} in place of 2 s");
    let began = Instant::now();
    ensure_eq!(receive_now(t.queue(), Duration::ZERO).await?, [], "messages of an empty queue");
    ensure!(began.elapsed() < SECOND * 5, "it waited {:?} when it was not to", began.elapsed());
    Ok(())
}

pub(super) async fn a_waiting_receive_wakes_on_send<T: TestQueue>(t: &T) -> CaseResult {
    let began = Instant::now();
    let (received, sent) = tokio::join!(t.queue().receive(1, LONG, LEASE), async {
        // Long enough for the receive to reach the service. If it has not, the case is merely easier to pass.
        tokio::time::sleep(SECOND / 2).await;
        send(t.queue(), "body").await
    });
    sent?;
    ensure_eq!(received?.len(), 1, "messages received");
    ensure!(began.elapsed() < LONG / 2, "it woke after {:?}", began.elapsed());
    Ok(())
}

pub(super) async fn two_receivers_get_different_messages<T: TestQueue>(t: &T) -> CaseResult {
    for number in 0..4 {
        send(t.queue(), &format!("m{number}")).await?;
    }
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let (a, b) = tokio::join!(t.queue().receive(1, LONG, LEASE), t.queue().receive(1, LONG, LEASE));
        ids.extend(a?.into_iter().chain(b?).map(|message| message.id));
    }
    ensure_eq!(ids.len(), 4, "different messages of four deliveries");
    Ok(())
}

pub(super) async fn too_many_deliveries_end_among_the_dead_letters<T: TestQueue>(t: &T) -> CaseResult {
    send(t.queue(), "body").await?;
    for delivery in 1..=MAX_RECEIVES {
        let received = receive_one(t.queue(), LEASE).await?;
        ensure_eq!(received.receives, delivery, "deliveries");
        t.queue().set_visibility(&received.receipt, Duration::ZERO).await?;
    }
    let expected = DeadLetter { body: "body".into(), reason: None };
    ensure_eq!(dead_letters(t, 1).await?, [expected], "dead letters");
    ensure_eq!(receive_now(t.queue(), Duration::ZERO).await?, [], "messages left in the queue");
    Ok(())
}
