//! Runs with a work list: plain CSV, inventories, completion reports.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::world::{DESTINATION, JOB, SOURCE, World, content};
use bytes::Bytes;
use md5::{Digest, Md5};
use migration_core::error::ErrorClass;
use migration_core::finding::{Action, Finding};
use migration_core::manifest::{BucketSide, ManifestLocation};
use migration_core::outcome::FailureClass;
use migration_core::pair::{BucketPair, PrefixMode};
use migration_core::ports::Ledger;
use migration_core::records::{self, RunResult, VersionRecord};
use migration_engine::scan::{ManifestError, Observer, Purpose, ScanError, dry_run};
use migration_ledger::view;
use migration_testkit::{BucketSettings, Fault, MemoryLedger, Operation};

const LISTS: &str = "lists";

/// Creates a world with a work list under this key.
fn listed(key: &str, body: impl Into<Bytes>) -> World {
    let mut world = World::tiny();
    world.source.create_bucket(LISTS);
    world.source.insert(LISTS, key, body);
    world.config.manifest = Some(ManifestLocation { side: BucketSide::Source, bucket: LISTS.into(), key: key.into() });
    world
}

async fn run(world: &World) -> RunResult {
    world.send("job-1").await.unwrap();
    world.work_until_over("job-1").await.result
}

async fn failures(world: &World) -> Vec<(String, FailureClass)> {
    let run = world.run().await.unwrap();
    let failures = view::failures(&world.ledger, JOB, &run, 1_000).await.unwrap().records;
    failures.into_iter().map(|failure| (failure.key, failure.class)).collect()
}

fn written(world: &World) -> BTreeSet<String> {
    world.destination.write_log(DESTINATION).iter().map(|entry| entry.key.clone()).collect()
}

