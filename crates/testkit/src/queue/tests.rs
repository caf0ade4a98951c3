use migration_core::error::ErrorClass;
use migration_core::ports::{OutgoingMessage, Queue};

use migration_local::queue::bounds::{MAX_DELAY, MAX_VISIBILITY, MAX_WAIT};

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

#[tokio::test]
async fn entries_of_a_batch_are_refused_one_by_one_where_asked() {
    let queue = MemoryQueue::default();
    let batch: Vec<_> =
        ["a", "b", "c"].map(|body| OutgoingMessage { body: body.into(), delay: Duration::ZERO }).to_vec();
    queue.refuse_entries(2);
    assert_eq!(queue.send(&batch).await.unwrap(), [0, 1]);
    assert_eq!(queue.send(&batch[..2]).await.unwrap(), [] as [usize; 0]);
    let bodies: Vec<_> = queue.messages().into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["c", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_messages_are_in_flight_than_the_queue_takes() {
    let queue = MemoryQueue::new(QueueSettings { max_in_flight: 1, ..QueueSettings::default() });
    for body in ["a", "b"] {
        queue.send(&[OutgoingMessage { body: body.into(), delay: Duration::ZERO }]).await.unwrap();
    }
    let first = queue.receive(10, Duration::ZERO, MAX_VISIBILITY).await.unwrap();
    assert_eq!(first.len(), 1);
    let over = queue.receive(10, Duration::ZERO, MAX_VISIBILITY).await.unwrap_err();
    assert_eq!((over.class, over.code.as_str()), (ErrorClass::Throttled, "OverLimit"));
    assert_eq!(queue.receive(10, MAX_WAIT, MAX_VISIBILITY).await.unwrap(), []);
    queue.delete(&first[0].receipt).await.unwrap();
    assert_eq!(queue.receive(10, Duration::ZERO, MAX_VISIBILITY).await.unwrap()[0].body, "b");
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_12_hours_after_the_delivery_at_the_latest() {
    let queue = sent().await;
    let lease = Duration::from_hours(7);
    let first = queue.receive(1, Duration::ZERO, lease).await.unwrap();
    tokio::time::advance(Duration::from_hours(6)).await;
    let beyond = queue.set_visibility(&first[0].receipt, lease).await.unwrap_err();
    assert_eq!(beyond.class, ErrorClass::Refused);
    queue.set_visibility(&first[0].receipt, Duration::from_hours(6)).await.unwrap();
    tokio::time::advance(Duration::from_hours(6)).await;
    // The count starts again with the next delivery.
    let again = queue.receive(1, Duration::ZERO, lease).await.unwrap();
    assert_eq!((again[0].id.as_str(), again[0].receives), (first[0].id.as_str(), 2));
    queue.set_visibility(&again[0].receipt, MAX_VISIBILITY).await.unwrap();
}
