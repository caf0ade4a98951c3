//! The main case: a whole tree from nothing to Complete, a second run without changes, and a key that can't be mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::deletion;
use super::preflight::checked;
use super::requests::{in_words, listings_only, one_get_one_put};
use crate::case::{Case, JOB, MOST_WORKERS, RUN_LIMIT};
use crate::pods::MemoryWatch;
use crate::report::human;
use crate::services::{self, Service};
use crate::tree::{Amount, Object, bytes_of, edge_case_keys, select, upload};

/// Copies a tree, checks the copy and its cost, runs again, and deletes the job.
pub async fn main_job(case: &mut Case, amount: Amount) -> anyhow::Result<()> {
    let objects = select::tree(amount)?;
    let kept: Vec<&Object> = objects.iter().filter(|o| !select::ignored(&o.key)).collect();
    case.prepare(&objects).await?;
    let first = first_run(case, &kept).await?;
    second_run(case, &first, kept.len()).await?;
    deletion::of_everything_but_data(case, &first).await?;
    planted_difference(case).await
}

async fn first_run(case: &mut Case, kept: &[&Object]) -> anyhow::Result<Value> {
    let memory = MemoryWatch::start();
    let began = Instant::now();
    case.apply(&case.job()).await?;
    // Its requests are none of the run's.
    checked(case, "True", RUN_LIMIT).await?;
    case.note(format!("tried the buckets {:.1} s after apply", began.elapsed().as_secs_f64()));
    let since = services::proxies().next().await?;
    let (job, columns, fastest) = watch_columns(case).await?;
    let seconds = began.elapsed().as_secs_f64();
    let bytes: u64 = kept.iter().map(|o| o.size).sum();
    case.note(format!("{} objects, {} in {seconds:.1} s from apply to Complete", kept.len(), human(bytes)));
    totals(&job, kept.len() as u64, bytes)?;
    named(&job)?;
    plausible(case, fastest, bytes, seconds)?;
    columns_changed(case, &columns)?;
    drained(case).await?;
    case.note(case.check("")?);
    let source = case.events(Service::Source, Some(since)).await?;
    let destination = case.events(Service::Destination, Some(since)).await?;
    case.note(format!("source: {}", in_words(&source)));
    case.note(format!("destination: {}", in_words(&destination)));
    let counted = one_get_one_put(kept, &source, &destination, MOST_WORKERS, MOST_WORKERS)?;
    case.note(format!(
        "{} small objects, each 1 GET and 1 PUT; {} of them, first writes of workers, some more; {} PUTs tested \
         Content-MD5",
        counted.objects, counted.probes, counted.tests
    ));
    let peaks: Vec<String> =
        memory.stop().iter().map(|(program, peak)| format!("{program} {}", human(*peak))).collect();
    case.note(format!("peak RSS: {}", peaks.join(", ")));
    Ok(job)
}

/// Checks that the highest rate in the status is close to the average rate.
fn plausible(case: &mut Case, fastest: u64, bytes: u64, seconds: f64) -> anyhow::Result<()> {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "a rough mean"
    )]
    let mean = (bytes as f64 / seconds) as u64;
    case.note(format!("{}/s, the status showed up to {}/s", human(mean), human(fastest)));
    // In a short run the workers report a rate at most once, and on a busy machine that is over by then.
    ensure!(
        seconds < 60.0 || (mean / 4..mean * 10).contains(&fastest),
        "the status showed at most {}/s while {}/s were moved",
        human(fastest),
        human(mean)
    );
    Ok(())
}

/// Values of each `kubectl get` column during the run.
type Columns = BTreeMap<String, BTreeSet<String>>;

/// Watches until Complete; returns the job, the column values, and the highest rate in the status.
async fn watch_columns(case: &Case) -> anyhow::Result<(Value, Columns, u64)> {
    let mut columns = Columns::new();
    let mut fastest = 0;
    let job = case
        .watch("phase Complete", RUN_LIMIT, async |job: Option<&Value>| {
            let Some(job) = job else { return Ok(None) };
            for (name, cell) in case.cluster.columns(&case.namespace, JOB).await? {
                columns.entry(name).or_default().insert(cell);
            }
            let rate = job.pointer("/status/progress/rateBytesPerSecond").and_then(Value::as_u64);
            fastest = fastest.max(rate.unwrap_or(0));
            let phase = job.pointer("/status/phase").and_then(Value::as_str);
            ensure!(!matches!(phase, Some("Failed" | "PartiallyFailed")), "the run ended: {:#}", job["status"]);
            Ok((phase == Some("Complete")).then(|| job.clone()))
        })
        .await?;
    Ok((job, columns, fastest))
}

fn columns_changed(case: &mut Case, columns: &Columns) -> anyhow::Result<()> {
    for name in ["Phase", "Objects", "Bytes", "Rate", "Workers"] {
        let seen = columns.get(name).with_context(|| format!("kubectl get mj has no column {name}"))?;
        ensure!(seen.len() > 1, "the column {name} never changed: {seen:?}");
    }
    let most = columns["Workers"].iter().filter_map(|w| w.split('/').next()?.trim().parse::<u32>().ok()).max();
    ensure!(most >= Some(2), "there were never two workers ready: {:?}", columns["Workers"]);
    case.note(format!("workers 0 to {} ready", most.unwrap_or(0)));
    Ok(())
}

