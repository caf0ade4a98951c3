//! Scans of any number of keys in little memory: buckets of realistic shapes that are computed, not stored; faults at
//! every page; deaths at any moment.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::scans::{Scans, times_sent};
use crate::world::{DESTINATION, JOB, SOURCE};
use migration_core::error::{ErrorClass, Service};
use migration_core::message::Batch;
use migration_core::ports::{Clock, Ledger};
use migration_core::progress::{RunProgress, end_of_run, progress};
use migration_core::range::{KeyRange, check_parts};
use migration_core::records::{BatchEnd, EndCounts, RunResult, ScanCounts, end_writes};
use migration_engine::Interruption;
use migration_engine::scan::{ScanError, SenderName, send};
use migration_ledger::view;
use migration_testkit::{Call, Fault, KeyShape, Operation, SyntheticStore, TestClock};

const LATENCY: Duration = Duration::from_millis(20);

/// A destination that lacks every tenth key.
fn pair_of(shape: KeyShape, count: u64) -> (SyntheticStore, SyntheticStore) {
    let source = SyntheticStore::new(shape, count).with_latency(LATENCY);
    (source, SyntheticStore::new(shape, count).without_every(10).with_latency(LATENCY))
}

fn scans(shape: KeyShape, count: u64) -> Scans {
    let (source, destination) = pair_of(shape, count);
    Scans::new(source, destination)
}

/// Asserts the counts of a scan of `count` keys of which every tenth is missing.
fn assert_found(counts: ScanCounts, count: u64, context: &str) {
    assert_eq!((counts.objects, counts.in_place, counts.failed), (count / 10, count - count / 10, 0), "{context}");
}

#[tokio::test(start_paused = true)]
async fn a_small_bucket_costs_one_request_a_side_and_no_short_one_costs_probes() {
    for (count, requests) in [(0, 1), (999, 1), (1_000, 1), (1_001, 2), (4_000, 4)] {
        let source = SyntheticStore::new(KeyShape::Deep, count);
        let scans = Scans::new(source.clone(), source.clone());
        assert_eq!(scans.sent(16).await.in_place, count);
        let traffic = source.traffic();
        assert_eq!((traffic.requests, traffic.probes), (requests * 2, 0), "{count} keys");
        assert_eq!(scans.ranges().await.len(), 1);
        // One each to take the run, to close the range, and to close the run.
        assert_eq!(scans.plan.count(Operation::WriteItems), 3, "{count} keys");
    }
}

#[tokio::test(start_paused = true)]
async fn every_shape_of_keys_spreads_over_the_ranges() {
    const COUNT: u64 = 400_000;
    for shape in KeyShape::ALL {
        let began = tokio::time::Instant::now();
        let alone = scans(shape, COUNT);
        assert_found(alone.sent(1).await, COUNT, &format!("{shape:?}, one range"));
        let slow = began.elapsed();
        let pages = alone.source.traffic().requests;
        assert_eq!(pages, COUNT / 1_000, "{shape:?}: one range");

        let began = tokio::time::Instant::now();
        let scans = scans_of(&alone);
        assert_found(scans.sent(16).await, COUNT, &format!("{shape:?}, 16 ranges"));
        let speed_up = slow.as_secs_f64() / began.elapsed().as_secs_f64();
        let traffic = scans.source.traffic();
        let ranges = scans.ranges().await;
        let keys = |counts: &ScanCounts| counts.objects + counts.in_place;
        let largest = ranges.iter().map(|range| keys(&range.counts)).max().unwrap();
        println!(
            "{shape:?}: {speed_up:.1} times as fast, {} requests for {pages} pages, {} probes, {} ranges, largest {largest}",
            traffic.requests,
            traffic.probes,
            ranges.len(),
        );
        // Independent of the machine: the time is tokio's, which stands still while anything works.
        assert!(speed_up > 5.0, "{shape:?}: {speed_up}");
        assert!(largest < COUNT / 4, "{shape:?}: the largest range has {largest} keys");
        assert!(traffic.requests - traffic.probes < pages + 4 * ranges.len() as u64, "{shape:?}: {traffic:?}");
        assert!(traffic.probes < pages, "{shape:?}: {traffic:?}");
        assert!(ranges.len() < 200 && ranges.iter().all(|range| range.closed), "{shape:?}: {ranges:?}");
        assert!(traffic.most_in_flight <= 16, "{shape:?}: {traffic:?}");
        let times = times_sent(&scans.batches());
        assert_eq!(times.keys().cloned().collect::<BTreeSet<_>>(), scans.differences(COUNT), "{shape:?}");
        assert!(times.values().all(|times| *times == 1), "{shape:?}");
    }
}

