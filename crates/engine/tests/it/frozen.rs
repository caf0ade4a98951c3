//! Workers whose machine is suspended at any of their calls, while others end the upload that they were at and begin
//! the next one of the same object. When they go on, they end no upload but their own.

use std::sync::Arc;
use std::time::Duration;

use migration_core::part::PartSize;
use migration_core::records::RunResult;
use migration_core::size::ByteSize;
use migration_engine::heartbeat;
use migration_engine::worker::Worker;
use migration_testkit::{Call, Fault, Operation, ProcessId};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::histories::Violation;
use crate::world::{DESTINATION, SOURCE, World, content};

/// Longer than a lease, and shorter than the time without progress after which a worker leaves its work.
const FROZEN: Duration = Duration::from_mins(4);

/// What the frozen worker transfers.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Size of the object, in bytes.
    size: usize,
    /// True if the service of the destination is unknown, so that the worker probes it with an upload.
    probes: bool,
    /// True if the object changes at the source right after its upload was created.
    changes: bool,
    /// Number of calls that the worker makes at least.
    calls: u32,
}

impl Case {
    const PROBED: Self = Self { size: 40, probes: true, changes: false, calls: 15 };
    const LARGE: Self = Self { size: 300, probes: false, changes: false, calls: 15 };
    const HUGE: Self = Self { size: 420, probes: false, changes: false, calls: 25 };
    const ALL: [Self; 5] = [
        Self::PROBED,
        Self::LARGE,
        Self { changes: true, ..Self::LARGE },
        Self::HUGE,
        Self { changes: true, ..Self::HUGE },
    ];
}

#[tokio::test(start_paused = true)]
async fn a_worker_frozen_at_any_call_leaves_the_next_upload_of_its_object_alone() {
    for case in Case::ALL {
        frozen_at_any_call(case).await.unwrap_or_else(|violation| panic!("{violation}"));
    }
}

/// A worker with a large object is frozen at any of its calls.
pub async fn large_object() -> Result<(), Violation> {
    frozen_at_any_call(Case::LARGE).await
}

async fn frozen_at_any_call(case: Case) -> Result<(), Violation> {
    let (mut calls, mut left) = (0, Vec::new());
    while let Some(open) = frozen_at(case, calls + 1).await {
        calls += 1;
        left.extend((!open.is_empty()).then_some((calls, open)));
    }
    assert!(calls >= case.calls, "{case:?}: {calls} calls only");
    let detail = || format!("{case:?}: frozen at calls of {calls}, leaves uploads open: {left:?}");
    if left.is_empty() { Ok(()) } else { Err(Violation::new("open upload", detail())) }
}

fn world_of(case: Case) -> World {
    let mut world = World::tiny();
    world.config.transfer.part_size = PartSize::Fixed(ByteSize(128));
    world.config.destination.service.endpoint = case.probes.then(|| "http://destination".to_owned());
    world.source.insert(SOURCE, "a", content(case.size, 1));
    world
}

/// Freezes a worker at a call of its own, and lets another one end the run and begin the next. Returns the uploads that
/// are open in the end, by key, or `None` if the worker makes fewer calls.
async fn frozen_at(case: Case, call: u32) -> Option<Vec<(String, String)>> {
    let world = world_of(case);
    world.send("job-1").await.unwrap();
    if case.changes {
        let (source, mut created, mut changed) = (world.source.clone(), false, false);
        let change = move |at: &Call| {
            if created && !std::mem::replace(&mut changed, true) {
                source.insert(SOURCE, "a", content(case.size, 2));
            }
            created |= at.operation == Operation::CreateUpload;
            false
        };
        world.plan.when(change, Fault::Crash, 1);
    }
    let id = world.plan.process();
    let reached = reach(&world, id, call);
    let frozen = start(&world, id);
    tokio::select! {
        biased;
        () = reached.notified() => {}
        _ = world.over() => {
            frozen.abort();
            return None;
        }
    }
    let until = Instant::now() + FROZEN;
    world.plan.freeze(id, FROZEN);
    let (process, worker) = world.start_worker();
    assert_eq!(world.over().await.result, RunResult::Complete, "{case:?} {call}");
    world.source.insert(SOURCE, "a", content(440, 3));
    world.plan.when(|call| call.operation == Operation::PutPart, Fault::Delay(FROZEN), 4);
    world.send("job-2").await.unwrap();
    sleep_until(until).await;
    assert_eq!(world.destination.open_uploads(DESTINATION).len(), 1, "{case:?} {call}");
    assert_eq!(world.until_over_and_quiet().await.result, RunResult::Complete, "{case:?} {call}");
    sleep(FROZEN).await;
    process.runtime.stop.cancel();
    worker.await.unwrap();
    frozen.abort();
    assert!(world.destination.content(DESTINATION, "a") == world.source.content(SOURCE, "a"), "{case:?} {call}");
    Some(world.destination.open_uploads(DESTINATION))
}

/// Notifies when a process makes so many calls, each of which takes some time.
fn reach(world: &World, id: ProcessId, call: u32) -> Arc<Notify> {
    let reached = Arc::new(Notify::new());
    let (notify, mut calls) = (reached.clone(), 0);
    let count = move |at: &Call| {
        let is_own = at.process == Some(id);
        calls += u32::from(is_own);
        if is_own && calls == call {
            notify.notify_one();
        }
        is_own
    };
    world.plan.when(count, Fault::Delay(Duration::from_millis(10)), u32::MAX);
    reached
}

/// Starts a worker that can be frozen alone, and its heartbeats.
fn start(world: &World, id: ProcessId) -> JoinHandle<()> {
    let process = world.process_of(id, world.config.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = heartbeat::beat(&process, CancellationToken::new()) => {}
            () = Worker::new(process.clone()).run() => {}
        }
    })
}
