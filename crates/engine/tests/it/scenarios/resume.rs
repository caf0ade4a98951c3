//! Parts and objects that a destination lists or shows, and which of them are proof.

use bytes::Bytes;
use migration_core::outcome::Fingerprint;
use migration_core::records::RunResult;
use migration_testkit::{BucketSettings, Checksums, Fault, MemoryLedger, Operation, StoreSettings};

use crate::histories::Violation;
use crate::world::{DESTINATION, SOURCE, World, content, foreign, tiny_config, tiny_store};

/// A tiny world whose destination does not support checksums and has to be probed.
pub fn without_checksums() -> World {
    let settings = StoreSettings { checksums: Checksums::Refused, ..tiny_store() };
    let mut config = tiny_config();
    config.destination.service.endpoint = Some("http://destination".into());
    World::with(&settings, MemoryLedger::with_page(3), config)
}

/// The large object of the source is at the destination, and no other content ever was.
pub fn only_the_source_was_visible(world: &World, key: &str) -> Result<(), Violation> {
    let source = world.source.content(SOURCE, key);
    let log = world.destination.write_log(DESTINATION);
    if let Some(entry) = log.iter().find(|entry| entry.key == key && Some(&entry.content) != source.as_ref()) {
        return Err(Violation::new("mixture", format!("{} other bytes were visible", entry.content.len())));
    }
    if world.destination.content(DESTINATION, key) == source {
        return Ok(());
    }
    Err(Violation::new("same", format!("{key} is not at the destination")))
}

/// A part is stored damaged, and its worker dies before sending it again: the next one finds it listed with its size.
pub async fn damaged_part() -> Result<(), Violation> {
    let world = without_checksums();
    world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    world.plan.at(Operation::PutPart, 2, Fault::Corrupt);
    // The same part again, the sixth: this rule must not depend on the one that the other test breaks.
    world.plan.at(Operation::PutPart, 5, Fault::Crash);
    let end = world.work_until_over("job-1").await;
    if world.plan.injected() != 2 || end.result != RunResult::Complete {
        return Err(Violation::new("complete", format!("{} faults, {:?}", world.plan.injected(), end.result)));
    }
    only_the_source_was_visible(&world, "large")
}

/// After the scan another writer puts an object of the same size, in parts of another layout.
pub async fn foreign_object_of_the_same_size() -> Result<(), Violation> {
    let world = World::tiny();
    world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    let (attributes, tags) = foreign::dressed(0);
    let bytes = Bytes::from(content(150, 9));
    foreign::put_in_parts(&world.destination, (DESTINATION, "large"), &bytes, (&attributes, &tags));
    world.work_until_over("job-1").await;
    let same = world.destination.content(DESTINATION, "large") == world.source.content(SOURCE, "large");
    if same { Ok(()) } else { Err(Violation::new("same", "somebody else's object was taken for the copy")) }
}

/// The object at the destination was found damaged, and has the very ETag expected after completion.
pub async fn found_damaged() -> Result<(), Violation> {
    let world = World::tiny();
    let etag = world.source.insert(SOURCE, "large", content(150, 1));
    world.send("job-1").await.unwrap();
    let visible = world.destination.insert(DESTINATION, "large", content(150, 9));
    let mut record = super::record_of("large", etag, 150);
    record.expected = Some(Fingerprint { etag: Some(visible), checksum: None });
    record.damaged = Some(migration_core::records::Damage::Upload);
    super::put_record(&world, &record).await;
    world.work_until_over("job-1").await;
    let same = world.destination.content(DESTINATION, "large") == world.source.content(SOURCE, "large");
    if !same {
        return Err(Violation::new("same", "the damaged object was taken for the copy"));
    }
    let records = migration_ledger::view::uploads(&world.ledger, crate::world::JOB).await.unwrap().records;
    if records.is_empty() { Ok(()) } else { Err(Violation::new("record", format!("{records:?}"))) }
}

/// A bucket whose ETags are not digests.
pub fn opaque() -> BucketSettings {
    BucketSettings { opaque_etags: true, ..BucketSettings::default() }
}
