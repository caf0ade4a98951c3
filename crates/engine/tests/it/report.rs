//! Reports of runs.

use std::collections::BTreeMap;

use crate::world::{DESTINATION, SOURCE, World, content};
use md5::{Digest, Md5};
use migration_core::config::ReportScope;
use migration_core::config::ReportSettings;
use migration_core::error::ErrorClass;
use migration_core::manifest::{BucketSide, ManifestLocation};
use migration_core::outcome::FailureClass;
use migration_core::ports::{Attributes, Tags};
use migration_core::records::{ReportRecord, RunResult};
use migration_core::report::{REPORT_SCHEMA, ReportLine, ReportManifest, ReportStatus};
use migration_engine::report::{self, ReportError};
use migration_testkit::{Fault, MemoryLedger, Operation};

const REPORTS: &str = "reports";
const OBJECTS: u64 = 30;

/// Small, large and distributed objects, one that cannot be mapped, and one that the source refuses.
fn reporting(scope: ReportScope) -> World {
    let mut world = World::tiny();
    world.ledger = MemoryLedger::new();
    world.destination.create_bucket(REPORTS);
    world.config.buckets[0].destination_prefix = "p/".into();
    world.config.report = Some(ReportSettings { bucket: REPORTS.into(), prefix: "r/".into(), scope });
    for number in 0..OBJECTS - 2 {
        world.source.insert(SOURCE, &format!("k +{number:02}é"), content(usize::try_from(number * 4).unwrap(), 1));
    }
    world.source.insert(SOURCE, "huge", content(500, 1));
    let parts = [content(32, 1).into(), content(20, 2).into()];
    world.source.insert_parts(SOURCE, "parts", &parts, &Attributes::default(), &Tags::default());
    world.source.insert(SOURCE, &"x".repeat(1_024), content(5, 1));
    world.source.insert(SOURCE, "refused", content(5, 1));
    refuse(&world);
    world
}

fn refuse(world: &World) {
    let refused =
        |call: &migration_testkit::Call| call.operation == Operation::GetObject && call.subject.ends_with("/refused");
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
}

async fn run(world: &World, job: &str) -> RunResult {
    world.send(job).await.unwrap();
    world.work_until_over(job).await.result
}

async fn written(world: &World) -> ReportRecord {
    report::write(&world.process(), None, "2026-01-01T00:00:00Z".into()).await.unwrap()
}

fn text(world: &World, key: &str) -> String {
    String::from_utf8(world.destination.content(REPORTS, key).unwrap().to_vec()).unwrap()
}

fn manifest(world: &World, record: &ReportRecord) -> ReportManifest {
    serde_json::from_str(&text(world, &record.key)).unwrap()
}

/// Returns the rows of a report by status and key, checked against its manifest.
fn rows(world: &World, record: &ReportRecord) -> BTreeMap<(String, String), Vec<String>> {
    let manifest = manifest(world, record);
    assert_eq!((manifest.format.as_str(), manifest.report_schema.as_str()), ("Report_CSV_20180820", REPORT_SCHEMA));
    let mut rows = BTreeMap::new();
    for file in manifest.results {
        let body = text(world, &file.key);
        assert_eq!(file.md5, hex::encode(Md5::digest(&body)));
        for row in csv::ReaderBuilder::new().has_headers(false).from_reader(body.as_bytes()).records() {
            let row: Vec<String> = row.unwrap().iter().map(ToOwned::to_owned).collect();
            assert_eq!(row[3], file.task_execution_status);
            assert_eq!(rows.insert((row[3].clone(), row[1].clone()), row), None);
        }
    }
    rows
}

