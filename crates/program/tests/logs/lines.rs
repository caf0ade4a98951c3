//! What the lines of a log have, and what never stands in them.

use std::collections::BTreeSet;

use migration_core::error::ErrorClass;
use migration_core::printable::is_hidden;
use migration_engine::report;
use migration_program::{LogFormat, LogLevel};
use migration_testkit::{Call, Fault, Operation};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::HOSTILE;
use crate::world::{Log, REPORTS, SOURCE, World};

fn json(log: &Log) -> Vec<Value> {
    log.lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Runs a job whose hostile keys are refused.
async fn refused() -> World {
    let world = World::new();
    world.put(HOSTILE.map(|key| (key, 5)));
    world.plan.when(|call| call.operation == Operation::GetObject, Fault::Fail(ErrorClass::Refused), u32::MAX);
    world.run().await;
    world
}

#[tokio::test(start_paused = true)]
async fn no_key_reaches_a_log_raw() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let log = Log::start(format, LogLevel::Debug.filter(), None);
        refused().await;
        let lines = log.lines();
        let raw: Vec<_> = lines.iter().filter(|line| line.contains(is_hidden)).collect();
        assert!(raw.is_empty(), "{raw:?}");
        let failed = lines.iter().filter(|line| line.contains(" object failed") || line.contains("\"object failed\""));
        assert!(failed.count() >= HOSTILE.len());
        // One record a line: what a key makes of a line break begins none.
        assert!(!lines.iter().any(|line| line.starts_with("2026-01-31T08:00:00Z ERROR")));
    }
}

#[tokio::test(start_paused = true)]
async fn json_names_each_object_that_failed_once_and_exactly() {
    let log = Log::start(LogFormat::Json, LogLevel::Info.filter(), None);
    refused().await;
    let failed: Vec<_> = json(&log).into_iter().filter(|line| line["level"] == "ERROR").collect();
    let mut keys: Vec<_> = failed.iter().map(|line| line["object"].as_str().unwrap().to_owned()).collect();
    let mut expected = HOSTILE.map(|key| format!("{SOURCE}/{key}"));
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    for line in &failed {
        assert_eq!((&line["job"], &line["run"]), (&"media/photos".into(), &"run-1".into()), "{line}");
        assert!(line["batch"].is_string() && line["attempt"] == 1, "{line}");
        assert_eq!(line["fields"]["class"], "Refused");
    }
}

#[tokio::test(start_paused = true)]
async fn each_line_names_what_its_task_works_on() {
    let world = World::new();
    world.put([("a", 10), ("in parts", 130)]);
    let log = Log::start(LogFormat::Json, LogLevel::Debug.filter(), None);
    world.run().await;
    let lines = json(&log);
    assert!(lines.iter().all(|line| line["job"] == "media/photos"), "{lines:#?}");
    for key in ["from/a", "from/in parts"] {
        let of: Vec<_> = lines.iter().filter(|line| line["object"] == key).collect();
        assert!(!of.is_empty(), "{key}: {lines:#?}");
        assert!(of.iter().all(|line| line["run"] == "run-1" && line["batch"].is_string() && line["attempt"] == 1));
    }
    for message in ["starting a new run", "scanning"] {
        let of: Vec<_> = lines.iter().filter(|line| line["fields"]["message"] == message).collect();
        assert!(!of.is_empty() && of.iter().all(|line| line["run"] == "run-1"), "{message}: {lines:#?}");
    }
}

/// Returns the members of a line that its context has.
fn context(line: &Value) -> Vec<&str> {
    let names = ["job", "run", "batch", "object", "parts", "attempt", "message"];
    names.into_iter().filter(|name| !line[name].is_null()).collect()
}

