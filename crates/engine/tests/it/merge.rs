//! Compares a scan with a model that looks up every key: random buckets, mapped in every way, split into ranges.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, tiny_config, tiny_store};
use migration_core::finding::Finding;
use migration_core::ignore::IgnoreList;
use migration_core::message::Message;
use migration_core::pair::{BucketPair, PrefixMode};
use migration_core::records::{FailureRecord, ScanCounts};
use migration_engine::scan::{Observer, Purpose, SenderName, send_for};
use migration_ledger::view;
use migration_testkit::{MemoryLedger, StoreSettings};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// A pair of buckets.
#[derive(Clone, Debug)]
struct Case {
    /// Keys and contents.
    source: BTreeMap<String, u8>,
    destination: BTreeMap<String, u8>,
    pair: BucketPair,
    ignore: Vec<String>,
    page: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let keys = || prop::collection::btree_map("[a-c/é\u{1f600}]{0,5}", 0..3_u8, 0..150);
    let prefix = prop::sample::select(vec!["", "s/", "é"]);
    let destination_prefix = prop_oneof![Just(String::new()), Just("d".to_owned()), Just("x".repeat(1_020))];
    let ignore = prop::collection::vec(prop::sample::select(vec!["from/*b", "*/a*", "from/s/c?", "*\u{1f600}*"]), 0..2);
    (keys(), keys(), prefix, destination_prefix, any::<bool>(), ignore, 1..4_usize).prop_map(
        |(source, other, prefix, destination_prefix, replace, ignore, page)| {
            let pair = BucketPair {
                source_bucket: SOURCE.into(),
                source_prefix: prefix.into(),
                destination_bucket: DESTINATION.into(),
                destination_prefix,
                prefix_mode: if replace { PrefixMode::Replace } else { PrefixMode::Append },
            };
            // Most keys are under the prefix, some are not; an object without a name cannot be stored.
            let under = |(key, content): (&String, &u8)| {
                let outside = key.starts_with('c');
                (if outside { key.clone() } else { format!("{prefix}{key}") }, *content)
            };
            let mut source: BTreeMap<String, u8> = source.iter().map(under).collect();
            source.remove("");
            // Two thirds of the keys have a copy, right or wrong; there are other objects too.
            let copied = source.iter().enumerate().filter(|(place, _)| place % 3 > 0);
            let copied = copied.filter_map(|(place, (key, content))| {
                Some((pair.map_key(key).ok()?, if place % 5 == 0 { content + 1 } else { *content }))
            });
            let mut destination: BTreeMap<String, u8> = other.into_iter().chain(copied).collect();
            destination.remove("");
            let ignore = ignore.into_iter().map(str::to_owned).collect();
            Case { source, destination, pair, ignore, page }
        },
    )
}

/// Expected findings: the keys to transfer with the content at the destination, the keys that cannot be mapped, and the
/// counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    transfer: BTreeMap<String, Option<u8>>,
    unmapped: BTreeSet<String>,
    in_place: u64,
    ignored: u64,
    /// Keys of the destination.
    extra: BTreeSet<String>,
}

/// Collects the extraneous objects.
#[derive(Default)]
struct Extras(Mutex<Vec<String>>);

impl Observer for Extras {
    fn found(&self, _: &BucketPair, finding: &Finding<'_>) {
        if let Finding::Extraneous { destination } = finding {
            self.0.lock().unwrap().push(destination.key.clone());
        }
    }
}

/// Looks up every key.
fn naive(case: &Case) -> Found {
    let ignore = IgnoreList::new(&case.ignore).unwrap();
    let mut found = Found::default();
    for (key, content) in case.source.iter().filter(|(key, _)| key.starts_with(&case.pair.source_prefix)) {
        if ignore.ignores(SOURCE, key) {
            found.ignored += 1;
            continue;
        }
        let Ok(mapped) = case.pair.map_key(key) else {
            found.unmapped.insert(key.clone());
            continue;
        };
        match case.destination.get(&mapped) {
            Some(there) if there == content => found.in_place += 1,
            there => assert_eq!(found.transfer.insert(key.clone(), there.copied()), None),
        }
    }
    let range = case.pair.destination_range();
    for key in case.destination.keys().filter(|key| key.starts_with(&range)) {
        let source_key = case.pair.source_key(key).unwrap();
        if !case.source.contains_key(&source_key) && !ignore.ignores(SOURCE, &source_key) {
            found.extra.insert(key.clone());
        }
    }
    found
}

