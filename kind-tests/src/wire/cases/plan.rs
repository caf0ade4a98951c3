//! Plans compared with the runs that follow them, verifications, and a mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{is, size, succeeded};
use crate::programs::Program;
use crate::proxy::log::Event;
use crate::report::human;
use crate::tree::upload::put_all;
use crate::tree::{Amount, Object, bytes_of, select};
use crate::wire::case::{Case, Service};
use crate::wire::config::{DESTINATION, SOURCE};

const LIMIT: Duration = Duration::from_mins(20);
/// Bytes of the tree, unless `TREE_SIZE` is set.
const SIZE: u64 = 400_000_000;
const FILES: usize = 2_000;
/// Every so many objects, one is changed at the source after the first run.
const CHANGED: usize = 9;
/// Keys that only the destination has.
const EXTRA: [&str; 3] = [" extra", "extra/a+b", "~extra"];

/// A tree of which a part is missing, changed or extra at the destination. The plan lists exactly the objects that the
/// run then writes. Verifications find later damage, a repair fixes it, and a mirror deletes the extra objects.
pub async fn plan_is_what_the_run_does(case: &mut Case) -> anyhow::Result<()> {
    let objects = half_moved(case).await?;
    let planned = plan(case, "first").await?;
    case.note(format!("plan: {}", in_words(&planned)));
    for action in ["transfer", "update", "skip", "ignore"] {
        ensure!(!planned.of(action).is_empty(), "there is nothing to {action}: {}", in_words(&planned));
    }
    let written = run(case).await?;
    let copied: BTreeSet<String> = planned.of("transfer").union(&planned.of("update")).cloned().collect();
    ensure!(written == copied, "the plan and the run differ in {:?}", written.symmetric_difference(&copied));
    let progress = case.ledger.progress().await?.context("there was no run")?;
    let counts = (progress.done, progress.skipped);
    let expected = (copied.len() as u64, (planned.of("skip").len() + planned.of("ignore").len()) as u64);
    ensure!(counts == expected, "the run counted {counts:?} and the plan {expected:?}");
    ensure!(progress.done_bytes == planned.bytes, "{} bytes were moved of {}", progress.done_bytes, planned.bytes);
    case.note(format!("the run then wrote exactly these {} objects, {}", written.len(), human(planned.bytes)));
    let again = plan(case, "second").await?;
    ensure!(again.of("transfer").is_empty() && again.of("update").is_empty(), "left: {}", in_words(&again));
    verified_and_repaired(case, &objects).await?;
    mirrored(case).await
}

/// Creates the state to be planned.
async fn half_moved(case: &mut Case) -> anyhow::Result<Vec<Object>> {
    let size = size("TREE_SIZE", SIZE)?;
    let mut objects = select::tree(Amount { files: FILES, bytes: size / 10 * 7, large: size / 10 * 3 })?;
    put_all(&case.source.s3(), SOURCE, &objects).await?;
    let ignore = select::ignore_patterns(SOURCE);
    case.settings.ignore = [ignore.clone(), vec![format!("{SOURCE}/*[a-e].*")]].concat();
    run(case).await?;
    case.settings.ignore = ignore;
    let changed: Vec<Object> =
        objects.iter().step_by(CHANGED).map(|o| Object::of_bytes(&o.key, format!("another {}", o.key))).collect();
    put_all(&case.source.s3(), SOURCE, &changed).await?;
    for (place, object) in changed.into_iter().enumerate() {
        objects[place * CHANGED] = object;
    }
    let extra: Vec<Object> = EXTRA.iter().map(|key| Object::of_bytes(*key, "extra")).collect();
    put_all(&case.destination.s3(), DESTINATION, &extra).await?;
    case.note(format!("{} objects, {}", objects.len(), human(bytes_of(&objects))));
    Ok(objects)
}

/// Scans and copies; returns the keys written.
async fn run(case: &mut Case) -> anyhow::Result<BTreeSet<String>> {
    let next = case.log.next();
    let mut workers = [case.start_worker().await?, case.start_worker().await?];
    case.send().await?;
    case.complete(&mut workers, LIMIT).await?;
    Ok(written(&case.log.since(next, None)))
}

/// Returns the keys of objects that became visible at the destination.
fn written(events: &[Event]) -> BTreeSet<String> {
    let writes = events.iter().filter(|e| Service::Destination.has(e) && succeeded(e));
    let writes = writes.filter(|e| is(e, "PutObject") || is(e, "CompleteMultipartUpload"));
    writes.map(|e| e.request.key.clone()).collect()
}

/// A plan: its list and its sums.
struct Planned {
    actions: BTreeMap<String, BTreeSet<String>>,
    /// Bytes to copy.
    bytes: u64,
}

impl Planned {
    fn of(&self, action: &str) -> BTreeSet<String> {
        self.actions.get(action).cloned().unwrap_or_default()
    }
}

fn in_words(planned: &Planned) -> String {
    let counts: Vec<String> = planned.actions.iter().map(|(action, keys)| format!("{action} {}", keys.len())).collect();
    counts.join(", ")
}

