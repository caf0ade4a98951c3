//! Plans and verifications: scans without side effects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{DESTINATION, JOB, SOURCE, World, content};
use bytes::Bytes;
use migration_core::estimate::Estimate;
use migration_core::finding::{Action, Finding};
use migration_core::pair::BucketPair;
use migration_core::ports::{Attributes, Tags};
use migration_core::records::{RunResult, ScanCounts};
use migration_core::verification::{Verification, VerifyMethod};
use migration_engine::Process;
use migration_engine::scan::{DryRunError, Observer, Purpose, SenderName, dry_run, send_for};
use migration_ledger::view;
use migration_testkit::{BucketSettings, Fault, Operation};

/// The finding of each key, and its reason.
type Findings = BTreeMap<(Side, String), (Action, &'static str)>;

/// Collects the finding of each key, and their sums.
struct Notes {
    findings: Mutex<Findings>,
    estimate: Mutex<Estimate>,
    verification: Mutex<Verification>,
    since: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Source,
    Destination,
}

impl Notes {
    fn new(world: &World, since: Option<i64>) -> Arc<Self> {
        let estimate = Mutex::new(Estimate::new(&world.config));
        Arc::new(Self { findings: Mutex::default(), estimate, verification: Mutex::default(), since })
    }

    fn keys(&self, wanted: Action) -> Vec<String> {
        let findings = self.findings.lock().unwrap();
        findings.iter().filter(|(_, (action, _))| *action == wanted).map(|((_, key), _)| key.clone()).collect()
    }
}

impl Observer for Notes {
    fn found(&self, _: &BucketPair, finding: &Finding<'_>) {
        let side = if finding.action() == Action::Delete { Side::Destination } else { Side::Source };
        let known = (finding.action(), finding.reason());
        let before = self.findings.lock().unwrap().insert((side, finding.object().key.clone()), known);
        assert_eq!(before, None, "{finding:?}");
        self.estimate.lock().unwrap().add(finding);
        self.verification.lock().unwrap().add(finding, self.since);
    }
}

async fn dry_run_of(world: &World, purpose: Purpose) -> Result<ScanCounts, DryRunError> {
    let process: Process<_> = Arc::into_inner(world.process()).unwrap();
    dry_run(process, &purpose).await
}

async fn plan(world: &World) -> (Arc<Notes>, ScanCounts) {
    let notes = Notes::new(world, None);
    let purpose = Purpose { extras: true, observer: Some(notes.clone()), ..Purpose::default() };
    let counts = dry_run_of(world, purpose).await.unwrap();
    (notes, counts)
}

async fn verify(world: &World, verify: VerifyMethod) -> Verification {
    let since = world.run().await.map(|run| run.started);
    let notes = Notes::new(world, since);
    let purpose = Purpose { verify: Some(verify), extras: true, observer: Some(notes.clone()) };
    dry_run_of(world, purpose).await.unwrap();
    *notes.verification.lock().unwrap()
}

/// Objects of every kind that a scan distinguishes.
fn mixed() -> World {
    let mut world = World::tiny();
    world.config.buckets[0].destination_prefix = "p/".into();
    world.config.ignore = vec!["*.tmp".into()];
    world.config.filter.max_size = Some(500);
    for key in 0..40_u8 {
        let (name, copy) = (format!("{key:02}"), format!("p/{key:02}"));
        let body = content(usize::from(key) * 12, key);
        world.source.insert(SOURCE, &name, body.clone());
        match key % 4 {
            0 => {}
            1 => drop(world.destination.insert(DESTINATION, &copy, content(usize::from(key) * 12, 99))),
            2 => drop(world.destination.insert(DESTINATION, &copy, content(3, key))),
            _ => drop(world.destination.insert(DESTINATION, &copy, body)),
        }
    }
    world.source.insert(SOURCE, "a.tmp", content(5, 1));
    world.source.insert(SOURCE, "too large", content(501, 1));
    world.source.insert(SOURCE, &"x".repeat(1_024), content(5, 1));
    for extra in ["p/gone", "p/~", "p/hidden.tmp", "elsewhere"] {
        world.destination.insert(DESTINATION, extra, content(5, 1));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_what_the_run_then_does_object_for_object() {
    let world = mixed();
    let (notes, planned) = plan(&world).await;
    let before = world.destination.write_log(DESTINATION).len();
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::PartiallyFailed);
    let run = world.run().await.unwrap();
    assert_eq!(ScanCounts { extra: planned.extra, ..run.scan.counts }, planned);
    // The expected writes, and nothing else.
    let mut written: Vec<String> = world.destination.write_log(DESTINATION)[before..]
        .iter()
        .map(|entry| entry.key.strip_prefix("p/").unwrap().to_owned())
        .collect();
    written.sort();
    let mut copied = [notes.keys(Action::Transfer), notes.keys(Action::Update)].concat();
    copied.sort();
    assert_eq!(written, copied);
    let failures = view::failures(&world.ledger, JOB, &run, 100).await.unwrap().records;
    assert_eq!(notes.keys(Action::Fail), failures.into_iter().map(|failure| failure.key).collect::<Vec<_>>());
    assert_eq!(notes.keys(Action::Ignore), ["a.tmp", "too large"]);
    assert_eq!(notes.keys(Action::Delete), ["p/gone", "p/~"]);
    // The sums.
    let estimate = notes.estimate.lock().unwrap().clone();
    let progress = world.progress().await;
    assert_eq!((estimate.copied().objects, estimate.copied().bytes), (progress.done, progress.done_bytes));
    assert_eq!(estimate.skip.objects + estimate.ignore.objects, progress.skipped);
    assert_eq!((estimate.fail.objects, estimate.delete.objects), (progress.failed, 2));
}

#[tokio::test(start_paused = true)]
async fn a_plan_leaves_nothing_behind() {
    let world = mixed();
    plan(&world).await;
    let writes: Vec<String> =
        world.plan.log().iter().filter(|call| call.operation.writes()).map(ToString::to_string).collect();
    assert_eq!(writes, [""; 0]);
    assert_eq!((world.queue.messages().len(), world.run().await), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_plan_knows_what_earlier_runs_left() {
    let world = World::new();
    world.source.insert(SOURCE, "large", content(11 << 20, 1));
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    // Its ETag is not comparable with its copy's: only the last run shows that it is in place.
    let (notes, _) = plan(&world).await;
    assert_eq!(notes.keys(Action::Skip), ["large"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_refused_while_a_run_is_live() {
    let world = mixed();
    world.send("job-1").await.unwrap();
    let live = world.run().await.unwrap().run;
    assert_eq!(dry_run_of(&world, Purpose::default()).await, Err(DryRunError::RunIsLive(live)));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_fails_the_plan() {
    let world = mixed();
    world.plan.when(
        |call| call.operation == Operation::ListObjects && call.subject.starts_with(DESTINATION),
        Fault::Fail(migration_core::error::ErrorClass::Refused),
        u32::MAX,
    );
    let error = dry_run_of(&world, Purpose::default()).await.unwrap_err();
    assert!(matches!(error, DryRunError::Scan(_)) && error.to_string().contains("InjectedFault"), "{error}");
}

/// A finished run with small objects, and with large ones whose ETags are not comparable.
async fn finished() -> World {
    let world = World::new();
    for (key, len) in [("empty", 0), ("small", 10), ("large", 11 << 20), ("long", 7 << 20)] {
        world.source.insert(SOURCE, key, content(len, 1));
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    tokio::time::sleep(Duration::from_mins(1)).await;
    world
}

/// Writes another content of equal size, later than the source's and without a stored checksum.
fn spoil(world: &World, key: &str) {
    let mut bytes = world.destination.object(DESTINATION, key).unwrap().content.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let half = bytes.len() / 2;
    let parts = [Bytes::from(bytes[..half].to_vec()), Bytes::from(bytes[half..].to_vec())];
    world.destination.insert_parts(DESTINATION, key, &parts, &Attributes::default(), &Tags::new());
}

#[tokio::test(start_paused = true)]
async fn a_verification_proves_as_much_as_its_method_can() {
    let world = finished().await;
    for (method, proven, by_size) in
        [(VerifyMethod::Listing, 2, 2), (VerifyMethod::Checksum, 4, 0), (VerifyMethod::Read, 4, 0)]
    {
        let found = verify(&world, method).await;
        assert_eq!(found, Verification { proven, by_size, ..Verification::default() }, "{method:?}");
        assert!(found.is_whole());
    }
}

#[tokio::test(start_paused = true)]
async fn a_verification_finds_what_is_missing_different_and_extra() {
    for (method, different) in [(VerifyMethod::Listing, 1), (VerifyMethod::Read, 2)] {
        let world = finished().await;
        world.destination.delete(DESTINATION, "small");
        world.destination.insert(DESTINATION, "empty", content(1, 1));
        world.destination.insert(DESTINATION, "who", content(1, 1));
        spoil(&world, "large");
        let found = verify(&world, method).await;
        assert_eq!((found.missing, found.different, found.extra), (1, different, 1), "{method:?}: {found:?}");
        assert!(!found.is_whole());
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_since_the_run_is_no_fault_of_it() {
    let world = finished().await;
    world.source.insert(SOURCE, "new", content(5, 1));
    world.source.insert(SOURCE, "small", content(9, 1));
    let found = verify(&world, VerifyMethod::Listing).await;
    assert_eq!((found.missing, found.different, found.newer, found.is_whole()), (1, 1, 2, true));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_break_off_are_read_on() {
    let world = finished().await;
    world.plan.when(|call| call.operation == Operation::GetObject, Fault::Truncate(1_000), 3);
    assert_eq!(verify(&world, VerifyMethod::Read).await.proven, 4);
    assert_eq!(world.plan.injected(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_is_known_by_its_size() {
    let world = finished().await;
    world.plan.when(
        |call| call.operation == Operation::GetObject && call.subject.ends_with("large"),
        Fault::Fail(migration_core::error::ErrorClass::Refused),
        u32::MAX,
    );
    let found = verify(&world, VerifyMethod::Read).await;
    assert_eq!((found.proven, found.by_size), (3, 1));
}

/// Differences that only reading shows are sent too: a repair acts on what the verification found.
#[tokio::test(start_paused = true)]
async fn a_repair_sends_what_the_verification_finds() {
    let world = finished().await;
    world.destination.delete(DESTINATION, "small");
    spoil(&world, "large");
    let (notes, _) = plan(&world).await;
    assert_eq!(notes.keys(Action::Update), [""; 0], "by times it is in place");
    let purpose = Purpose { verify: Some(VerifyMethod::Read), ..Purpose::default() };
    let name = SenderName { started_by: "repair".into(), new_run: "run-9".into() };
    send_for(world.process(), &name, &purpose).await.unwrap();
    assert_eq!(world.work_until_over("repair").await.result, RunResult::Complete);
    world.assert_same("repaired");
    let found = verify(&world, VerifyMethod::Read).await;
    assert_eq!((found.proven, found.is_whole()), (4, true));
}

#[tokio::test(start_paused = true)]
async fn opaque_etags_are_not_taken_for_differences() {
    let mut world = World::with_destination(
        migration_testkit::StoreSettings::default(),
        BucketSettings { opaque_etags: true, ..BucketSettings::default() },
    );
    world.config.write.encryption = Some(migration_core::config::Encryption::Kms { kms_key_id: None });
    world.source.insert(SOURCE, "small", content(10, 1));
    world.send("job-1").await.unwrap();
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    let found = verify(&world, VerifyMethod::Listing).await;
    assert_eq!((found.by_size, found.is_whole()), (1, true), "{found:?}");
    assert_eq!(verify(&world, VerifyMethod::Read).await.proven, 1);
}
