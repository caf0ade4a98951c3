//! Random kills of workers, jobsender and operator, and a drain of the node, while objects move.

mod acts;
mod presence;
mod schedule;
mod traces;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use self::acts::Acts;
use self::presence::Presence;
use self::schedule::{DRAIN_WITHIN, Each, Kill, Schedule, Victim};
use super::deletion::{Outside, open_uploads};
use crate::autoscalers::History;
use crate::case::{Case, MOST_WORKERS, RUN_LIMIT};
use crate::seeded;
use crate::services::{self, Service};
use crate::tree::{Object, bytes_of};

/// Objects of the source.
const OBJECTS: usize = 5_000;
/// Sizes of the large ones in bytes. The last one is distributed over workers.
const LARGE: [usize; 3] = [24 << 20, 40 << 20, 80 << 20];
/// `transfer.filesPerWorker` and `transfer.partsPerFile`.
const FILES_AT_ONCE: usize = 6;
const PARTS_AT_ONCE: usize = 2;
/// Delays of requests in milliseconds, so that the run outlives the kills: of a page of the source's listing at first,
/// of a small object and of a part.
const SLOW: [(Service, &str, u64); 3] = [
    (Service::Source, "ListObjectsV2", 12_000),
    (Service::Destination, "PutObject", 1_500),
    (Service::Destination, "UploadPart", 2_000),
];
/// Delay of a page of the source's listing in milliseconds, while jobsenders are killed.
const SLOW_PAGE: u64 = 25_000;
/// Fewest kills of each program.
const FEWEST: usize = 6;
/// Time limit for what is left to go after the run.
const SOON: Duration = Duration::from_mins(3);

/// Kills processes and pods of all programs at random, and drains the node once, during a run.
pub async fn random(case: &mut Case) -> anyhow::Result<()> {
    let seed = std::env::var("SEED").map_or_else(|_| Ok(rand::random()), |text| text.parse());
    let seed: u64 = seed.context("failed to read SEED")?;
    let schedule = Schedule::drawn(seed);
    case.note(format!("SEED={seed} gives the same victims and moments"));
    eprintln!("SEED={seed}");
    let objects = objects(seed);
    case.prepare(&objects).await?;
    let began = Instant::now();
    case.apply(&prepared(case).await?).await?;
    let (workers, presence) = (History::start(case), Presence::start(case));
    let acts = carried_out(case, &schedule, began).await;
    for (side, operation, _) in SLOW {
        slow(case, side, operation, 0).await?;
    }
    let acts = acts?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    case.note(format!("Complete {:.0} s after apply", began.elapsed().as_secs_f64()));
    numbers(case, &job, &objects)?;
    one_run(&job)?;
    case.note(case.check("")?);
    let complete = Instant::now();
    workers.reached("no workers", complete, SOON, |number| number == 0).await?;
    nothing_left(case, &job, complete).await?;
    traces::requests(case, &objects, &acts, &presence).await
}

/// Returns small objects, some of them empty, and the large ones among them.
fn objects(seed: u64) -> Vec<Object> {
    let small = (0..OBJECTS - LARGE.len()).map(|number| {
        let size = number.wrapping_mul(7_919) % 9_001;
        let size = if number.is_multiple_of(97) { 0 } else { size };
        Object::of_bytes(format!("{number:04}"), seeded::bytes(seed.wrapping_add(number as u64), size))
    });
    let large = LARGE.iter().enumerate().map(|(number, size)| {
        let bytes = seeded::bytes(seed.wrapping_sub(number as u64 + 1), *size);
        Object::of_bytes(format!("{:04}/large", number * 1_500), bytes)
    });
    small.chain(large).collect()
}

/// Makes requests slow; returns the job.
async fn prepared(case: &Case) -> anyhow::Result<Value> {
    for (side, operation, millis) in SLOW {
        slow(case, side, operation, millis).await?;
    }
    let mut job = case.job();
    job["spec"]["transfer"] = json!({
        "filesPerWorker": FILES_AT_ONCE, "partsPerFile": PARTS_AT_ONCE,
        "partSize": "5Mi", "multipartThreshold": "5Mi", "splitThreshold": "64Mi",
    });
    Ok(job)
}

async fn slow(case: &Case, side: Service, operation: &str, millis: u64) -> anyhow::Result<()> {
    let bucket = if side == Service::Source { &case.source } else { &case.destination };
    services::proxies().delay(bucket, operation, millis).await
}