async fn plan(case: &mut Case, name: &str) -> anyhow::Result<Planned> {
    let list = case.file(&format!("{name}.csv"));
    let path = list.to_string_lossy().into_owned();
    let program = case.jobsender(&["plan", "--output", "json", "--list", &path]).await?;
    let (code, log) = program.ended_with(LIMIT).await?;
    ensure!(code == Some(0), "the plan failed: {log}");
    let json = log.lines().find(|line| line.starts_with("{\"transfer\"")).context("there is no plan")?;
    let sums: Value = serde_json::from_str(json).context("failed to read a plan")?;
    let planned = Planned { actions: listed(&list)?, bytes: bytes(&sums, "transfer")? + bytes(&sums, "update")? };
    for (action, keys) in &planned.actions {
        let sum = sums[action.as_str()]["objects"].as_u64();
        ensure!(sum == Some(keys.len() as u64), "{action}: {} keys are listed and {sum:?} counted", keys.len());
    }
    Ok(planned)
}

fn bytes(sums: &Value, action: &str) -> anyhow::Result<u64> {
    sums[action]["bytes"].as_u64().with_context(|| format!("the plan has no bytes to {action}"))
}

/// Reads the keys of a list, by action.
fn listed(path: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut actions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("failed to read {}", path.display()))?;
    for line in reader.records() {
        let line = line.context("failed to read a list")?;
        let (action, key) = line.get(0).zip(line.get(3)).context("a line of the list is too short")?;
        ensure!(actions.entry(action.to_owned()).or_default().insert(key.to_owned()), "{key:?} is listed twice");
    }
    Ok(actions)
}

/// Runs a verification; returns its exit code and last line.
async fn verify(case: &mut Case, arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let program: Program = case.jobsender(&[&["verify"], arguments].concat()).await?;
    let (code, log) = program.ended_with(LIMIT).await?;
    Ok((code, log.lines().last().unwrap_or_default().to_owned()))
}

async fn verified_and_repaired(case: &mut Case, objects: &[Object]) -> anyhow::Result<()> {
    let (code, words) = verify(case, &["--method", "read"]).await?;
    ensure!(code == Some(0), "the copy is incomplete: {words}");
    case.note(format!("verify --method read: {}", message(&words)));
    let mut kept = objects.iter().filter(|o| !select::ignored(&o.key) && o.size > 0);
    let (missing, different) = kept.next().zip(kept.next()).context("the tree has too few objects")?;
    let s3 = case.destination.s3();
    s3.delete_object().bucket(DESTINATION).key(&missing.key).send().await.context("failed to delete an object")?;
    let other = Object::of_bytes(&different.key, vec![0; usize::try_from(different.size)?]);
    put_all(&s3, DESTINATION, &[other]).await?;
    let list = case.file("broken.csv");
    let (code, words) = verify(case, &["--list", &list.to_string_lossy()]).await?;
    ensure!(code == Some(3) && words.contains("1 missing, 1 different"), "{code:?}: {words}");
    case.note(format!("one deleted, one overwritten: exit code 3, {}", message(&words)));
    let found = listed(&list)?;
    let expected = [("transfer", &missing.key), ("update", &different.key)];
    for (action, key) in expected {
        ensure!(found.get(action).is_some_and(|keys| keys.iter().eq([key])), "{action}: {found:?}");
    }
    let mut workers = [case.start_worker().await?];
    let next = case.log.next();
    let (code, words) = verify(case, &["--repair"]).await?;
    ensure!(code == Some(0), "the repair failed: {words}");
    case.complete(&mut workers, LIMIT).await?;
    let repaired = written(&case.log.since(next, None));
    ensure!(repaired == expected.iter().map(|(_, key)| (*key).clone()).collect(), "repaired: {repaired:?}");
    let (code, words) = verify(case, &["--method", "read"]).await?;
    ensure!(code == Some(0), "the copy is incomplete after the repair: {words}");
    Ok(())
}

/// Returns the final message of a program from its last log line.
fn message(line: &str) -> &str {
    line.split_once("reason=").and_then(|(_, words)| words.split_once(' ')).map_or(line, |(_, message)| message)
}

/// The checker reports extra objects as differences; after this there are none.
async fn mirrored(case: &mut Case) -> anyhow::Result<()> {
    case.settings.mirror = Some(EXTRA.len() as u64);
    let next = case.log.next();
    let written = run(case).await?;
    ensure!(written.is_empty(), "a mirror wrote {written:?}");
    let deleted: Vec<String> =
        case.log.since(next, None).into_iter().filter(|e| is(e, "DeleteObject")).map(|e| e.request.key).collect();
    let deleted: BTreeSet<&str> = deleted.iter().map(String::as_str).collect();
    ensure!(deleted == EXTRA.into(), "deleted: {deleted:?}");
    case.note(format!("mirror: {} objects deleted, nothing else", deleted.len()));
    let checked = case.check()?;
    case.note(checked);
    Ok(())
}
