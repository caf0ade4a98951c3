//! Prints speed and size, for `docs/local.md`.

use std::time::{Duration, Instant};

use futures::future::join_all;
use migration_core::ports::{Condition, Item, Ledger, LedgerKey, MeasuredQueue as _, Queue as _, Write};
use migration_local::ledger::LocalLedger;
use migration_local::state::State;
use serde_json::json;

use crate::{LEASE, message, queue_of, running_clock};

/// Records as the engine writes them at the end of a batch.
fn batch_end(number: usize) -> [Write; 2] {
    let key =
        LedgerKey::new("run/0b1e7b1e-9f0c-4f0e-8f4f-1d7a0c0f5b55/20260101T000000Z", format!("batch/{number:012}"));
    let at = 1_767_225_600_000 + i64::try_from(number).unwrap();
    let attributes = json!({
        "id": format!("0/{number:012}"), "by": "host/worker-1", "at": at,
        "done": 100, "doneBytes": 123_456_789, "gone": 0, "goneBytes": 0, "failed": 0, "failedBytes": 0,
    });
    let item = Item { key, attributes: attributes.as_object().cloned().unwrap(), expires_at: Some(4_102_444_800) };
    let counter = LedgerKey::new("run/0b1e7b1e-9f0c-4f0e-8f4f-1d7a0c0f5b55/20260101T000000Z", "counter/worker-1");
    let deltas = ["batches", "done"].map(|name| (name.to_owned(), 1)).to_vec();
    [Write::Put { item, condition: Condition::Absent }, Write::Add { key: counter, deltas, expires_at: None }]
}

/// Runs `count` operations in `callers` tasks, and prints their rate.
async fn rate<F: Future<Output = ()>>(what: &str, callers: usize, count: usize, operation: impl Fn(usize) -> F) {
    let began = Instant::now();
    let caller = async |caller: usize| {
        for number in (caller..count).step_by(callers) {
            operation(number).await;
        }
    };
    join_all((0..callers).map(caller)).await;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "printed")]
    let rate = count as f64 / seconds;
    println!("{what}, {callers} callers: {rate:.0}/s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers for docs/local.md"]
async fn speed() {
    for (callers, count) in [(1, 2_000), (64, 40_000)] {
        let directory = tempfile::tempdir_in(".").unwrap();
        let state = State::open(directory.path(), running_clock()).unwrap();
        let (ledger, queue) = (LocalLedger::new(&state), queue_of(&state));
        rate("ledger: end of a batch (2 items)", callers, count, async |number| {
            ledger.write(&batch_end(number)).await.unwrap();
        })
        .await;
        let key = |number| match &batch_end(number)[0] {
            Write::Put { item, .. } => item.key.clone(),
            _ => LedgerKey::new("", ""),
        };
        rate("ledger: get", callers, count, async |number| {
            assert!(ledger.get(&key(number)).await.unwrap().is_some());
        })
        .await;
        let body = "x".repeat(8_000);
        rate("queue: send, receive, delete (8 KB)", callers, count, async |_| {
            queue.send(&[message(&body)]).await.unwrap();
            for received in queue.receive(1, Duration::ZERO, LEASE).await.unwrap() {
                queue.delete(&received.receipt).await.unwrap();
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers for docs/local.md"]
async fn deep_queue() {
    const MESSAGES: usize = 200_000;
    let directory = tempfile::tempdir_in(".").unwrap();
    let state = State::open(directory.path(), running_clock()).unwrap();
    let queue = queue_of(&state);
    let batch: Vec<_> = (0..10).map(|_| message(&"x".repeat(1_000))).collect();
    rate("queue: send 10", 64, MESSAGES / 10, async |_| {
        queue.send(&batch).await.unwrap();
    })
    .await;
    rate("queue of 200,000 messages: receive 10", 1, 1_000, async |_| {
        assert_eq!(queue.receive(10, Duration::ZERO, LEASE).await.unwrap().len(), 10);
    })
    .await;
    rate("queue of 200,000 messages: count", 1, 20, async |_| {
        assert_eq!(queue.depth().await.unwrap().in_flight, 10_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints numbers for docs/local.md"]
async fn size_and_start() {
    const RECORDS: usize = 1_000_000;
    let directory = tempfile::tempdir_in(".").unwrap();
    let state = State::open(directory.path(), running_clock()).unwrap();
    let ledger = LocalLedger::new(&state);
    for first in (0..RECORDS).step_by(6_400) {
        let requests = (first..(first + 6_400).min(RECORDS)).collect::<Vec<_>>();
        let write = async |numbers: &[usize]| {
            let puts: Vec<_> = numbers.iter().map(|number| batch_end(*number)[0].clone()).collect();
            ledger.write(&puts).await.unwrap();
        };
        join_all(requests.chunks(100).map(write)).await;
    }
    drop(state);
    let size = std::fs::metadata(directory.path().join("state.db")).unwrap().len();
    println!("{RECORDS} records: {} MiB", size >> 20);
    let began = Instant::now();
    let state = State::open(directory.path(), running_clock()).unwrap();
    println!("opening and verifying them: {:.1} s", began.elapsed().as_secs_f64());
    drop(state);
}
