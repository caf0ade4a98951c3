//! The bandwidth limit of a job, while workers die, join and lose the ledger.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::migration::totals;
use crate::case::{Case, RUN_LIMIT};
use crate::pods;
use crate::proxy::log::{Cut, Event};
use crate::report::human;
use crate::seeded;
use crate::services::{self, Service};
use crate::tree::{Object, bytes_of};
use crate::wait::until;

/// `transfer.bandwidthLimit`, and its bytes per second.
const LIMIT: &str = "2M";
const BYTES_PER_SECOND: u64 = 2 << 20;
/// Objects of the source, and their size in bytes. Buffers on the way hold as many of them as are in flight: with
/// [`FILES_AT_ONCE`], 2 % of what may pass in a [`WINDOW`].
const OBJECTS: usize = 5_600;
const SIZE: usize = 64 << 10;
/// `transfer.filesPerWorker`.
const FILES_AT_ONCE: usize = 2;
/// Workers at first, and one more later.
const WORKERS: usize = 3;
/// Time in which the limit has to hold: docs/transfer.md, "Limits of the rate".
const WINDOW: Duration = Duration::from_secs(10);
/// Time for which a worker is cut off from the ledger.
const CUT: Duration = Duration::from_secs(25);
/// Time after which one that is cut off reads nothing more: the 10 s for which a share is valid, and some for requests
/// under way on a busy machine.
const STOPPED_AFTER: Duration = Duration::from_secs(16);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A worker is killed, one loses the ledger for a while, and one joins: the limit holds in every window, and the status
/// shows it.
pub async fn hold_whatever_happens(case: &mut Case) -> anyhow::Result<()> {
    let objects: Vec<Object> = (0..OBJECTS)
        .map(|number| Object::of_bytes(format!("{number:04}"), seeded::bytes(number as u64, SIZE)))
        .collect();
    case.prepare(&objects).await?;
    services::proxies().record_flow(&case.source, "GetObject").await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"bandwidthLimit": LIMIT, "filesPerWorker": FILES_AT_ONCE});
    job["spec"]["scaling"] = json!({"driver": "Fixed", "replicas": WORKERS, "maxReplicas": WORKERS + 1});
    case.apply(&job).await?;
    let shown = shared(case, WORKERS as u64).await?;
    case.note(format!("status.limits: {shown}"));
    kill_one(case).await?;
    cut_one_off(case).await?;
    add_one(case).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, OBJECTS as u64, bytes_of(&objects))?;
    case.watch("no limits in the status without work", RUN_LIMIT, async |job: Option<&Value>| {
        Ok(job.is_some_and(|job| job.pointer("/status/limits").is_none()).then_some(()))
    })
    .await?;
    held(case).await?;
    case.note(case.check("")?);
    Ok(())
}

/// Waits until the status shows the limit, and so many processes that hold nearly all of it; returns what it shows.
async fn shared(case: &Case, holders: u64) -> anyhow::Result<Value> {
    case.watch(&format!("{holders} holders of the limit"), RUN_LIMIT, async |job: Option<&Value>| {
        let Some(limits) = job.and_then(|job| job.pointer("/status/limits")) else { return Ok(None) };
        let number = |name: &str| limits["bandwidth"][name].as_u64();
        ensure!(number("perSecond") == Some(BYTES_PER_SECOND), "the limits are {limits:#}");
        let is_shared =
            number("holders") >= Some(holders) && number("heldPerSecond") >= Some(BYTES_PER_SECOND / 10 * 9);
        Ok(is_shared.then(|| limits.clone()))
    })
    .await
}

/// Kills the worker of the newest answer of the source with SIGKILL.
async fn kill_one(case: &mut Case) -> anyhow::Result<()> {
    let pod = reading(case, None).await?;
    // Processes of another machine can't be killed.
    if pods::kill_program(&pod, "worker")? == 0 {
        case.cluster.force_delete_pod(&case.namespace, &pod.name_any()).await?;
    }
    case.note("one of 3 workers killed");
    Ok(())
}

