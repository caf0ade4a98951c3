//! Verdicts that take requests: many at once, in the order of keys, and each counted once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use migration_core::compare::CompareMode;
use migration_core::config::MirrorSettings;
use migration_core::finding::Finding;
use migration_core::pair::BucketPair;
use migration_core::ports::{Attributes, Tags};
use migration_core::records::ScanCounts;
use migration_core::verification::VerifyMethod;
use migration_engine::scan::{Observer, Purpose, SenderName, send_for};
use migration_testkit::{Fault, MemoryLedger, Operation, StoreSettings};
use tokio::time::Instant;

use crate::world::{DESTINATION, SOURCE, World, content, tiny_config};

/// A world whose services answer after this time, with objects whose copies were written in parts: their ETags say
/// nothing.
fn far_world(latency: Duration, objects: usize) -> World {
    let settings = StoreSettings { latency, minimum_part: 1, ..StoreSettings::default() };
    let world = World::with(&settings, MemoryLedger::new(), tiny_config());
    for (number, seed) in (0..objects).zip((0..=255).cycle()) {
        let (key, bytes) = (format!("{number:06}"), content(50, seed));
        let parts = [Bytes::copy_from_slice(&bytes[..20]), Bytes::copy_from_slice(&bytes[20..])];
        world.source.insert(SOURCE, &key, bytes);
        world.destination.insert_parts(DESTINATION, &key, &parts, &Attributes::default(), &Tags::new());
    }
    world
}

/// Collects the keys of findings.
#[derive(Default)]
struct Keys(Mutex<Vec<String>>);

impl Observer for Keys {
    fn found(&self, _: &BucketPair, finding: &Finding<'_>) {
        let (Finding::Transfer { source: object, .. }
        | Finding::InPlace { source: object, .. }
        | Finding::Ignored { source: object }
        | Finding::Unmovable { source: object, .. }
        | Finding::Gone { source: object }
        | Finding::Extraneous { destination: object }) = finding;
        self.0.lock().unwrap().push(object.key.clone());
    }
}

async fn verify(world: &World, method: VerifyMethod) -> (Vec<String>, ScanCounts) {
    let keys = Arc::new(Keys::default());
    let purpose = Purpose { verify: Some(method), extras: true, observer: Some(keys.clone()) };
    let name = SenderName { started_by: "verify".into(), new_run: "run-1".into() };
    send_for(world.process(), &name, &purpose).await.unwrap();
    let found = keys.0.lock().unwrap().clone();
    (found, world.run().await.unwrap().scan.counts)
}

#[tokio::test(start_paused = true)]
async fn many_take_requests_at_once() {
    // Bodies take memory.
    for (method, expected) in
        [(None, 60..=66), (Some(VerifyMethod::Checksum), 60..=66), (Some(VerifyMethod::Read), 14..=18)]
    {
        let mut world = far_world(Duration::from_millis(100), 600);
        world.config.compare = CompareMode::Checksum;
        let began = Instant::now();
        let counts = if let Some(method) = method {
            verify(&world, method).await.1
        } else {
            world.send("job-1").await.unwrap();
            world.run().await.unwrap().scan.counts
        };
        // One by one they take a minute.
        assert!(began.elapsed() < Duration::from_secs(5), "{method:?} took {:?}", began.elapsed());
        assert_eq!((counts.in_place, counts.objects), (600, 0), "{method:?}");
        let at_once = world.source.most_in_flight(SOURCE);
        // And a listing.
        assert!(expected.contains(&at_once), "{at_once} requests at once for {method:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn findings_keep_the_order_of_keys_though_verdicts_come_in_another() {
    let mut world = far_world(Duration::ZERO, 300);
    world.plan.latency(Duration::from_millis(500), world.clock.clone());
    world.config.ignore = vec![format!("{SOURCE}/0001?7")];
    for key in ["000100x", "000200x"] {
        world.destination.insert(DESTINATION, key, "only here");
    }
    for key in ["000050x", "000250x"] {
        world.source.insert(SOURCE, key, "only there");
    }
    let (keys, counts) = verify(&world, VerifyMethod::Checksum).await;
    assert!(keys.len() == 304 && keys.is_sorted(), "{keys:?}");
    assert_eq!((counts.in_place, counts.objects, counts.ignored, counts.extra), (290, 2, 10, 2));
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_is_killed_among_them_counts_each_once() {
    for nth in [100, 301, 550, 700, 1_150] {
        let mut world = far_world(Duration::from_secs(20), 600);
        world.config.compare = CompareMode::Checksum;
        world.config.mirror = Some(MirrorSettings { max_deletes: 9 });
        world.config.ignore = vec![format!("{SOURCE}/0001?7")];
        world.source.insert(SOURCE, "000300x", "only there");
        for key in ["000100x", "000400x"] {
            world.destination.insert(DESTINATION, key, "only here");
        }
        world.plan.at(Operation::HeadObject, nth, Fault::Crash);
        world.send_until_closed("job-1").await;
        assert_eq!(world.plan.injected(), 1);
        let counts = world.run().await.unwrap().scan.counts;
        let found = (counts.in_place, counts.objects, counts.ignored, counts.extra);
        assert_eq!(found, (590, 1, 10, 2), "killed at {nth}");
    }
}