/// The same buckets without the counts of calls.
fn scans_of(other: &Scans) -> Scans {
    let (source, destination) = (other.source.uncounted(), other.destination.uncounted());
    Scans::new(source, destination)
}

#[tokio::test(start_paused = true)]
async fn no_more_than_two_pages_of_a_range_are_in_memory() {
    const COUNT: u64 = 100_000;
    let source = SyntheticStore::new(KeyShape::Hashed, COUNT).with_latency(LATENCY);
    // Never answers while the test waits.
    let silent = SyntheticStore::new(KeyShape::Hashed, COUNT).with_latency(Duration::from_hours(1));
    let scans = Scans::new(source.clone(), silent.clone());
    let waited = tokio::time::timeout(Duration::from_mins(1), scans.send(16)).await;
    assert!(waited.is_err());
    assert_eq!(source.traffic().requests - source.traffic().probes, 2);
    assert_eq!(silent.traffic().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn requests_that_fail_now_and_then_change_nothing() {
    const COUNT: u64 = 100_000;
    let (source, destination) = pair_of(KeyShape::Dates, COUNT);
    let scans = Scans::new(source.failing_every(29), destination.failing_every(31));
    assert_found(scans.sent(16).await, COUNT, "failing");
    assert_eq!(times_sent(&scans.batches()).len() as u64, COUNT / 10);
}

#[tokio::test(start_paused = true)]
async fn keys_out_of_order_are_named_with_side_and_bucket() {
    const COUNT: u64 = 40_000;
    // Within a page, across two pages, and among the last keys.
    for place in [10, 999, 30_500, 39_998] {
        for side in [Service::Source, Service::Destination] {
            for ranges in [1, 16] {
                let store = || SyntheticStore::new(KeyShape::Flat, COUNT).with_latency(LATENCY);
                let (source, destination) = match side {
                    Service::Source => (store().swapped_at(place), store()),
                    _ => (store(), store().swapped_at(place)),
                };
                let scans = Scans::new(source, destination);
                let error = scans.send(ranges).await.unwrap_err();
                let bucket_of = |side| if side == Service::Source { SOURCE } else { DESTINATION };
                let named = matches!(&error, ScanError::OutOfOrder { side: found, bucket, .. }
                    if *found == side && bucket == bucket_of(side));
                assert!(named, "{place} {side} {ranges}: {error}");
                assert!(!scans.run().await.scan.closed);
                assert_eq!(scans.batches(), [], "{place} {side} {ranges}");
            }
        }
    }
}

/// Whichever page fails, at either side: the run fails with the reason, and no present object is taken for absent.
#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_at_any_page_fails_the_run_and_shows_no_absence() {
    const COUNT: u64 = 300;
    for (bucket, ranges) in [(SOURCE, 1), (SOURCE, 4), (DESTINATION, 1), (DESTINATION, 4)] {
        for failing in 1.. {
            let store = SyntheticStore::new(KeyShape::Dates, COUNT).with_page(10).with_latency(LATENCY);
            let scans = Scans::new(store.clone(), store.without_every(10));
            let mut seen = 0;
            let is_failing = move |call: &Call| {
                let here = call.operation == Operation::ListObjects && call.subject.starts_with(bucket);
                seen += u32::from(here);
                here && seen >= failing
            };
            scans.plan.when(is_failing, Fault::Fail(ErrorClass::Refused), u32::MAX);
            let sent = scans.send(ranges).await;
            let run = scans.run().await;
            let missing = scans.differences(COUNT);
            let wrong = times_sent(&scans.batches()).into_keys().find(|key| !missing.contains(key));
            assert_eq!(wrong, None, "page {failing} of {bucket}, {ranges} ranges");
            if scans.plan.injected() == 0 {
                assert!(sent.is_ok() && failing > 27 && run.scan.closed);
                break;
            }
            let error = sent.unwrap_err().to_string();
            assert!(error.contains("list objects") && error.contains("InjectedFault"), "{error}");
            assert!(!run.scan.closed, "page {failing} of {bucket}, {ranges} ranges");
            // Whatever was recorded before, the next jobsender finds the rest.
            scans.plan.clear();
            tokio::time::sleep(Duration::from_mins(2)).await;
            assert_found(scans.sent(ranges).await, COUNT, &format!("page {failing} of {bucket}, {ranges} ranges"));
            assert_eq!(times_sent(&scans.batches()).into_keys().collect::<BTreeSet<_>>(), missing);
        }
    }
}

/// A scan that takes minutes, so that it is killed at all ages of its checkpoints.
fn long_scans() -> Scans {
    let slow = |store: SyntheticStore| store.with_page(20).with_latency(Duration::from_millis(700));
    let source = SyntheticStore::new(KeyShape::Skewed, 6_000);
    Scans::new(slow(source.clone()), slow(source.without_every(10)))
}

const LONG_COUNT: u64 = 6_000;

/// Scans with jobsenders that are killed at the calls with these numbers, counted from each one's start.
async fn send_killed(scans: &Scans, deaths: &[u64]) {
    for death in deaths {
        let sender = scans.plan.process();
        scans.plan.at_call(scans.plan.calls() + death, Fault::CrashAfter);
        let killed = tokio::select! {
            biased;
            () = scans.plan.killed(sender) => true,
            sent = scans.send_as(sender, 4) => { sent.unwrap(); false }
        };
        if !killed {
            return;
        }
    }
    scans.plan.clear();
    scans.sent(4).await;
}

/// Records the ends of all batches in the queue, as all workers together would.
async fn end_all(scans: &Scans) -> RunProgress {
    for batch in scans.batches() {
        let counts = EndCounts { done: batch.objects.len() as u64, done_bytes: batch.bytes(), ..EndCounts::default() };
        let end = BatchEnd::new(batch.id.clone(), "w", 0, counts);
        scans.ledger.write(&end_writes(&batch, &end)).await.unwrap();
    }
    let run = scans.run().await;
    let tally = view::tally(&scans.ledger, JOB, &run).await.unwrap();
    assert_eq!(end_of_run(&run, &tally, 0).map(|end| end.result), Some(RunResult::Complete));
    progress(&run, &tally)
}

/// Checks a scan whose jobsenders were killed; returns how many keys were sent more than once.
async fn check_killed(scans: &Scans, context: &str) -> usize {
    let (run, ranges, batches) = (scans.run().await, scans.ranges().await, scans.batches());
    let missing = scans.differences(LONG_COUNT);
    assert_found(run.scan.counts, LONG_COUNT, context);
    // Each difference is once in batches that count; any others were sent from ranges in flight.
    let is_stale = |batch: &&Batch| run.is_stale(&batch.id);
    let (stale, counted): (Vec<&Batch>, Vec<&Batch>) = batches.iter().partition(is_stale);
    let times = times_sent(counted.iter().copied());
    assert_eq!(times.keys().cloned().collect::<BTreeSet<_>>(), missing, "{context}");
    assert!(times.values().all(|times| *times == 1), "{context}");
    assert_eq!(counted.len() as u64, run.scan.counts.batches, "{context}");
    let mut ids: Vec<&str> = batches.iter().map(|batch| batch.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), batches.len(), "{context}: an id was used twice");
    // The ranges cover all keys, and are closed.
    let mut parts: Vec<KeyRange> = ranges.iter().map(|range| range.keys.clone()).collect();
    check_parts(&mut parts).unwrap();
    assert!(ranges.iter().all(|range| range.closed), "{context}");
    let of_one = |epoch: u32| run.stale.iter().filter(|stale| stale.epoch == epoch).count();
    // Four lanes, and the ranges waiting for one.
    assert!((1..run.epoch).all(|epoch| of_one(epoch) <= 4 * 4), "{context}: {:?}", run.stale);
    let ended = end_all(scans).await;
    assert_eq!((ended.done, ended.objects, ended.open_batches), (LONG_COUNT / 10, LONG_COUNT / 10, 0), "{context}");
    times_sent(stale).len()
}