/// Takes the ledger away from a worker, and gives it back after [`CUT`]. The worker reads while its share is valid, and
/// nothing after that, while the others go on.
async fn cut_one_off(case: &mut Case) -> anyhow::Result<()> {
    let address = address(&reading(case, None).await?).context("the pod has no address")?;
    let since = services::proxies().next().await?;
    services::proxies().cut(&[Cut { peer: address, target: "DynamoDB".to_owned() }]).await?;
    let began = SystemTime::now();
    let waited = until("the others to go on", RUN_LIMIT, LOOK_EVERY, async || {
        let last =
            gets(case, since).await?.iter().filter(|get| get.peer != address).filter_map(|get| get.answered).max();
        Ok(last.filter(|last| *last >= began + CUT))
    })
    .await;
    services::proxies().cut(&[]).await?;
    let ended = waited?;
    let times = gets(case, since).await?.into_iter().filter(|get| get.peer == address).filter_map(|get| get.answered);
    let last = times.filter(|at| *at < ended).max();
    let after = last.and_then(|at| at.duration_since(began).ok()).unwrap_or_default();
    case.note(format!("one without the ledger for {} s read for {:.1} s", CUT.as_secs(), after.as_secs_f64()));
    ensure!(after < STOPPED_AFTER, "a worker without the ledger went on to read for {after:?}");
    // It gets a share again.
    until("the worker to read again", RUN_LIMIT, LOOK_EVERY, async || {
        let again = gets(case, since).await?.iter().any(|get| get.peer == address && get.answered > Some(ended));
        Ok(again.then_some(()))
    })
    .await
}

/// Adds a worker, and waits until it reads.
async fn add_one(case: &mut Case) -> anyhow::Result<()> {
    let before: Vec<String> = workers(case).await?.iter().map(kube::ResourceExt::name_any).collect();
    case.patch_spec(&json!({"scaling": {"replicas": WORKERS + 1}})).await?;
    let new = until("another worker", RUN_LIMIT, LOOK_EVERY, async || {
        Ok(workers(case).await?.into_iter().find(|pod| !before.contains(&pod.name_any())))
    })
    .await?;
    reading(case, Some(&new)).await?;
    case.note("one added, which read too");
    Ok(())
}

/// Waits until a worker that runs, or the given one, reads an object; returns the one that did so last. Fails if the run
/// ends.
async fn reading(case: &Case, only: Option<&Pod>) -> anyhow::Result<Pod> {
    let since = services::proxies().next().await?;
    until("a worker to read", RUN_LIMIT, LOOK_EVERY, async || {
        let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(crate::case::JOB).await?)?;
        ensure!(job.pointer("/status/lastRun").is_none(), "the run ended too early: {:#}", job["status"]);
        let is_wanted = |pod: &Pod| only.is_none_or(|only| only.name_any() == pod.name_any());
        let pods: Vec<Pod> = workers(case).await?.into_iter().filter(|pod| is_wanted(pod)).collect();
        let last = |pod: &Pod| Some((address(pod)?, pod.clone()));
        let known: Vec<(IpAddr, Pod)> = pods.iter().filter_map(last).collect();
        let mut gets = gets(case, since).await?;
        gets.sort_by_key(|get| get.answered);
        let found = gets.iter().rev().find_map(|get| known.iter().find(|(address, _)| *address == get.peer));
        Ok(found.map(|(_, pod)| pod.clone()))
    })
    .await
}

/// Fails if more than the limit passed in any window, or never nearly as much.
async fn held(case: &mut Case) -> anyhow::Result<()> {
    let flow = services::proxies().flow().await?;
    ensure!(flow.bucket == case.source, "the bytes of another bucket were recorded: {}", flow.bucket);
    let most = flow.most_in(WINDOW);
    let allowed = BYTES_PER_SECOND * WINDOW.as_secs();
    let percent = most * 1_000 / allowed;
    case.note(format!(
        "most in {} s: {}, {}.{} % of the limit",
        WINDOW.as_secs(),
        human(most),
        percent / 10,
        percent % 10
    ));
    ensure!(percent <= 1_050, "{most} bytes passed in {WINDOW:?}, and {allowed} may");
    ensure!(percent >= 900, "the limit was never reached: at most {most} bytes in {WINDOW:?}");
    Ok(())
}

/// Returns the objects that the source has answered with, from a number of requests on.
async fn gets(case: &Case, since: usize) -> anyhow::Result<Vec<Event>> {
    let mut events = case.events(Service::Source, Some(since)).await?;
    events.retain(|event| event.request.operation == "GetObject" && event.status.is_some_and(|status| status < 300));
    Ok(events)
}

/// Returns the workers that run.
async fn workers(case: &Case) -> anyhow::Result<Vec<Pod>> {
    pods::running(&case.cluster, &case.namespace, "worker").await
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}