/// Carries the schedule out; the run must be live at its end.
async fn carried_out(case: &mut Case, schedule: &Schedule, began: Instant) -> anyhow::Result<Acts> {
    let mut acts = Acts::new(case).await?;
    slow(case, Service::Source, "ListObjectsV2", SLOW_PAGE).await?;
    let mut left: VecDeque<Kill> = schedule.kills.iter().copied().collect();
    for (number, gap) in schedule.gaps.iter().enumerate() {
        if number == schedule.drain_before {
            acts.drain(case).await?;
        }
        acts.kill_next(case, &mut left, *gap).await.with_context(|| format!("kill {}", number + 1))?;
        if left.iter().all(|kill| kill.victim != Victim::Jobsender) {
            slow(case, Service::Source, "ListObjectsV2", 0).await?;
        }
    }
    let job = acts.job(case).await?;
    ensure!(job.pointer("/status/currentRun").is_some(), "the run ended before the last kill: {:#}", job["status"]);
    ensure!(DRAIN_WITHIN.contains(&schedule.drain_before), "there was no drain");
    let Each { worker, jobsender, operator } = acts.killed();
    let each = [worker, jobsender, operator];
    ensure!(each.iter().all(|number| *number >= FEWEST), "not each was killed {FEWEST} times: {each:?}");
    case.note(format!(
        "{} kills in {:.0} s: workers {worker}, jobsender {jobsender}, operator {operator}; {}",
        each.iter().sum::<usize>(),
        began.elapsed().as_secs_f64(),
        acts.in_words()
    ));
    Ok(acts)
}

/// Every object counts once: as copied, or as found in place by a jobsender that listed again what a killed one had sent.
fn numbers(case: &mut Case, job: &Value, objects: &[Object]) -> anyhow::Result<()> {
    let progress = &job["status"]["progress"];
    let seen = |kind: &str, count: &str| progress[kind][count].as_u64().unwrap_or_default();
    for (kind, expected) in [("objects", objects.len() as u64), ("bytes", bytes_of(objects))] {
        let (done, skipped) = (seen(kind, "done"), seen(kind, "skipped"));
        ensure!(done + skipped == expected, "done and skipped {kind} are not {expected} together: {progress:#}");
        ensure!(seen(kind, "total") == done, "total and done {kind} differ: {progress:#}");
        ensure!(seen(kind, "failed") == 0, "{kind} failed: {progress:#}");
    }
    case.note(format!(
        "numbers exact: {} copied, {} found in place as listed again",
        seen("objects", "done"),
        seen("objects", "skipped")
    ));
    Ok(())
}

/// Restarts of the operator and the jobsender have not started another run.
fn one_run(job: &Value) -> anyhow::Result<()> {
    let runs = job.pointer("/status/runs").and_then(Value::as_array).map(Vec::len);
    ensure!(runs == Some(1), "there was more than one run: {:#}", job["status"]);
    Ok(())
}

/// Waits until queue and dead letters are empty, no pod runs, and no upload is open; only ended Jobs of the preflight and
/// of the run are left.
async fn nothing_left(case: &mut Case, job: &Value, since: Instant) -> anyhow::Result<()> {
    let outside = Outside::of(job)?;
    traces::empty_queues(&outside, SOON).await?;
    traces::no_pods(case, SOON).await?;
    case.note(format!("no message and no pod {:.0} s after Complete", since.elapsed().as_secs_f64()));
    let open = open_uploads(case).await?;
    ensure!(open.is_empty(), "uploads were left open: {open:?}");
    let records = traces::upload_records(&outside).await?;
    ensure!(records.is_empty(), "the ledger still has uploads: {records:?}");
    let jobs = traces::jobs(case).await?;
    let may_stay = |name: &String| name.starts_with("job-run-") || name.starts_with("job-preflight-");
    ensure!(jobs.iter().all(may_stay), "Jobs were left: {jobs:?}");
    case.note(format!("Jobs {}", jobs.join(", ")));
    Ok(())
}

/// Number of writes of each key that succeeded.
type Writes<'a> = BTreeMap<&'a str, usize>;

/// Returns the most writes that the acts may have cost: what was in flight in killed workers.
fn most_repeated(acts: &Acts) -> usize {
    (acts.killed().worker + acts.drains() * MOST_WORKERS) * FILES_AT_ONCE
}