fn bytes_of(content: u8) -> Vec<u8> {
    vec![content; usize::from(content) + 1]
}

/// Scans, and returns the findings, the scan's own counts and the number of ranges.
async fn scanned(case: &Case) -> (Found, ScanCounts, usize) {
    let settings = StoreSettings { list_page: case.page, latency: Duration::from_millis(20), ..tiny_store() };
    let mut config = tiny_config();
    config.buckets = vec![case.pair.clone()];
    config.ignore.clone_from(&case.ignore);
    let world = World::with(&settings, MemoryLedger::new(), config);
    let mut contents = HashMap::new();
    for content in 0..4 {
        contents.insert(world.source.insert(SOURCE, "of each content", bytes_of(content)), content);
    }
    world.source.delete(SOURCE, "of each content");
    for (key, content) in &case.source {
        world.source.insert(SOURCE, key, bytes_of(*content));
    }
    for (key, content) in &case.destination {
        world.destination.insert(DESTINATION, key, bytes_of(*content));
    }
    let extras = Arc::new(Extras::default());
    let purpose = Purpose { extras: true, observer: Some(extras.clone()), ..Purpose::default() };
    let name = SenderName { started_by: "job-1".into(), new_run: "run-1".into() };
    send_for(world.process(), &name, &purpose).await.unwrap();
    let run = world.run().await.unwrap();
    let mut found = Found { in_place: run.scan.counts.in_place, ignored: run.scan.counts.ignored, ..Found::default() };
    for message in world.queue.messages() {
        let Message::Batch(batch) = Message::parse(&message.body).unwrap() else { unreachable!() };
        for entry in batch.objects {
            assert_eq!(contents[&entry.etag.unwrap()], case.source[&entry.key]);
            let there = entry.destination.map(|there| contents[&there.etag.unwrap()]);
            assert_eq!(found.transfer.insert(entry.key, there), None, "sent twice");
        }
    }
    let failures: Vec<FailureRecord> = view::failures(&world.ledger, JOB, &run, 1_000).await.unwrap().records;
    found.unmapped.extend(failures.into_iter().map(|failure| failure.key));
    let extras = extras.0.lock().unwrap().clone();
    assert_eq!(extras.len() as u64, run.scan.counts.extra);
    found.extra.extend(extras.iter().cloned());
    assert_eq!(found.extra.len(), extras.len(), "found twice: {extras:?}");
    (found, run.scan.counts, view::ranges(&world.ledger, JOB, &run.run).await.unwrap().len())
}

#[test]
fn a_scan_finds_what_a_look_up_of_every_key_finds() {
    let (cut, unmapped, moved) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let extra = AtomicUsize::new(0);
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let compared = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
    .run(&case(), |case| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (found, counts, ranges) = runtime.block_on(scanned(&case));
        let expected = naive(&case);
        prop_assert_eq!(counts.objects, expected.transfer.len() as u64);
        prop_assert_eq!(counts.failed, expected.unmapped.len() as u64);
        cut.fetch_add(usize::from(ranges > 1), Ordering::Relaxed);
        unmapped.fetch_add(expected.unmapped.len(), Ordering::Relaxed);
        moved.fetch_add(expected.transfer.len(), Ordering::Relaxed);
        extra.fetch_add(expected.extra.len(), Ordering::Relaxed);
        prop_assert_eq!(found, expected);
        Ok(())
    });
    compared.unwrap();
    let (cut, unmapped, moved) = (cut.into_inner(), unmapped.into_inner(), moved.into_inner());
    let extra = extra.into_inner();
    println!("{cut} of 400 scans were cut; {moved} keys to transfer, {unmapped} without a place, {extra} extra");
    assert!(cut > 100 && unmapped > 100 && moved > 1_000 && extra > 1_000, "{cut} {unmapped} {moved} {extra}");
}
