//! Queues beyond the conformance suite: what is kept over a restart, and what differs from SQS.

use std::sync::Arc;
use std::time::Duration;

use migration_core::ports::{DeadLetterQueue as _, Depth, MeasuredQueue as _, OutgoingMessage, Queue as _};
use migration_local::queue::{LocalQueue, QueueSettings};
use migration_local::state::State;
use migration_testkit::TestClock;
use tempfile::TempDir;

use crate::{LEASE, bodies, message, queue_of, receive_all, send};

const START: i64 = 1_767_225_600_000;

fn open(directory: &TempDir, clock: &TestClock) -> State {
    State::open(directory.path(), Arc::new(clock.clone())).unwrap()
}

#[tokio::test]
async fn messages_of_dead_owners_are_visible_after_a_restart() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), TestClock::at(START));
    let state = open(&directory, &clock);
    let queue = queue_of(&state);
    let later = OutgoingMessage { body: "later".into(), delay: Duration::from_mins(10) };
    queue.send(&[message("leased"), later]).await.unwrap();
    send(&queue, "waiting").await;
    queue.send_dead_letter("dead", "why").await.unwrap();
    let leased = queue.receive(1, Duration::ZERO, LEASE).await.unwrap();
    assert_eq!(bodies(&leased), ["leased"]);
    queue.dead_letter_queue().receive_dead_letters(1, Duration::ZERO, LEASE).await.unwrap();
    drop(state);

    let state = open(&directory, &clock);
    let queue = queue_of(&state);
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 2, in_flight: 0, delayed: 1 });
    let mut received = receive_all(&queue).await;
    received.sort_by(|a, b| a.body.cmp(&b.body));
    assert_eq!(bodies(&received), ["leased", "waiting"]);
    assert_eq!(received.iter().map(|message| message.receives).collect::<Vec<_>>(), [2, 1]);
    // What was received before does not touch the new delivery.
    queue.delete(&leased[0].receipt).await.unwrap();
    assert!(queue.set_visibility(&leased[0].receipt, Duration::ZERO).await.is_err());
    assert_eq!(queue.depth().await.unwrap().total(), 3);
    let dead = queue.dead_letter_queue().receive_dead_letters(10, Duration::ZERO, LEASE).await.unwrap();
    assert_eq!((dead[0].message.body.as_str(), dead[0].message.receives), ("dead", 2));
    clock.advance(Duration::from_mins(10));
    assert!(bodies(&receive_all(&queue).await).contains(&"later"));
}

#[tokio::test]
async fn messages_keep_their_delay_if_the_clock_was_set_back() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), TestClock::at(START));
    clock.advance(Duration::from_hours(24));
    let state = open(&directory, &clock);
    let later = OutgoingMessage { body: "later".into(), delay: Duration::from_mins(5) };
    queue_of(&state).send(&[message("now"), later]).await.unwrap();
    drop(state);
    clock.set(START);
    let state = open(&directory, &clock);
    assert_eq!(bodies(&receive_all(&queue_of(&state)).await), ["now"]);
    clock.advance(Duration::from_mins(5) - Duration::from_millis(1));
    assert_eq!(receive_all(&queue_of(&state)).await, []);
    clock.advance(Duration::from_millis(1));
    assert_eq!(bodies(&receive_all(&queue_of(&state)).await), ["later"]);
}

#[tokio::test]
async fn redriven_dead_letters_are_new_messages() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), TestClock::at(START));
    let state = open(&directory, &clock);
    let settings = QueueSettings { max_receives: 1, ..QueueSettings::default() };
    let queue = LocalQueue::new(&state, "queue", settings);
    send(&queue, "received too often").await;
    let before = queue.receive(10, Duration::ZERO, Duration::ZERO).await.unwrap();
    assert_eq!(receive_all(&queue).await, []);
    for number in 0..250 {
        queue.send_dead_letter(&format!("rejected {number:03}"), "why").await.unwrap();
    }
    queue.dead_letter_queue().receive_dead_letters(10, Duration::ZERO, LEASE).await.unwrap();
    assert_eq!(queue.redrive().await.unwrap(), 251);
    assert_eq!(queue.dead_letter_queue().depth().await.unwrap(), Depth::default());
    queue.delete(&before[0].receipt).await.unwrap();
    let received = receive_all(&queue).await;
    assert_eq!(received.len(), 251);
    assert!(received.iter().all(|message| message.receives == 1));
    assert_eq!(queue.redrive().await.unwrap(), 0);
    // Given up again, it has no reason of its former life.
    queue.set_visibility(&received[1].receipt, Duration::ZERO).await.unwrap();
    assert_eq!(receive_all(&queue).await, []);
    let dead = queue.dead_letter_queue().receive_dead_letters(10, Duration::ZERO, LEASE).await.unwrap();
    assert_eq!((dead.len(), dead[0].reason.clone()), (1, None));
}

#[tokio::test]
async fn queues_of_other_names_are_apart() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), TestClock::at(START));
    let state = open(&directory, &clock);
    let [a, b] = ["a", "b"].map(|name| LocalQueue::new(&state, name, QueueSettings::default()));
    send(&a, "of a").await;
    a.send_dead_letter("dead", "why").await.unwrap();
    assert_eq!(receive_all(&b).await, []);
    assert_eq!(b.depth().await.unwrap(), Depth::default());
    assert_eq!(b.redrive().await.unwrap(), 0);
    let received = receive_all(&a).await;
    assert_eq!(bodies(&received), ["of a"]);
    assert!(b.delete(&received[0].receipt).await.is_err());
    assert_eq!(a.depth().await.unwrap().in_flight, 1);
}

#[tokio::test]
async fn messages_come_in_the_order_in_which_they_were_sent() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), TestClock::at(START));
    let state = open(&directory, &clock);
    let queue = queue_of(&state);
    let sent: Vec<String> = (0..35).map(|number| format!("{number:02}")).collect();
    for body in &sent {
        send(&queue, body).await;
    }
    assert_eq!(bodies(&receive_all(&queue).await), sent);
}

#[tokio::test]
async fn more_messages_than_a_page_can_be_past_their_retention() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), TestClock::at(START));
    let state = open(&directory, &clock);
    let settings = QueueSettings { retention: Duration::from_mins(1), ..QueueSettings::default() };
    let queue = LocalQueue::new(&state, "queue", settings);
    for number in 0..25 {
        send(&queue, &format!("{number}")).await;
    }
    let leased = queue.receive(1, Duration::ZERO, LEASE).await.unwrap();
    clock.advance(Duration::from_mins(1));
    send(&queue, "new").await;
    assert_eq!(queue.depth().await.unwrap(), Depth { visible: 1, in_flight: 0, delayed: 0 });
    assert_eq!(bodies(&receive_all(&queue).await), ["new"]);
    assert!(queue.set_visibility(&leased[0].receipt, LEASE).await.is_err());
}
