//! A jobsender that is faster than the workers waits for them, and loses nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::scans::{Scans, times_sent};
use migration_core::backpressure::LEAST_BACKLOG;
use migration_core::message::Batch;
use migration_core::ports::{Clock, Ledger};
use migration_core::progress::RUN_LEASE_MS;
use migration_core::records::{BatchEnd, EndCounts, end_writes};
use migration_core::size::ByteSize;
use migration_testkit::{KeyShape, SyntheticStore};

/// Twice as many objects as may be in transit, each of them a batch.
fn scans() -> Scans {
    let source = SyntheticStore::new(KeyShape::Dates, 2 * LEAST_BACKLOG).with_latency(Duration::from_millis(20));
    let empty = SyntheticStore::new(KeyShape::Dates, 0);
    let mut scans = Scans::new(source, empty);
    scans.config.transfer.multipart_threshold = ByteSize(1);
    scans
}

/// Records the ends of batches as a worker does.
async fn end(scans: &Scans, batches: &[Batch]) {
    for batch in batches {
        let counts = EndCounts { done: 1, ..EndCounts::default() };
        let end = BatchEnd::new(batch.id.clone(), "w", 0, counts);
        scans.ledger.write(&end_writes(batch, &end)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_scan_waits_until_the_workers_have_done_more() {
    let scans = scans();
    let sending = scans.send(4);
    tokio::pin!(sending);
    // Without workers it stands still, keeps its lease, and shows that it waits.
    let waited = tokio::time::timeout(Duration::from_hours(3), &mut sending).await;
    assert!(waited.is_err());
    let (run, queued) = (scans.run().await, scans.batches());
    let first = queued.len() as u64;
    assert!((LEAST_BACKLOG..LEAST_BACKLOG + 10).contains(&first), "{first}");
    assert!(run.scan.waiting && run.lease_until > scans.clock.now() + RUN_LEASE_MS / 2);
    // Some batches are done: it sends that many more.
    end(&scans, &queued[..100]).await;
    assert!(tokio::time::timeout(Duration::from_mins(1), &mut sending).await.is_err());
    let more = scans.batches().len() as u64 - first;
    assert!((90..200).contains(&more), "{more} more");
    // All are done: it reaches its end, and has sent each batch once.
    let queued = scans.batches();
    end(&scans, &queued[100..]).await;
    sending.await.unwrap();
    let times = times_sent(&scans.batches());
    assert_eq!(times.keys().cloned().collect::<BTreeSet<_>>().len() as u64, 2 * LEAST_BACKLOG);
    assert!(times.values().all(|times| *times == 1));
    assert!(!scans.run().await.scan.waiting);
}

/// Batches that a killed jobsender sent count for the next one, so killing does not lift the bound.
#[tokio::test(start_paused = true)]
async fn a_sender_that_takes_over_waits_too() {
    let scans = scans();
    let killed = tokio::time::timeout(Duration::from_mins(10), scans.send(4)).await;
    assert!(killed.is_err());
    let again = tokio::time::timeout(Duration::from_hours(1), scans.send(4)).await;
    assert!(again.is_err());
    let queued = scans.batches().len() as u64;
    // A thousand may be sent before the workers' progress is first read, and nothing was sent again.
    assert!(queued <= LEAST_BACKLOG + LEAST_BACKLOG / 2 + 10, "{queued}");
    assert!(times_sent(&scans.batches()).values().all(|times| *times == 1));
}
