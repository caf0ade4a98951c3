//! Workers and operator killed at bad moments.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use migration_core::records::VERIFIED_EVERY_MS;
use serde_json::{Value, json};

use super::deletion::{Outside, open_uploads};
use super::migration::totals;
use crate::case::{Case, RUN_LIMIT};
use crate::logs::{OPERATOR_NAMESPACE, OPERATORS};
use crate::pods;
use crate::proxy::log::Event;
use crate::services::{self, Service};
use crate::tree::{Amount, Object, SMALL, bytes_of, select};
use crate::wait::until;

/// Time limit for another worker to finish the work of a killed one.
const FINISHED: Duration = Duration::from_mins(2);
/// `transfer.partsPerFile` of these cases.
const PARTS_AT_ONCE: usize = 4;
/// Interval between records of verified parts, plus time for the write itself.
pub const RECORDED_EVERY: Duration = Duration::from_millis(VERIFIED_EVERY_MS + 2_000);
const WORKERS: &str = "app.kubernetes.io/component=worker";

/// Returns the large object of an amount, and a few small ones.
fn large_and_few(amount: Amount) -> anyhow::Result<Vec<Object>> {
    let large = select::tree(amount)?.into_iter().filter(|o| o.key.starts_with("large/"));
    Ok(large.chain((0..20).map(|n| Object::of_bytes(format!("small/{n}"), format!("{n}")))).collect())
}

/// A worker is killed in the middle of the largest object.
pub async fn worker_in_a_large_object(case: &mut Case, amount: Amount) -> anyhow::Result<()> {
    let objects = large_and_few(amount)?;
    case.prepare(&objects).await?;
    let large = objects.first().context("there is no large object")?;
    start_slowly(case).await?;
    let killed = kill_in_the_middle(case, &large.key).await?;
    let began = Instant::now();
    services::proxies().delay(&case.destination, "UploadPart", 0).await?;
    until("the large object to be finished", FINISHED, Duration::from_millis(200), async || {
        let client = services::s3(Service::Destination);
        let found = client.head_object().bucket(&case.destination).key(&large.key).send().await;
        Ok(found.is_ok().then_some(()))
    })
    .await?;
    case.note(format!("another worker finished {:.1} s after the kill", began.elapsed().as_secs_f64()));
    let events = of_key(case, &large.key).await?;
    parts_again(case, &events, large, killed.at)?;
    finished_by_another(&events, &killed.addresses)?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, objects.len() as u64, bytes_of(&objects))?;
    let open = open_uploads(case).await?;
    ensure!(open.is_empty(), "uploads were left open: {open:?}");
    case.note(case.check("")?);
    Ok(())
}

/// Applies the job, with a delay of 1.5 s per part.
async fn start_slowly(case: &Case) -> anyhow::Result<()> {
    services::proxies().delay(&case.destination, "UploadPart", 1_500).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"partsPerFile": PARTS_AT_ONCE});
    job["spec"]["scaling"]["minReplicas"] = json!(2);
    case.apply(&job).await
}

/// Workers that were killed.
struct Killed {
    addresses: BTreeSet<IpAddr>,
    at: SystemTime,
}

/// Returns the requests for a key at the destination. Requests that probe the bucket use other keys.
async fn of_key(case: &Case, key: &str) -> anyhow::Result<Vec<Event>> {
    let events = case.events(Service::Destination, None).await?;
    Ok(events.into_iter().filter(|e| e.request.key == key).collect())
}

/// Waits until some parts of an object are uploaded and kills the worker that sends them.
async fn kill_in_the_middle(case: &mut Case, key: &str) -> anyhow::Result<Killed> {
    let parts = until("four parts to be uploaded", RUN_LIMIT, Duration::from_millis(100), async || {
        let events = of_key(case, key).await?;
        let parts: Vec<Event> = events.into_iter().filter(|e| is_part(e) && e.status == Some(200)).collect();
        Ok((parts.len() >= 4).then_some(parts))
    })
    .await?;
    let peers: BTreeSet<IpAddr> = parts.iter().map(|e| e.peer).collect();
    let workers = case.cluster.pods(&case.namespace, WORKERS).await?;
    let sending: Vec<&Pod> = workers.iter().filter(|p| address(p).is_some_and(|a| peers.contains(&a))).collect();
    // With network address translation the sender is unknown, so all are killed.
    let victims: Vec<&Pod> = if sending.is_empty() { workers.iter().collect() } else { sending };
    ensure!(!victims.is_empty(), "there is no worker to kill");
    let mut killed = 0;
    for pod in &victims {
        killed += pods::kill(pod)?;
        case.cluster.force_delete_pod(&case.namespace, &pod.name_any()).await?;
    }
    let at = SystemTime::now();
    let complete = of_key(case, key).await?.iter().any(|e| e.request.operation == "CompleteMultipartUpload");
    ensure!(!complete, "the object was complete before the kill: there was no middle");
    case.note(format!("{} of {} workers killed ({killed} processes)", victims.len(), workers.len()));
    Ok(Killed { addresses: victims.iter().filter_map(|p| address(p)).collect(), at })
}

