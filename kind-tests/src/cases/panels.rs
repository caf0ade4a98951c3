//! A real Prometheus scrapes a run, found by the chart's monitors, and every expression of the dashboard gives data.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::alerts::missing_receiver;
use super::events;
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::logs::OPERATORS;
use crate::prometheus::{Prometheus, Query, Target};
use crate::proxy::refusals::{Answer, Refusal};
use crate::seeded;
use crate::services::{self, Service};
use crate::tree::{Object, upload};
use crate::wait::until;

/// Objects of the source and their size in bytes: a run of about a minute, with the delays.
const OBJECTS: usize = 1_500;
const SIZE: usize = 16 << 10;
/// Delay of each page of the source, in milliseconds: Prometheus looks for new pods every 5 s, so that it sees a
/// jobsender that lists four pages.
const PAGE_MS: u64 = 6_000;
/// Delay of each write, in milliseconds.
const WRITE_MS: u64 = 400;
const EVERY: Duration = Duration::from_secs(1);
/// Metrics that are absent while a side works.
const OF_PAUSES: [&str; 2] = ["s3migration_side_paused", "s3migration_job_degraded"];
/// Metrics of events, which are absent before the first one.
const OF_EVENTS: &str = "s3migration_event_objects";

/// Every panel and variable has data during a run that has limits and events, is throttled, and is paused for a while.
/// None of them may be empty.
pub async fn have_data(case: &mut Case) -> anyhow::Result<()> {
    let objects: Vec<Object> = (0..OBJECTS)
        .map(|number| Object::of_bytes(format!("in/{number:04}"), seeded::bytes(number as u64, SIZE)))
        .collect();
    case.prepare(&objects).await?;
    events::users(case).await?;
    let prometheus = Prometheus::start(&case.cluster, &case.namespace).await?;
    let proxies = services::proxies();
    proxies.delay(&case.source, "ListObjectsV2", PAGE_MS).await?;
    proxies.delay(&case.destination, "PutObject", WRITE_MS).await?;
    proxies.refuse(&[throttling(case)]).await?;
    let watched = watch(case, &prometheus).await;
    proxies.refuse(&[]).await?;
    proxies.delay(&case.destination, "PutObject", 0).await?;
    proxies.delay(&case.source, "ListObjectsV2", 0).await?;
    watched?;
    scraped(case, &prometheus).await?;
    as_in_the_status(case, &prometheus).await?;
    prometheus.remove()
}

fn throttling(case: &Case) -> Refusal {
    Refusal { bucket: case.destination.clone(), operation: "PutObject".to_owned(), answer: Answer::SlowDown, of_ten: 3 }
}

/// Starts the job, and waits until everything has had data.
async fn watch(case: &mut Case, prometheus: &Prometheus) -> anyhow::Result<()> {
    let mut job = events::job(case);
    job["spec"]["transfer"] = json!({"bandwidthLimit": "50M", "requestLimit": 500, "filesPerWorker": 8});
    job["spec"]["scaling"]["maxReplicas"] = json!(2);
    job["spec"]["limits"] = json!({"cost": 1_000});
    job["spec"]["notify"] = missing_receiver(case).await?;
    case.apply(&job).await?;
    case.watch("a live run", RUN_LIMIT, async |job: Option<&Value>| {
        Ok(job.is_some_and(|job| job.pointer("/status/currentRun").is_some()).then_some(()))
    })
    .await?;
    // Its event belongs to no run.
    upload::put_all(&services::s3(Service::Source), &case.source, &[Object::of_bytes("in/late", "late")]).await?;
    let mut missing = prometheus.queries(&case.namespace, JOB)?;
    let all = missing.len();
    until_data(prometheus, &mut missing, |query| is_of(query, &OF_PAUSES) || is_of(query, &[OF_EVENTS])).await?;
    let key = case.destination_key.clone().context("the case has no key")?;
    services::set_key(Service::Destination, &key, false)?;
    let paused = until_data(prometheus, &mut missing, |query| is_of(query, &[OF_EVENTS])).await;
    services::set_key(Service::Destination, &key, true)?;
    paused?;
    until_data(prometheus, &mut missing, |_| false).await?;
    case.note(format!("each of {all} expressions of the dashboard has had data"));
    Ok(())
}

fn is_of(query: &Query, metrics: &[&str]) -> bool {
    metrics.iter().any(|metric| query.expression.contains(metric))
}

/// Evaluates expressions until only those are left that may be; keeps those that never had data.
async fn until_data(
    prometheus: &Prometheus,
    missing: &mut Vec<Query>,
    may_be_left: impl Fn(&Query) -> bool,
) -> anyhow::Result<()> {
    let waited = until("data of all expressions", RUN_LIMIT, EVERY, async || {
        let mut left = Vec::new();
        for query in missing.drain(..) {
            if !has_data(prometheus, &query).await? {
                left.push(query);
            }
        }
        *missing = left;
        Ok(missing.iter().all(&may_be_left).then_some(()))
    })
    .await;
    waited.with_context(|| format!("these never had data: {missing:#?}"))
}

/// Returns true if an expression has a number now, and the label of its variable.
async fn has_data(prometheus: &Prometheus, query: &Query) -> anyhow::Result<bool> {
    let samples = prometheus.query(&query.expression).await?;
    Ok(samples.iter().any(|sample| {
        let has = |label: &String| sample.labels.get(label).is_some_and(|value| !value.is_empty());
        sample.value.is_finite() && query.label.as_ref().is_none_or(has)
    }))
}

/// Checks that the monitors find all programs, and that Prometheus can read them.
async fn scraped(case: &mut Case, prometheus: &Prometheus) -> anyhow::Result<()> {
    let read = format!("count by (container) (max_over_time(up{{namespace=\"{}\"}}[30m]) == 1)", case.namespace);
    let read = prometheus.query(&read).await?;
    let mut programs: Vec<&str> =
        read.iter().filter_map(|sample| Some(sample.labels.get("container")?.as_str())).collect();
    programs.sort_unstable();
    for program in ["jobsender", "worker"] {
        ensure!(programs.contains(&program), "no {program} was read, but {programs:?}");
    }
    let targets = prometheus.targets().await?;
    let is_operator = |target: &&Target| target.labels.get("container").is_some_and(|name| name == "operator");
    let operators: Vec<_> = targets.iter().filter(is_operator).collect();
    let ready = operators.iter().filter(|target| target.health == "up").count();
    ensure!(i32::try_from(ready)? == OPERATORS, "{ready} operators are read: {operators:#?}");
    case.note(format!("scraped through the chart's monitors: {ready} operators, {}", programs.join(", ")));
    Ok(())
}

/// Checks that Prometheus has the numbers of the status at the end.
async fn as_in_the_status(case: &mut Case, prometheus: &Prometheus) -> anyhow::Result<()> {
    let job = events::watching(case).await?;
    let done = job.pointer("/status/progress/objects/done").and_then(Value::as_u64).context("nothing is done")?;
    let expression = format!(
        "max(s3migration_run_objects{{result=\"done\", job_namespace=\"{}\", job_name=\"{JOB}\"}}) == {done}",
        case.namespace
    );
    until("Prometheus to have the status's number", RUN_LIMIT, EVERY, async || {
        Ok((!prometheus.query(&expression).await?.is_empty()).then_some(()))
    })
    .await?;
    case.note(format!("{done} objects, in the status and in Prometheus"));
    Ok(())
}