/// Each way in which a worker leaves an object, a range or a message, at least once.
#[tokio::test(start_paused = true)]
async fn lines_of_a_worker_name_the_job_run_batch_and_attempt() {
    let world = World::new();
    world.put([("a", 10), ("refused", 5), ("in parts", 130), ("by ranges", 1_000)]);
    let refused = |call: &Call| call.operation == Operation::GetObject && call.subject.ends_with("/refused");
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
    // More often than one attempt sends a request.
    world.plan.when(|call| call.operation == Operation::PutObject, Fault::Fail(ErrorClass::Transient), 40);
    world.plan.when(|call| call.operation == Operation::DeleteMessage, Fault::Fail(ErrorClass::Refused), 1);
    let (mut ranges, by_ranges) =
        (0, |call: &Call| call.operation == Operation::PutPart && call.subject.contains("by ranges"));
    let of_range = move |call: &Call| {
        ranges += u32::from(by_ranges(call));
        by_ranges(call) && ranges > 4
    };
    world.plan.when(of_range, Fault::Fail(ErrorClass::Transient), 40);
    let log = Log::start(LogFormat::Json, LogLevel::Debug.filter(), None);
    world.run().await;
    let lines = json(&log);
    let is_of = |line: &&Value, module: &str| line["target"].as_str().is_some_and(|target| target.starts_with(module));
    let of_work = lines.iter().filter(|line| {
        let is_of_worker = is_of(line, "migration_engine::worker") || is_of(line, "migration_engine::transfer");
        is_of_worker && !line["fields"]["message"].as_str().unwrap().starts_with("stopping")
    });
    let mut told = BTreeSet::new();
    for line in of_work {
        let found = context(line);
        let expected: &[&[&str]] = &[
            &["job", "run", "batch", "attempt"],
            &["job", "run", "batch", "object", "attempt"],
            &["job", "run", "batch", "object", "parts", "attempt"],
        ];
        assert!(expected.contains(&&found[..]), "{line}");
        assert!(line["fields"]["object"].is_null() && line["fields"]["batch"].is_null(), "twice: {line}");
        told.insert(line["fields"]["message"].as_str().unwrap());
    }
    for message in [
        "object",
        "object failed",
        "retrying the remaining objects of a batch",
        "retrying a range",
        "the message stays in the queue",
    ] {
        assert!(told.contains(message), "{message}: {told:?}");
    }
}

/// The levels are KEDA's: what becomes of each object is for those who look for a fault.
#[tokio::test(start_paused = true)]
async fn objects_without_a_fault_add_no_line_above_debug() {
    let count = async |objects: usize| {
        let world = World::new();
        let keys: Vec<_> = (0..objects).map(|number| format!("key-{number:03}")).collect();
        world.put(keys.iter().map(|key| (key.as_str(), 10)));
        world.put([("in parts", 130), ("by ranges", 1_000)]);
        let log = Log::start(LogFormat::Text, LogLevel::Info.filter(), None);
        world.run().await;
        assert!(!log.text().contains("key-") && !log.text().contains("by ranges"), "{}", log.text());
        log.lines().len()
    };
    let (few, many) = (count(3).await, count(60).await);
    assert_eq!(few, many);
}

#[tokio::test(start_paused = true)]
async fn a_report_has_hostile_keys_as_rfc_4180_quotes_and_a_terminal_shows_them() {
    let world = refused().await;
    let record = report::write(&world.process("reporter"), None, "2026-01-01T00:00:00Z".into()).await.unwrap();
    assert_eq!(record.failed, HOSTILE.len() as u64);
    let mut found = Vec::new();
    for key in world.destination.keys(REPORTS).into_iter().filter(|key| key.contains(".csv")) {
        let body = world.destination.content(REPORTS, &key).unwrap().to_vec();
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(!text.lines().any(|line| line.contains(is_hidden)), "{text:?}");
        for row in csv::ReaderBuilder::new().has_headers(false).from_reader(&body[..]).records() {
            let row = row.unwrap();
            assert_eq!((row.len(), &row[0]), (7, SOURCE));
            // A spreadsheet takes no field for a formula.
            assert!(row.iter().all(|field| !field.starts_with(['=', '+', '-', '@'])), "{row:?}");
            found.push(percent_decode_str(&row[1]).decode_utf8().unwrap().into_owned());
        }
    }
    found.sort_unstable();
    let mut expected = HOSTILE.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);
}
