//! Tests of the ports on one machine.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod conformance;
mod damage;
mod killed;
mod ledger_model;
mod measure;
mod queue_model;
mod queues;
mod state;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migration_core::ports::{OutgoingMessage, Queue, ReceivedMessage};
use migration_local::queue::{LocalQueue, QueueSettings};
use migration_local::state::State;
use migration_testkit::TestClock;

/// A visibility timeout longer than any test.
const LEASE: Duration = Duration::from_mins(10);

/// Returns a clock that shows the time.
fn running_clock() -> Arc<TestClock> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Arc::new(TestClock::following_tokio(i64::try_from(time.as_millis()).unwrap()))
}

fn queue_of(state: &State) -> LocalQueue {
    LocalQueue::new(state, "queue", QueueSettings::default())
}

fn message(body: &str) -> OutgoingMessage {
    OutgoingMessage { body: body.to_owned(), delay: Duration::ZERO }
}

async fn send(queue: &LocalQueue, body: &str) {
    assert_eq!(queue.send(&[message(body)]).await.unwrap(), [] as [usize; 0]);
}

/// Receives all messages that are visible now.
async fn receive_all(queue: &LocalQueue) -> Vec<ReceivedMessage> {
    let mut all = Vec::new();
    loop {
        let received = queue.receive(10, Duration::ZERO, LEASE).await.unwrap();
        if received.is_empty() {
            return all;
        }
        all.extend(received);
    }
}

fn bodies(received: &[ReceivedMessage]) -> Vec<&str> {
    received.iter().map(|message| message.body.as_str()).collect()
}
