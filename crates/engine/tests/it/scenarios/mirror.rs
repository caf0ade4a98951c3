//! Objects that a mirror must not delete.

use std::time::Duration;

use migration_core::config::MirrorSettings;
use migration_core::error::ErrorClass;
use migration_testkit::{Call, Fault, Lie, Operation, Scope};

use crate::histories::Violation;
use crate::world::{DESTINATION, SOURCE, World, content};

/// Two old objects that the source does not have.
async fn mirrored(max_deletes: u64) -> World {
    let mut world = World::tiny();
    world.config.mirror = Some(MirrorSettings { max_deletes });
    for key in ["a", "b"] {
        world.destination.insert(DESTINATION, key, content(9, 2));
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    world
}

async fn left(world: &World, expected: &[&str]) -> Result<(), Violation> {
    world.send("job-1").await.unwrap();
    let keys = world.destination.keys(DESTINATION);
    if keys == expected { Ok(()) } else { Err(Violation::new("mirror", format!("{keys:?} are left"))) }
}

/// The source denies access to one object.
pub async fn denial() -> Result<(), Violation> {
    let world = mirrored(2).await;
    let is_look = |call: &Call| call.operation == Operation::HeadObject && call.subject == format!("{SOURCE}/b");
    world.plan.when(is_look, Fault::Fail(ErrorClass::AccessDenied), u32::MAX);
    left(&world, &["b"]).await
}

/// One more object is extraneous than may be deleted.
pub async fn too_many() -> Result<(), Violation> {
    left(&mirrored(1).await, &["a", "b"]).await
}

/// A proxy answers the check of one of two objects that the source has again.
pub async fn not_found() -> Result<(), Violation> {
    let world = mirrored(2).await;
    let source = world.source.clone();
    let listed = move |call: &Call| {
        // After the listing, and before the check.
        if call.operation == Operation::HeadObject {
            source.insert(SOURCE, "b", content(9, 2));
        }
        false
    };
    world.plan.when(listed, Fault::Crash, u32::MAX);
    world.source_lies.tell(Lie::Absent, Scope::always().on(&[Operation::HeadObject]).key("b"));
    left(&world, &["b"]).await
}