fn lines(world: &World, record: &ReportRecord) -> Vec<ReportLine> {
    let root = record.key.strip_suffix("manifest.json").unwrap();
    let files = world.destination.keys(REPORTS).into_iter().filter(|key| key.starts_with(&format!("{root}objects-")));
    let text: String = files.map(|key| text(world, &key)).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the run of a report.
fn run_of(record: &ReportRecord) -> String {
    record.key.split('/').nth(2).unwrap().to_owned()
}

fn assert_no_pieces(world: &World, context: &str) {
    let keys = world.destination.keys(REPORTS);
    assert!(!keys.iter().any(|key| key.contains("/pieces/")), "{context}: {keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_report_has_each_object_once_with_what_proves_it() {
    let world = reporting(ReportScope::AllTasks);
    assert_eq!(run(&world, "job-1").await, RunResult::PartiallyFailed);
    let record = written(&world).await;
    assert_eq!((record.succeeded, record.failed, record.unreported), (OBJECTS, 2, 0));
    let rows = rows(&world, &record);
    assert_eq!(rows.len() as u64, OBJECTS + 2);
    let odd = &rows[&("succeeded".to_owned(), "k%20%2B03%C3%A9".to_owned())];
    assert_eq!(odd.join("|"), "from|k%20%2B03%C3%A9||succeeded||200|Successful");
    assert_eq!(rows[&("failed".to_owned(), "refused".to_owned())][4], "Refused");
    let lines = lines(&world, &record);
    assert_eq!(lines.len() as u64, OBJECTS + 2);
    for line in &lines {
        if line.status == ReportStatus::Failed {
            assert!(line.failure.is_some());
            continue;
        }
        let copy = world.destination.object(DESTINATION, line.destination_key.as_deref().unwrap()).unwrap();
        let source = world.source.object(SOURCE, &line.key).unwrap();
        assert_eq!((line.source.etag.as_ref(), line.destination.etag.as_ref()), (Some(&source.etag), Some(&copy.etag)));
        assert_eq!(line.status, ReportStatus::Copied);
        assert!(line.source.checksum.is_some() && line.source.checksum == line.destination.checksum, "{line:?}");
        assert_eq!((line.size, line.attempts, line.duration_ms.is_some()), (source.content.len() as u64, 1, true));
    }
    assert_no_pieces(&world, "");
    // Writing it again changes nothing, and neither does a run that is live by then.
    world.send("job-2").await.unwrap();
    let named = report::write(&world.process(), Some(&run_of(&record)), String::new()).await;
    assert_eq!(named.as_ref(), Ok(&record));
    world.work_until_over("job-2").await;
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_fed_back_as_a_work_list() {
    let mut world = reporting(ReportScope::FailedTasksOnly);
    run(&world, "job-1").await;
    assert_eq!(world.destination.keys(REPORTS), Vec::<String>::new(), "nothing is written while the run goes on");
    let record = written(&world).await;
    assert_eq!((record.succeeded, record.failed, rows(&world, &record).len()), (0, 2, 2));
    world.plan.clear();
    let before = world.destination.write_log(DESTINATION).len();
    world.config.manifest =
        Some(ManifestLocation { side: BucketSide::Destination, bucket: REPORTS.into(), key: record.key });
    assert_eq!(run(&world, "job-2").await, RunResult::PartiallyFailed);
    let log: Vec<String> = world.destination.write_log(DESTINATION)[before..].iter().map(|e| e.key.clone()).collect();
    assert_eq!(log, ["p/refused"]);
    let record = written(&world).await;
    assert_eq!((record.succeeded, record.failed), (0, 1));
    assert_eq!(lines(&world, &record)[0].failure.as_ref().unwrap().class, FailureClass::KeyNotMappable);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_of_reports_that_is_missing_stops_no_object() {
    let world = reporting(ReportScope::AllTasks);
    world.destination.remove_bucket(REPORTS);
    assert_eq!(run(&world, "job-1").await, RunResult::PartiallyFailed);
    assert_eq!(world.progress().await.done, OBJECTS);
    let error = report::write(&world.process(), None, String::new()).await.unwrap_err();
    assert!(matches!(error, ReportError::Write { .. }), "{error}");
    world.destination.create_bucket(REPORTS);
    let record = written(&world).await;
    assert_eq!((record.succeeded, record.failed, record.unreported), (0, 2, OBJECTS));
}

#[tokio::test(start_paused = true)]
async fn there_is_no_report_of_what_is_not_over() {
    let mut world = reporting(ReportScope::AllTasks);
    let write = |world: &World| {
        let process = world.process();
        async move { report::write(&process, None, String::new()).await }
    };
    assert_eq!(write(&world).await, Err(ReportError::NoRun));
    world.send("job-1").await.unwrap();
    assert!(matches!(write(&world).await, Err(ReportError::RunIsLive(_))));
    world.config.report = None;
    assert_eq!(write(&world).await, Err(ReportError::Unwanted));
}

/// Kills the process at each call of a run or of writing its report, and continues.
#[tokio::test(start_paused = true)]
async fn a_report_is_whole_whoever_is_killed_and_when() {
    let calm = reporting(ReportScope::AllTasks);
    run(&calm, "job-1").await;
    written(&calm).await;
    let calls = calm.plan.calls();
    assert!(calls > 200, "{calls}");
    for call in (1..=calls).step_by(5) {
        let world = reporting(ReportScope::AllTasks);
        world.plan.at_call(call, Fault::CrashAfter);
        world.send_until_closed("job-1").await;
        world.work_until_over("job-1").await;
        let process = world.process();
        let record = tokio::select! {
            biased;
            () = world.plan.crashed() => {
                world.plan.restart();
                written(&world).await
            }
            record = report::write(&process, None, String::new()) => record.unwrap(),
        };
        assert_eq!((record.succeeded, record.failed, record.unreported), (OBJECTS, 2, 0), "killed at {call}");
        assert_eq!(rows(&world, &record).len() as u64, OBJECTS + 2, "killed at {call}");
        assert_eq!(lines(&world, &record).len() as u64, OBJECTS + 2, "killed at {call}");
        assert_no_pieces(&world, &format!("killed at {call}"));
    }
}

#[tokio::test(start_paused = true)]
async fn redelivered_batches_are_reported_once() {
    let world = reporting(ReportScope::AllTasks);
    // Answers to ends are lost: messages are delivered again, and are found to be over.
    world.plan.when(|call| call.operation == Operation::DeleteMessage, Fault::Fail(ErrorClass::Transient), 12);
    assert_eq!(run(&world, "job-1").await, RunResult::PartiallyFailed);
    let record = written(&world).await;
    assert_eq!((record.succeeded, rows(&world, &record).len() as u64), (OBJECTS, OBJECTS + 2));
}