fn is_part(event: &Event) -> bool {
    event.request.operation == "UploadPart"
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

/// Fails if more parts were sent again than were in flight at the kill or sent since the last record of verified parts
/// (docs/transfer.md, "Resume").
fn parts_again(case: &mut Case, events: &[Event], large: &Object, killed: SystemTime) -> anyhow::Result<()> {
    let sent = events.iter().filter(|e| is_part(e)).count();
    let numbers: BTreeSet<Option<u32>> = events.iter().filter(|e| is_part(e)).map(|e| e.request.part).collect();
    let parts = numbers.len();
    let shortly_before = Some(killed - RECORDED_EVERY)..Some(killed);
    let unproved = events.iter().filter(|e| is_part(e) && shortly_before.contains(&e.answered)).count();
    case.note(format!("{} bytes in {parts} parts: {sent} were sent, {unproved} shortly before the kill", large.size));
    ensure!(sent <= parts + unproved + PARTS_AT_ONCE, "{sent} parts were sent for an object of {parts}");
    Ok(())
}

fn finished_by_another(events: &[Event], killed: &BTreeSet<IpAddr>) -> anyhow::Result<()> {
    let complete = events.iter().find(|e| e.request.operation == "CompleteMultipartUpload" && e.status == Some(200));
    let complete = complete.context("no worker completed the upload")?;
    ensure!(!killed.contains(&complete.peer), "the upload was completed from {}, which was killed", complete.peer);
    Ok(())
}

/// A job is deleted while an upload of a killed worker is open; the upload is aborted.
pub async fn deleted_with_an_open_upload(case: &mut Case) -> anyhow::Result<()> {
    let objects = large_and_few(SMALL)?;
    case.prepare(&objects).await?;
    start_slowly(case).await?;
    kill_in_the_middle(case, &objects.first().context("there is no large object")?.key).await?;
    let open = open_uploads(case).await?;
    ensure!(!open.is_empty(), "no upload was open after the kill");
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(crate::case::JOB).await?)?;
    let outside = Outside::of(&job)?;
    let began = Instant::now();
    case.delete_job(Duration::from_mins(3)).await?;
    let seconds = began.elapsed().as_secs_f64();
    let left = outside.there().await?;
    ensure!(left.is_empty(), "left after the job was deleted: {left:?}");
    let open = open_uploads(case).await?;
    ensure!(open.is_empty(), "uploads were left open: {open:?}");
    case.note(format!("deleted in {seconds:.1} s, with the upload that a killed worker left"));
    Ok(())
}

/// The operator is killed repeatedly during a run; the totals are still exact.
pub async fn operator(case: &mut Case) -> anyhow::Result<()> {
    let amount = Amount { files: 800, bytes: 0, large: 1 };
    let objects: Vec<Object> = select::tree(amount)?.into_iter().filter(|o| o.size < 4 << 20).collect();
    let kept: Vec<&Object> = objects.iter().filter(|o| !select::ignored(&o.key)).collect();
    let (number, bytes) = (kept.len() as u64, kept.iter().map(|o| o.size).sum());
    case.prepare(&objects).await?;
    services::proxies().delay(&case.destination, "PutObject", 400).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"filesPerWorker": 4});
    case.apply(&job).await?;
    kill_operator(case).await?;
    let mut kills = 1;
    for share in 1..=4 {
        let moved = usize::try_from(number * share / 5)?;
        until("objects to be moved", RUN_LIMIT, Duration::from_millis(100), async || {
            let events = case.events(Service::Destination, None).await?;
            let done = events.iter().filter(|e| e.status == Some(200) && e.request.operation == "PutObject");
            Ok((done.count() >= moved).then_some(()))
        })
        .await?;
        kill_operator(case).await?;
        kills += 1;
    }
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, number, bytes)?;
    kill_operator(case).await?;
    let ready = |d: &k8s_openapi::api::apps::v1::Deployment| {
        d.status.as_ref().and_then(|s| s.ready_replicas) == Some(OPERATORS)
    };
    case.cluster.watch_deployment(OPERATOR_NAMESPACE, "s3-migration", "the operator", RUN_LIMIT, ready).await?;
    let runs = job.pointer("/status/runsStarted").and_then(Value::as_u64);
    ensure!(runs == Some(1), "{runs:?} runs were started");
    case.note(format!("killed {kills} times while {number} objects moved, and once after; totals are exact, one run"));
    case.note(case.check("")?);
    Ok(())
}

async fn kill_operator(case: &Case) -> anyhow::Result<()> {
    for pod in case.cluster.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator").await? {
        pods::kill(&pod)?;
        case.cluster.force_delete_pod(OPERATOR_NAMESPACE, &pod.name_any()).await?;
    }
    Ok(())
}
