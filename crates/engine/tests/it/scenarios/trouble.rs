//! Many objects with one fault each, and one object with many.

use migration_core::error::ErrorClass;
use migration_core::records::RunResult;
use migration_testkit::{Fault, Operation};

use crate::histories::Violation;
use crate::world::{SOURCE, World, content};

/// All objects of a run are denied: they have failed, and the run is over.
pub(super) async fn denied_objects() -> Result<(), Violation> {
    let world = World::tiny();
    for number in 0..30 {
        world.source.insert(SOURCE, &format!("{number}"), content(20, 1));
    }
    world.plan.when(|call| call.operation == Operation::GetObject, Fault::Fail(ErrorClass::AccessDenied), u32::MAX);
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    let failed = world.progress().await.failed;
    if (end.result, failed) == (RunResult::PartiallyFailed, 30) {
        return Ok(());
    }
    Err(Violation::new("denied", format!("{failed} of 30 have failed: {:?}", end.result)))
}

/// Each try sends a few parts before the service throttles.
pub(super) async fn throttled_object() -> Result<(), Violation> {
    let mut world = World::tiny();
    world.config.transfer.split_threshold = migration_core::size::ByteSize::mib(1);
    world.source.insert(SOURCE, "large", content(32 * 120, 1));
    let mut parts = 0_u32;
    let often = move |call: &migration_testkit::Call| {
        let part = call.operation == Operation::PutPart;
        parts += u32::from(part);
        part && parts % 16 > 3
    };
    world.plan.when(often, Fault::Fail(ErrorClass::Throttled), u32::MAX);
    world.send("job-1").await.unwrap();
    let end = world.work_until_over("job-1").await;
    if end.result == RunResult::Complete {
        return Ok(());
    }
    Err(Violation::new("tries", format!("an object that moved on was given up: {:?}", end.result)))
}