fn keys(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Returns the error of a scan as text.
async fn refusal(world: &World) -> String {
    match world.send("job-1").await {
        Err(error @ ScanError::Manifest(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn inventory(form: &str, files: &[(&str, &[u8])]) -> String {
    let file = |(key, body): &(&str, &[u8])| {
        let md5 = hex::encode(Md5::digest(body));
        format!(r#"{{"key":"{key}","size":{},"MD5checksum":"{md5}"}}"#, body.len())
    };
    let schema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag";
    format!(
        r#"{{"sourceBucket":"{SOURCE}","destinationBucket":"arn:aws:s3:::{LISTS}","fileFormat":"{form}","fileSchema":"{schema}","files":[{}]}}"#,
        files.iter().map(file).collect::<Vec<_>>().join(",")
    )
}

#[tokio::test(start_paused = true)]
async fn a_run_moves_what_the_list_names_and_nothing_else() {
    let mut world =
        listed("l.csv", "from,a+b\n\"from\",\"c%2Fd\"\nfrom,same\nfrom,other\nfrom,large\nfrom,x.tmp\nfrom,huge\n");
    world.config.ignore = vec!["*.tmp".into()];
    for (key, size) in [("a b", 5), ("c/d", 6), ("same", 7), ("other", 8), ("large", 200), ("huge", 900)] {
        world.source.insert(SOURCE, key, content(size, 1));
    }
    world.source.insert(SOURCE, "unnamed", content(5, 1));
    world.source.insert(SOURCE, "x.tmp", content(5, 1));
    world.destination.insert(DESTINATION, "same", content(7, 1));
    world.destination.insert(DESTINATION, "other", content(8, 2));
    world.destination.insert(DESTINATION, "theirs", content(8, 2));
    let before = world.destination.write_log(DESTINATION).len();
    assert_eq!(run(&world).await, RunResult::Complete);
    let log: Vec<String> = world.destination.write_log(DESTINATION)[before..].iter().map(|e| e.key.clone()).collect();
    assert_eq!(BTreeSet::from_iter(log.clone()), keys(&["a b", "c/d", "other", "large", "huge"]));
    assert_eq!(log.len(), 5);
    for key in ["a b", "c/d", "same", "other", "large", "huge"] {
        assert!(world.destination.content(DESTINATION, key) == world.source.content(SOURCE, key), "{key}");
    }
    let progress = world.progress().await;
    assert_eq!((progress.objects, progress.bytes, progress.done, progress.skipped), (5, 1_119, 5, 2));
    assert_eq!(world.plan.count(Operation::ListObjects), 2, "one look at each bucket, and no listing");
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_moved_is_a_failure_and_stops_nothing() {
    let mut world =
        listed("l.csv", "from,p/gone\nfrom,p/old,v0\nfrom,p/\nfrom,p/denied\nfrom,p/good,\nfrom,elsewhere\n");
    // A ledger whose pages hold all failures.
    world.ledger = MemoryLedger::new();
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    world.config.buckets[0].source_prefix = "p/".into();
    world.config.buckets[0].prefix_mode = PrefixMode::Replace;
    for key in ["p/old", "p/", "p/denied", "p/good", "elsewhere"] {
        world.source.insert(SOURCE, key, content(9, 1));
    }
    let refused =
        |call: &migration_testkit::Call| call.operation == Operation::HeadObject && call.subject.ends_with("p/denied");
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
    assert_eq!(run(&world).await, RunResult::PartiallyFailed);
    let expected = [
        ("p/", FailureClass::KeyNotMappable),
        ("p/denied", FailureClass::Refused),
        ("p/gone", FailureClass::NotFound),
        ("p/old", FailureClass::OldVersion),
    ];
    assert_eq!(failures(&world).await, expected.map(|(key, class)| (key.to_owned(), class)));
    assert_eq!(written(&world), keys(&["good"]));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_the_latest_is_moved() {
    let world = listed("l.csv", "");
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    world.source.insert(SOURCE, "k", content(9, 1));
    let version = world.source.object(SOURCE, "k").unwrap().version_id.unwrap();
    world.source.insert(LISTS, "l.csv", format!("from,k,{version}\n"));
    assert_eq!(run(&world).await, RunResult::Complete);
    assert_eq!(written(&world), keys(&["k"]));
}

#[tokio::test(start_paused = true)]
async fn a_completion_report_is_fed_back() {
    let failed = "from,bad%20one,,failed,403,AccessDenied,\"denied \"\"now\"\"\"\n";
    let mut world = listed("job/manifest.json", "");
    world.config.manifest.as_mut().unwrap().side = BucketSide::Destination;
    world.destination.create_bucket(LISTS);
    world.destination.insert(
        LISTS,
        "job/manifest.json",
        format!(
            r#"{{"Format":"Report_CSV_20180820","ReportCreationDate":"2026-01-01T00:00:00Z","Results":[
            {{"TaskExecutionStatus":"succeeded","Bucket":"{LISTS}","MD5Checksum":"{0}","Key":"job/results/a.csv"}},
            {{"TaskExecutionStatus":"failed","Bucket":"{LISTS}","MD5Checksum":"{0}","Key":"job/results/b.csv"}}],
            "ReportSchema":"Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage"}}"#,
            hex::encode(Md5::digest(failed)),
        ),
    );
    world.destination.insert(LISTS, "job/results/b.csv", failed);
    world.source.insert(SOURCE, "bad one", content(9, 1));
    world.source.insert(SOURCE, "good one", content(9, 1));
    assert_eq!(run(&world).await, RunResult::Complete);
    assert_eq!(written(&world), keys(&["bad one"]));
}

#[tokio::test(start_paused = true)]
async fn an_inventory_is_believed_where_that_can_do_no_harm() {
    let tag = |size, seed| hex::encode(Md5::digest(content(size, seed)));
    let row = |key: &str, latest: bool, size: usize, seed| {
        format!("\"from\",\"{key}\",\"v\",\"{latest}\",\"false\",\"{size}\",\"{}\"\n", tag(size, seed))
    };
    let rows = [
        row("missing", true, 9, 1),
        row("changed+since", true, 9, 1),
        row("same", true, 9, 1),
        row("looks-the-same", true, 9, 1),
        row("older", false, 9, 1),
        row("gone", true, 9, 1),
        row("gone-and-copied", true, 9, 1),
        "\"from\",\"marker\",\"v\",\"true\",\"true\",\"\",\"\"\n".to_owned(),
    ]
    .concat();
    let world = listed("i/manifest.json", inventory("CSV", &[("i/data/1.csv", rows.as_bytes())]));
    world.source.insert(LISTS, "i/data/1.csv", rows);
    for (key, seed) in [("missing", 1), ("changed since", 2), ("same", 1), ("looks-the-same", 2), ("older", 1)] {
        world.source.insert(SOURCE, key, content(9, seed));
    }
    for key in ["same", "looks-the-same", "gone-and-copied"] {
        world.destination.insert(DESTINATION, key, content(9, 1));
    }
    world.send("job-1").await.unwrap();
    let heads = world.plan.log().iter().filter(|call| call.operation == Operation::HeadObject).count();
    // The list and its file; each object at the destination; and at the source the objects that seemed in place.
    assert_eq!(heads, 2 + 6 + 3);
    assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete);
    for key in ["missing", "changed since", "same", "looks-the-same"] {
        assert!(world.destination.content(DESTINATION, key) == world.source.content(SOURCE, key), "{key}");
    }
    assert!(world.destination.object(DESTINATION, "older").is_none());
    let (progress, run) = (world.progress().await, world.run().await.unwrap());
    assert_eq!((progress.done, progress.skipped, run.scan.counts.gone), (3, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn filters_and_versions_ask_the_source_of_each_row() {
    let rows = "\"from\",\"small\",\"v\",\"true\",\"false\",\"900\",\"e\"\n\"from\",\"large\",\"v\",\"true\",\"false\",\"1\",\"e\"\n";
    let mut world = listed("i/manifest.json", inventory("CSV", &[("1.csv", rows.as_bytes())]));
    world.source.insert(LISTS, "1.csv", rows);
    world.config.filter.max_size = Some(100);
    world.config.versioning.compare_version_id = true;
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    world.source.insert(SOURCE, "small", content(9, 1));
    world.source.insert(SOURCE, "large", content(200, 1));
    assert_eq!(run(&world).await, RunResult::Complete);
    assert_eq!(written(&world), keys(&["small"]), "what is there counts, not what was");
    assert_eq!(world.run().await.unwrap().scan.counts.ignored, 1);
    // The recorded version shows that nothing is to be done.
    world.send("job-2").await.unwrap();
    assert_eq!(world.run().await.unwrap().scan.counts.in_place, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_of_parquet_is_read() {
    let file = include_bytes!("fixtures/inventory.parquet");
    let world = listed("i/manifest.json", inventory("Parquet", &[("i/data/1.parquet", file)]));
    world.source.insert(LISTS, "i/data/1.parquet", &file[..]);
    let key = |number: u32| format!("k/{number:03} +%41é");
    for number in 0..300 {
        world.source.insert(SOURCE, &key(number), format!("body {number}"));
        if number % 3 == 0 {
            world.destination.insert(DESTINATION, &key(number), format!("body {number}"));
        }
    }
    world.send("job-1").await.unwrap();
    let counts = world.run().await.unwrap().scan.counts;
    let wanted = (0..300_u32).filter(|number| number % 10 != 9 && *number != 7);
    let (in_place, sent): (Vec<u32>, Vec<u32>) = wanted.partition(|number| number % 3 == 0);
    assert_eq!((counts.in_place, counts.objects), (in_place.len() as u64, sent.len() as u64));
    let bytes: usize = sent.iter().map(|number| format!("body {number}").len()).sum();
    assert_eq!(counts.bytes, bytes as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_file_that_is_none_is_named() {
    let file = include_bytes!("fixtures/inventory.parquet");
    let cut = &file[..file.len() - 100];
    let world = listed("i/manifest.json", inventory("Parquet", &[("1.parquet", cut)]));
    world.source.insert(LISTS, "1.parquet", cut);
    assert!(refusal(&world).await.starts_with("failed to read manifest lists/1.parquet after row 0"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_can_not_be_used_is_named_and_nothing_is_sent() {
    let rows: &[u8] = b"from,k\n";
    for (body, expected) in [
        (
            "from,k\nelse,k\n".to_owned(),
            "row 2 of manifest lists/l: it names bucket \"else\", which is the source of no pair",
        ),
        ("from,k\nfrom\n".to_owned(), "row 2 of manifest lists/l: it has 1 columns"),
        ("from,100%\n".to_owned(), "row 1 of manifest lists/l: its key \"100%\" is not URL-encoded"),
        ("{\"files\":".to_owned(), "manifest lists/l: it begins like JSON and is none"),
        (inventory("ORC", &[]), "its files are ORC"),
        (inventory("CSV", &[("none", rows)]), "lists has no object \"none\""),
        (
            inventory("CSV", &[("bad", rows)]),
            "lists/bad is not what its manifest.json says: it has 9 bytes instead of 7",
        ),
        (
            inventory("CSV", &[("same-size", rows)]),
            "lists/same-size is not what its manifest.json says: its MD5 differs",
        ),
    ] {
        let body = body.replace("Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag", "Bucket, Key");
        let world = listed("l", body);
        world.source.insert(LISTS, "bad", "from,kkk\n");
        world.source.insert(LISTS, "same-size", "from,l\n");
        let told = refusal(&world).await;
        assert!(told.contains(expected), "{told}");
        let run = world.run().await.unwrap();
        assert!(!run.scan.closed, "{told}");
    }
    let world = listed("l", "");
    world.source.remove(LISTS, "l");
    assert!(refusal(&world).await.contains("lists has no object \"l\""));
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_missing_is_no_absence_of_its_objects() {
    let world = listed("l.csv", "from,k\n");
    world.source.remove_bucket(SOURCE);
    let sent = tokio::time::timeout(std::time::Duration::from_mins(1), world.send("job-1")).await;
    assert!(sent.is_err(), "it waits: {sent:?}");
    assert_eq!(failures(&world).await, []);
}

/// A list whose rows are looked up in several rounds.
fn long() -> World {
    let list: String = (0..200).fold(String::new(), |list, number| format!("{list}from,k{number:03}\n"));
    let world = listed("l.csv", list);
    for number in 0..200_u8 {
        let key = format!("k{number:03}");
        world.source.insert(SOURCE, &key, content(usize::from(number), number));
        if number % 4 == 0 {
            world.destination.insert(DESTINATION, &key, content(usize::from(number), number));
        }
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_read_on() {
    let world = long();
    world.plan.when(|call| call.operation == Operation::GetObject, Fault::Truncate(700), 3);
    world.send("job-1").await.unwrap();
    assert_eq!(world.run().await.unwrap().scan.counts.objects, 150);
    assert!(world.plan.injected() == 3);
}

#[tokio::test(start_paused = true)]
async fn a_sender_killed_at_any_call_leaves_no_row_out() {
    let calm = long();
    calm.send("job-1").await.unwrap();
    let calls = calm.plan.calls();
    assert!(calls > 400, "{calls}");
    for call in (1..=calls).step_by(7) {
        let world = long();
        world.plan.at_call(call, Fault::CrashAfter);
        world.send_until_closed("job-1").await;
        assert_eq!(world.work_until_over("job-1").await.result, RunResult::Complete, "{call}");
        world.assert_same(&call.to_string());
        let progress = world.progress().await;
        assert_eq!((progress.objects, progress.done, progress.skipped), (150, 150, 50), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_goes_on_at_its_checkpoint_in_the_same_list_only() {
    for replaced in [false, true] {
        let world = long();
        // The list takes four rounds of lookups.
        world.plan.when(
            |call| call.operation == Operation::HeadObject,
            Fault::Delay(std::time::Duration::from_secs(40)),
            u32::MAX,
        );
        let id = world.plan.process();
        let sender = world.process_of(id, world.config.clone());
        let killed = tokio::time::timeout(std::time::Duration::from_secs(150), world.send_as(sender, "job-1")).await;
        assert!(killed.is_err());
        world.plan.kill(id);
        world.plan.clear();
        let run = world.run().await.unwrap();
        let ranges = view::ranges(&world.ledger, JOB, &run.run).await.unwrap();
        let position = ranges[0].position.clone().unwrap();
        assert!(position.starts_with("0/"), "{position}");
        if replaced {
            world.source.insert(LISTS, "l.csv", "from,k001\n");
            let error = world.send("job-1").await.unwrap_err();
            let expected = ManifestError::Replaced { bucket: LISTS.into(), key: "l.csv".into() };
            assert_eq!(error, ScanError::from(expected));
        } else {
            world.send("job-1").await.unwrap();
            let counts = world.run().await.unwrap().scan.counts;
            assert_eq!((counts.objects, counts.in_place), (150, 50));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_says_nothing_of_what_it_does_not_name() {
    // After a run of a list, a scan does what it would have done without.
    let mut world = listed("l.csv", "from,a\n");
    let list = world.config.manifest.take();
    for key in ["a", "b"] {
        world.source.insert(SOURCE, key, content(9, 1));
    }
    assert_eq!(run(&world).await, RunResult::Complete);
    let first = world.run().await.unwrap();
    world.config.manifest = list;
    world.send("job-2").await.unwrap();
    world.work_until_over("job-2").await;
    let second = world.run().await.unwrap();
    assert_eq!((first.listed_by_manifest, second.listed_by_manifest), (false, true));
    assert_eq!(second.scan.counts.in_place, 1);
    // A scan that is half done continues as a scan.
    world.plan.when(|call| call.operation == Operation::ListObjects, Fault::Crash, 1);
    assert!(tokio::time::timeout(std::time::Duration::from_mins(1), world.send("job-3")).await.is_err());
    world.plan.restart();
    world.config.manifest = None;
    tokio::time::sleep(std::time::Duration::from_secs(90)).await;
    let error = world.send("job-3").await.unwrap_err();
    assert!(matches!(error, ScanError::OtherWorkList(_)), "{error}");
}

/// The finding of each row.
#[derive(Default)]
struct Notes(Mutex<Vec<(Action, String)>>);

impl Observer for Notes {
    fn found(&self, _: &BucketPair, finding: &Finding<'_>) {
        self.0.lock().unwrap().push((finding.action(), finding.object().key.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_a_list_is_what_its_run_does() {
    let world = long();
    let notes = Arc::new(Notes::default());
    let purpose = Purpose { extras: true, observer: Some(notes.clone()), ..Purpose::default() };
    let process = Arc::into_inner(world.process()).unwrap();
    let planned = dry_run(process, &purpose).await.unwrap();
    let before = written(&world);
    assert_eq!(run(&world).await, RunResult::Complete);
    assert_eq!(world.run().await.unwrap().scan.counts, planned);
    let transfers: BTreeSet<String> = notes
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|(action, _)| *action == Action::Transfer)
        .map(|(_, k)| k.clone())
        .collect();
    assert_eq!(written(&world).difference(&before).cloned().collect::<BTreeSet<_>>(), transfers);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_named_twice_is_there_once() {
    let world = listed("l.csv", "from,small\nfrom,large\nfrom,huge\nfrom,small\nfrom,large\nfrom,huge\nfrom,small\n");
    for (key, size) in [("small", 9), ("large", 200), ("huge", 900)] {
        world.source.insert(SOURCE, key, content(size, 1));
    }
    assert_eq!(run(&world).await, RunResult::Complete);
    world.assert_same("each row is done");
    let progress = world.progress().await;
    assert_eq!((progress.objects, progress.done), (7, 7));
    assert_eq!(world.destination.write_log(DESTINATION).len(), 3);
}

/// Rows of one key in one batch share a failure record: a request that wrote it twice would always be rejected.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_named_twice_fails_twice_and_has_one_record() {
    let mut world = listed("l.csv", "from,bad\nfrom,good\nfrom,bad\nfrom,bad\n");
    world.ledger = MemoryLedger::new();
    for key in ["bad", "good"] {
        world.source.insert(SOURCE, key, content(9, 1));
    }
    let refused =
        |call: &migration_testkit::Call| call.operation == Operation::GetObject && call.subject.ends_with("bad");
    world.plan.when(refused, Fault::Fail(ErrorClass::Refused), u32::MAX);
    assert_eq!(run(&world).await, RunResult::PartiallyFailed);
    assert_eq!(failures(&world).await, [("bad".to_owned(), FailureClass::Refused)]);
    let progress = world.progress().await;
    assert_eq!((progress.objects, progress.done, progress.failed), (4, 1, 3), "each row is counted");
    assert_eq!(world.queue.dead_letters(), []);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_named_twice_has_one_version_record() {
    let mut world = listed("l.csv", "from,k\nfrom,k\n");
    world.config.versioning.compare_version_id = true;
    world.source.create_bucket_with(SOURCE, BucketSettings::versioned());
    world.source.insert(SOURCE, "k", content(9, 1));
    assert_eq!(run(&world).await, RunResult::Complete);
    let key = records::version_key(JOB, &world.config.buckets[0], "k");
    let record: VersionRecord = world.ledger.get(&key).await.unwrap().unwrap().read().unwrap();
    assert_eq!(record.version_id, world.source.object(SOURCE, "k").unwrap().version_id);
}

/// A record that the ledger rejects from everyone does not use up tries.
#[tokio::test(start_paused = true)]
async fn a_batch_whose_end_the_ledger_refuses_goes_to_the_dead_letters() {
    let world = listed("l.csv", "from,k\n");
    world.source.insert(SOURCE, "k", content(9, 1));
    world.send("job-1").await.unwrap();
    world.ledger.denials().deny(&[Operation::WriteItems], ErrorClass::Refused, "ValidationException");
    let (process, worker) = world.start_worker();
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    let letters = world.queue.dead_letters();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.as_ref().unwrap().contains("refused by the test"), "{letters:?}");
    assert_eq!(world.queue.messages().len(), 0);
    process.runtime.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn each_pair_takes_its_rows() {
    let mut world = listed("l.csv", "from,x/1\nfrom,y/1\nother,1\nfrom,z\n");
    world.source.create_bucket("other");
    let pair = |bucket: &str, source: &str, destination: &str| BucketPair {
        source_bucket: bucket.into(),
        source_prefix: source.into(),
        destination_bucket: DESTINATION.into(),
        destination_prefix: destination.into(),
        prefix_mode: PrefixMode::Append,
    };
    world.config.buckets = vec![pair("from", "x/", "a/"), pair("from", "", "b/"), pair("other", "", "c/")];
    for (bucket, key) in [("from", "x/1"), ("from", "y/1"), ("other", "1"), ("from", "z")] {
        world.source.insert(bucket, key, content(9, 1));
    }
    assert_eq!(run(&world).await, RunResult::Complete);
    assert_eq!(written(&world), keys(&["a/x/1", "b/x/1", "b/y/1", "b/z", "c/1"]));
}
