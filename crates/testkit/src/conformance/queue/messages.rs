//! Rules of messages: what is accepted and what is rejected.

use std::collections::BTreeSet;
use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::{OutgoingMessage, Queue};

use super::{LEASE, LONG, SECOND, TestQueue, dead_letters, message, receive_now, receive_one, send};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_class, ensure_eq};
use crate::queue::DeadLetter;

pub(super) async fn a_message_is_sent_received_and_deleted<T: TestQueue>(t: &T) -> CaseResult {
    send(t.queue(), "body").await?;
    let received = receive_one(t.queue(), SECOND).await?;
    ensure_eq!(received.body, "body", "body");
    ensure_eq!(received.receives, 1, "deliveries");
    ensure!(!received.id.is_empty() && !received.receipt.is_empty(), "no id or receipt: {received:?}");
    t.queue().delete(&received.receipt).await?;
    // Twice the visibility time-out.
    ensure_eq!(receive_now(t.queue(), SECOND * 2).await?, [], "messages after the only one was deleted");
    ensure_eq!(t.dead_letters().await?, [], "dead letters");
    Ok(())
}

pub(super) async fn bodies_come_back_as_they_were<T: TestQueue>(t: &T) -> CaseResult {
    let large = "0123456789abcdef".repeat(200 << 6);
    for body in ["{\"key\":\"a & <b> \\\" + %41 é e\u{301} \u{1f600}\"}", " \ttabs, lines\nand spaces ", &large] {
        send(t.queue(), body).await?;
        let received = receive_one(t.queue(), LEASE).await?;
        ensure!(received.body == body, "a body of {} bytes came back changed", body.len());
        t.queue().delete(&received.receipt).await?;
    }
    Ok(())
}

pub(super) async fn ten_messages_go_in_one_request<T: TestQueue>(t: &T) -> CaseResult {
    let messages: Vec<_> = (0..10).map(|number| message(&format!("m{number}"))).collect();
    ensure!(t.queue().send(&messages).await?.is_empty(), "not all messages were taken");
    let mut bodies = BTreeSet::new();
    // A receive may return fewer messages than there are.
    for _ in 0..10 {
        let received = t.queue().receive(10, LONG, LEASE).await?;
        ensure!(!received.is_empty(), "only {bodies:?} came");
        for message in received {
            ensure!(bodies.insert(message.body.clone()), "{} came twice", message.body);
        }
        if bodies.len() == 10 {
            break;
        }
    }
    ensure_eq!(bodies, messages.into_iter().map(|message| message.body).collect::<BTreeSet<_>>(), "bodies");
    Ok(())
}

pub(super) async fn several_messages_are_deleted_in_one_request<T: TestQueue>(t: &T) -> CaseResult {
    let messages: Vec<_> = (0..3).map(|number| message(&format!("m{number}"))).collect();
    ensure!(t.queue().send(&messages).await?.is_empty(), "not all messages were taken");
    let mut receipts = Vec::new();
    while receipts.len() < 3 {
        let received = t.queue().receive(10, LONG, SECOND).await?;
        ensure!(!received.is_empty(), "only {} messages came", receipts.len());
        receipts.extend(received.into_iter().map(|message| message.receipt));
        // Those that came earlier may be visible again by now, with other receipts.
        ensure!(receipts.len() <= 3, "a message came twice");
    }
    receipts.insert(1, "no receipt".to_owned());
    ensure_eq!(t.queue().delete_all(&receipts).await?, [1], "places of the messages not deleted");
    // Twice the visibility time-out.
    ensure_eq!(receive_now(t.queue(), SECOND * 2).await?, [], "messages after all were deleted");
    Ok(())
}

pub(super) async fn a_bad_message_is_named_by_its_place<T: TestQueue>(t: &T) -> CaseResult {
    let failed = t.queue().send(&[message("first"), message("control \u{1}"), message("third")]).await?;
    ensure_eq!(failed, [1], "places of the messages not taken");
    let mut bodies = BTreeSet::new();
    while bodies.len() < 2 {
        let received = t.queue().receive(10, LONG, LEASE).await?;
        ensure!(!received.is_empty(), "only {bodies:?} came");
        bodies.extend(received.into_iter().map(|message| message.body));
    }
    ensure_eq!(bodies, BTreeSet::from(["first".to_owned(), "third".to_owned()]), "bodies");
    Ok(())
}

pub(super) async fn a_delay_over_15_minutes_is_refused<T: TestQueue>(t: &T) -> CaseResult {
    let too_late = OutgoingMessage { body: "too late".into(), delay: Duration::from_secs(901) };
    ensure_eq!(t.queue().send(&[too_late]).await?, [0], "places of the messages not taken");
    Ok(())
}

pub(super) async fn too_many_messages_are_refused<T: TestQueue>(t: &T) -> CaseResult {
    let messages: Vec<_> = (0..11).map(|number| message(&format!("m{number}"))).collect();
    ensure_class!(t.queue().send(&messages).await, ErrorClass::Refused, "11 messages");
    ensure_eq!(receive_now(t.queue(), SECOND).await?, [], "messages after that");
    Ok(())
}

pub(super) async fn a_receipt_that_never_was_is_refused<T: TestQueue>(t: &T) -> CaseResult {
    ensure_class!(t.queue().delete("no receipt").await, ErrorClass::Refused, "deleting");
    let extended = t.queue().set_visibility("no receipt", SECOND).await;
    ensure_class!(extended, ErrorClass::Refused, "setting the visibility");
    Ok(())
}

pub(super) async fn dead_letters_carry_their_reason<T: TestQueue>(t: &T) -> CaseResult {
    t.queue().send_dead_letter("{\"a\": \"b\"}", "not a message: \"é\" at line 1").await?;
    let expected = DeadLetter { body: "{\"a\": \"b\"}".into(), reason: Some("not a message: \"é\" at line 1".into()) };
    ensure_eq!(dead_letters(t, 1).await?, [expected], "dead letters");
    ensure_eq!(receive_now(t.queue(), Duration::ZERO).await?, [], "messages in the queue itself");
    Ok(())
}