#[tokio::test(start_paused = true)]
async fn a_sender_killed_at_any_moment_is_gone_on_with_and_sends_twice_only_what_was_in_flight() {
    let calm = long_scans();
    calm.sent(4).await;
    let calls = calm.plan.calls();
    assert!(calls > 600 && calm.ranges().await.len() > 8, "{calls}");
    let (chance, mut twice) = (TestClock::at(0), 0);
    chance.seed(5);
    let below = |bound: u64| u64::try_from(Duration::from_nanos(bound).mul_f64(chance.random()).as_nanos()).unwrap();
    for round in 0..100 {
        let deaths: Vec<u64> = (0..=below(4)).map(|_| 1 + below(calls)).collect();
        let scans = long_scans();
        send_killed(&scans, &deaths).await;
        twice += check_killed(&scans, &format!("round {round}, killed at {deaths:?}")).await;
    }
    println!("{twice} of {} keys were sent more than once", 100 * LONG_COUNT / 10);
    assert!(twice > 0, "the test kills too early to repeat anything");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_sender_ends_its_lease_so_that_the_next_one_continues_at_once() {
    let scans = long_scans();
    let sender = scans.sender(scans.plan.process(), 4);
    let name = SenderName { started_by: "job-1".into(), new_run: "run-1".into() };
    let stop = async {
        tokio::time::sleep(Duration::from_secs(50)).await;
        sender.runtime.stop.cancel();
    };
    let (stopped, ()) = tokio::join!(send(sender.clone(), &name), stop);
    assert_eq!(stopped, Err(Interruption::Stopped.into()));
    let (left, now) = (scans.run().await, scans.clock.now());
    assert!(!left.scan.closed && left.end.is_none() && left.lease_until <= now, "{} {now}", left.lease_until);
    let mut continued = Box::pin(scans.sent(4));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut continued).await.is_err());
    assert_eq!(scans.run().await.epoch, left.epoch + 1, "the next one waited");
    continued.await;
    check_killed(&scans, "stopped").await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_sender_costs_half_a_minute_of_listing_whatever_it_did_before() {
    const COUNT: u64 = 200_000;
    let store = SyntheticStore::new(KeyShape::Flat, COUNT).with_latency(Duration::from_secs(1));
    let scans = Scans::new(store.clone(), store.uncounted());
    // One range, so that only checkpoints can help.
    let sender = scans.plan.process();
    let killed = tokio::time::timeout(Duration::from_secs(150), scans.send_as(sender, 1)).await;
    assert!(killed.is_err());
    scans.plan.kill(sender);
    let before = store.traffic().requests;
    assert!((145..=150).contains(&before), "{before}");
    assert_eq!(scans.sent(1).await.in_place, COUNT);
    let again = before + (store.traffic().requests - before) - COUNT / 1_000;
    assert!(again <= 36, "{again} pages were listed twice");
    let epochs: Vec<u32> = scans.ranges().await.iter().map(|range| range.epoch).collect();
    assert_eq!(epochs, [2]);
}