/// Checks that the status has exactly these totals.
pub fn totals(job: &Value, objects: u64, bytes: u64) -> anyhow::Result<()> {
    let progress = &job["status"]["progress"];
    let seen = |kind: &str, count: &str| progress[kind][count].as_u64();
    for (kind, expected) in [("objects", objects), ("bytes", bytes)] {
        for count in ["total", "done"] {
            let found = seen(kind, count);
            ensure!(found == Some(expected), "{count} {kind} is {found:?} and should be {expected}: {progress:#}");
        }
    }
    ensure!(seen("objects", "failed") == Some(0), "objects failed: {progress:#}");
    Ok(())
}

/// Checks that the status names queue, table and last run.
fn named(job: &Value) -> anyhow::Result<()> {
    for path in [
        "/status/resources/queueUrl",
        "/status/resources/deadLetterUrl",
        "/status/resources/table",
        "/status/lastRun/id",
    ] {
        let found = job.pointer(path).and_then(Value::as_str).unwrap_or_default();
        ensure!(!found.is_empty(), "the status does not name {path}: {:#}", job["status"]);
    }
    Ok(())
}

async fn drained(case: &mut Case) -> anyhow::Result<()> {
    let began = Instant::now();
    let deployment = case.cluster.worker_deployment(&case.namespace).await?;
    let name = deployment.metadata.name.unwrap_or_default();
    let empty = |d: &k8s_openapi::api::apps::v1::Deployment| {
        d.spec.replicas == Some(0) && d.status.as_ref().is_none_or(|s| s.replicas.unwrap_or(0) == 0)
    };
    let limit = Duration::from_mins(1);
    case.cluster.watch_deployment(&case.namespace, &name, "no workers to be left", limit, empty).await?;
    case.note(format!("and back to 0, {:.1} s after Complete", began.elapsed().as_secs_f64()));
    Ok(())
}

async fn second_run(case: &mut Case, first: &Value, objects: usize) -> anyhow::Result<()> {
    let before = first.pointer("/status/lastRun/id").and_then(Value::as_str);
    let since = services::proxies().next().await?;
    case.patch_spec(&json!({"trigger": {"manual": "again"}})).await?;
    let job = case.run_ended("Complete", before, RUN_LIMIT).await?;
    ensure!(job["status"]["lastManualRun"] == "again", "lastManualRun is {}", job["status"]["lastManualRun"]);
    let moved = job.pointer("/status/lastRun/objects").and_then(Value::as_u64);
    ensure!(moved == Some(0), "the second run moved {moved:?} objects");
    let source = listings_only(&case.events(Service::Source, Some(since)).await?).context("at the source")?;
    let destination =
        listings_only(&case.events(Service::Destination, Some(since)).await?).context("at the destination")?;
    let pages = objects.div_ceil(1_000);
    // Each of the ranges listed concurrently may end with a page that is not full.
    let most = 2 * pages + 16;
    ensure!(
        source.max(destination) <= most,
        "{source} and {destination} pages are more than {most} for {objects} keys"
    );
    case.note(format!("second run: nothing moved, {source} + {destination} pages of listings"));
    Ok(())
}

/// Checks that the checker detects a difference.
async fn planted_difference(case: &mut Case) -> anyhow::Result<()> {
    let key = "awkward/with space";
    let client = services::s3(Service::Destination);
    client.put_object().bucket(&case.destination).key(key).body(b"other".to_vec().into()).send().await?;
    let Err(found) = case.check_under("awkward/") else {
        anyhow::bail!("the checker did not detect a planted difference")
    };
    ensure!(found.to_string().contains(key), "the checker reported something else: {found}");
    case.note("the checker detects a planted difference");
    Ok(())
}

/// A key that becomes too long under the destination prefix gets a failure record; the others are copied.
pub async fn key_too_long(case: &mut Case) -> anyhow::Result<()> {
    let long = edge_case_keys::longest("kept/", "k");
    let objects =
        [Object::of_bytes("kept/a", "a"), Object::of_bytes(long.clone(), "too long"), Object::of_bytes("z", "z")];
    case.prepare(&objects).await?;
    let mut job = case.job();
    job["spec"]["buckets"][0]["destinationPrefix"] = json!("copy/");
    case.apply(&job).await?;
    let job = case.run_ended("PartiallyFailed", None, RUN_LIMIT).await?;
    let failures = job["status"]["failures"].as_array().context("the status names no failures")?;
    let keys: Vec<Option<&str>> = failures.iter().map(|f| f["key"].as_str()).collect();
    ensure!(keys == [Some(long.as_str())], "the failures are {failures:?}");
    ensure!(failures[0]["class"] == "KeyNotMappable", "the failure is {}", failures[0]);
    case.note(format!("failure: {}", failures[0]["message"].as_str().unwrap_or_default()));
    case.note(case.check("copy/")?);
    Ok(())
}

/// Objects added during a run are copied by the next one, and nothing else is.
pub async fn third_run_moves_what_is_new(case: &mut Case) -> anyhow::Result<()> {
    let objects = [Object::of_bytes("a", "first"), Object::of_bytes("b", "second")];
    case.prepare(&objects).await?;
    case.apply(&case.job()).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, 2, bytes_of(&objects))?;
    let changed = [Object::of_bytes("b", "second, changed"), Object::of_bytes("c", "third")];
    upload::put_all(&services::s3(Service::Source), &case.source, &changed).await?;
    case.patch_spec(&json!({"trigger": {"manual": "new"}})).await?;
    let before = job.pointer("/status/lastRun/id").and_then(Value::as_str);
    let job = case.run_ended("Complete", before, RUN_LIMIT).await?;
    totals(&job, 2, bytes_of(&changed))?;
    case.note(case.check("")?);
    Ok(())
}
