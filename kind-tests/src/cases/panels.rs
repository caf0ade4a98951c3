//! A real Prometheus scrapes a run, found by the chart's monitors, and every expression of the dashboard shows something.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::alerts::{dead_letter, missing_receiver};
use super::events;
use super::preflight::checked;
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::prometheus::{Prometheus, Query, Sample};
use crate::proxy::delays::HELD_MS;
use crate::proxy::refusals::{Answer, Refusal};
use crate::seeded;
use crate::services::{self, Service};
use crate::tree::{Object, edge_case_keys, upload};
use crate::wait::until;

/// Objects of the source and their size in bytes: a run of about a minute, with the delays.
const OBJECTS: usize = 1_500;
const SIZE: usize = 16 << 10;
/// Size of an object that is moved in parts, in bytes.
const LARGE: usize = 6 << 20;
/// Delay of each page of the source, in milliseconds. The first one is held until Prometheus reads the jobsender; with
/// this, another scrape comes between the pages that follow.
const PAGE_MS: u64 = 3_000;
/// Delay of each write, in milliseconds.
const WRITE_MS: u64 = 400;
const EVERY: Duration = Duration::from_secs(1);
/// A collector of traces that refuses connections.
const NO_COLLECTOR: &str = "http://host.cluster.local:1";

/// What is 0 while a side works: the destination's key is disabled for it.
const OF_PAUSES: [&str; 3] = ["s3migration_side_paused", "s3migration_job_degraded", r#"condition="Degraded""#];
/// What is 0 before the end of the run: objects are given up after their attempts, its end is announced, and events come
/// after it.
const OF_THE_END: [&str; 6] = [
    "s3migration_event_objects",
    "s3migration_object_failures_total",
    "s3migration_object_retries_total",
    r#"s3migration_run_objects{result="failed""#,
    "s3migration_notifications_pending",
    "s3migration_notifications_total",
];
/// Expressions that may be 0 at all times, by a metric, each with the reason. Any other one must be greater once.
const MAY_BE_ZERO: [(&str, &str); 1] =
    [("s3migration_missed_schedules_total", "a schedule is missed after minutes; alerts.rs causes it")];

/// Every panel and variable shows something during a run that has limits, events, failures and a dead letter, is throttled,
/// and is paused for a while. No panel may be empty, and none may be 0 but those of [`MAY_BE_ZERO`].
pub async fn have_data(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&objects()).await?;
    events::users(case).await?;
    let prometheus = Prometheus::start(&case.cluster, &case.namespace).await?;
    let watched = watch(case, &prometheus).await;
    watched.and(proxies_as_before(case).await)?;
    scraped(case, &prometheus).await?;
    as_in_the_status(case, &prometheus).await?;
    prometheus.remove()
}

/// Returns objects that can be moved, one whose upload is refused (the first one, so that it has time for its attempts), and
/// one whose key is too long at the destination.
fn objects() -> Vec<Object> {
    let small = (0..OBJECTS).map(|number| (format!("in/{number:04}"), number as u64, SIZE));
    let moved = small.chain([("in/!large".to_owned(), OBJECTS as u64, LARGE)]);
    let moved = moved.map(|(key, seed, size)| Object::of_bytes(key, seeded::bytes(seed, size)));
    moved.chain([Object::of_bytes(edge_case_keys::longest("other/", "k"), "too long")]).collect()
}

async fn proxies_as_before(case: &Case) -> anyhow::Result<()> {
    let proxies = services::proxies();
    let refusals = proxies.refuse(&[]).await;
    let writes = proxies.delay(&case.destination, "PutObject", 0).await;
    refusals.and(writes).and(proxies.delay(&case.source, "ListObjectsV2", 0).await)
}

/// The destination throttles writes, and fails each upload in parts.
fn refusals(case: &Case) -> [Refusal; 2] {
    [("PutObject", Answer::SlowDown, 3), ("CreateMultipartUpload", Answer::InternalError, 10)].map(
        |(operation, answer, of_ten)| Refusal {
            bucket: case.destination.clone(),
            operation: operation.to_owned(),
            answer,
            of_ten,
        },
    )
}

async fn job(case: &Case) -> anyhow::Result<Value> {
    let mut job = events::job(case);
    job["spec"]["transfer"] = json!({
        "bandwidthLimit": "50M", "requestLimit": 500, "filesPerWorker": 8, "multipartThreshold": "5Mi", "maxAttempts": 2,
    });
    job["spec"]["scaling"]["maxReplicas"] = json!(2);
    job["spec"]["limits"] = json!({"cost": 1_000});
    job["spec"]["buckets"][1]["destinationPrefix"] = json!("longer-than-other/");
    job["spec"]["worker"] = json!({"env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": NO_COLLECTOR}]});
    job["spec"]["notify"] = missing_receiver(case).await?;
    Ok(job)
}

/// Starts the job, and waits until everything has shown something.
async fn watch(case: &mut Case, prometheus: &Prometheus) -> anyhow::Result<()> {
    start(case, prometheus).await?;
    let mut missing = prometheus.queries(&case.namespace, JOB)?;
    let all = missing.len();
    until_shown(prometheus, &mut missing, |query| is_of(query, &OF_PAUSES) || is_of(query, &OF_THE_END)).await?;
    let key = case.destination_key.clone().context("the case has no key")?;
    services::set_key(Service::Destination, &key, false)?;
    let paused = until_shown(prometheus, &mut missing, |query| is_of(query, &OF_THE_END)).await;
    services::set_key(Service::Destination, &key, true)?;
    paused?;
    until_shown(prometheus, &mut missing, |_| false).await?;
    case.note(format!("each of {all} expressions of the dashboard has had data"));
    for (metric, why) in MAY_BE_ZERO {
        case.note(format!("{metric} may be 0: {why}"));
    }
    Ok(())
}

/// Starts a run. Its listing is held from the beginning until Prometheus has seen the request: a jobsender that is not held
/// ends before Prometheus finds it.
async fn start(case: &mut Case, prometheus: &Prometheus) -> anyhow::Result<()> {
    let proxies = services::proxies();
    // Until the listing is held, so that it can't be over by then. The preflight must be able to list, and to upload.
    proxies.delay(&case.source, "ListObjectsV2", PAGE_MS).await?;
    proxies.delay(&case.destination, "PutObject", WRITE_MS).await?;
    case.apply(&job(case).await?).await?;
    checked(case, "True", RUN_LIMIT).await?;
    proxies.delay(&case.source, "ListObjectsV2", HELD_MS).await?;
    proxies.refuse(&refusals(case)).await?;
    dead_letter(case, Service::Source).await?;
    let held = format!(
        "s3migration_requests_in_flight{{container=\"jobsender\", side=\"source\", operation=\"list_objects\", \
         job_namespace=\"{}\"}} > 0",
        case.namespace
    );
    prometheus.until_true("Prometheus to read a jobsender that lists", &held, RUN_LIMIT).await?;
    proxies.delay(&case.source, "ListObjectsV2", PAGE_MS).await?;
    case.watch("a live run", RUN_LIMIT, async |job: Option<&Value>| {
        Ok(job.is_some_and(|job| job.pointer("/status/currentRun").is_some()).then_some(()))
    })
    .await?;
    // Its event belongs to no run.
    upload::put_all(&services::s3(Service::Source), &case.source, &[Object::of_bytes("in/late", "late")]).await
}

fn is_of(query: &Query, metrics: &[&str]) -> bool {
    metrics.iter().any(|metric| query.expression.contains(metric))
}

/// Evaluates expressions until only those are left that may be; keeps those that never showed anything.
async fn until_shown(
    prometheus: &Prometheus,
    missing: &mut Vec<Query>,
    may_be_left: impl Fn(&Query) -> bool,
) -> anyhow::Result<()> {
    let waited = until("data of all expressions", RUN_LIMIT, EVERY, async || {
        let mut left = Vec::new();
        for query in missing.drain(..) {
            if !shows(&query, &prometheus.query(&query.expression).await?) {
                left.push(query);
            }
        }
        *missing = left;
        Ok(missing.iter().all(&may_be_left).then_some(()))
    })
    .await;
    waited.with_context(|| format!("these never had data, or were 0 at all times: {missing:#?}"))
}

/// Returns true if the answer to an expression has a number that is not 0, or only a number if it may be 0, and the label
/// of its variable.
fn shows(query: &Query, samples: &[Sample]) -> bool {
    let may_be_zero = is_of(query, &MAY_BE_ZERO.map(|(metric, _)| metric));
    samples.iter().any(|sample| {
        let has = |label: &String| sample.labels.get(label).is_some_and(|value| !value.is_empty());
        sample.value.is_finite() && (sample.value > 0.0 || may_be_zero) && query.label.as_ref().is_none_or(has)
    })
}

/// Checks that the monitors find all programs, and that Prometheus has read each of them. One scrape that is missed matters
/// nothing.
async fn scraped(case: &mut Case, prometheus: &Prometheus) -> anyhow::Result<()> {
    let read = format!("count by (container) (max_over_time(up{{namespace=\"{}\"}}[30m]) == 1)", case.namespace);
    let read = prometheus.query(&read).await?;
    let mut programs: Vec<&str> =
        read.iter().filter_map(|sample| Some(sample.labels.get("container")?.as_str())).collect();
    programs.sort_unstable();
    for program in ["jobsender", "worker"] {
        ensure!(programs.contains(&program), "no {program} was read, but {programs:?}");
    }
    prometheus.until_operators_are_read().await?;
    case.note(format!("scraped through the chart's monitors: all operators, {}", programs.join(", ")));
    Ok(())
}

/// Checks that Prometheus has the numbers of the status at the end of the run.
async fn as_in_the_status(case: &mut Case, prometheus: &Prometheus) -> anyhow::Result<()> {
    let job = case.run_ended("PartiallyFailed", None, RUN_LIMIT).await?;
    let number = |name: &str| job.pointer(&format!("/status/progress/objects/{name}")).and_then(Value::as_u64);
    let mut words = Vec::new();
    for name in ["done", "failed"] {
        let expected = number(name).filter(|number| *number > 0).with_context(|| format!("nothing is {name}"))?;
        let expression = format!(
            "max(s3migration_run_objects{{result=\"{name}\", job_namespace=\"{}\", job_name=\"{JOB}\"}}) == {expected}",
            case.namespace
        );
        prometheus.until_true("Prometheus to have the status's number", &expression, RUN_LIMIT).await?;
        words.push(format!("{expected} objects {name}"));
    }
    case.note(format!("{}, in the status and in Prometheus", words.join(" and ")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64, label: &str) -> Sample {
        Sample { labels: [(label.to_owned(), "x".to_owned())].into(), value }
    }

    fn query(expression: &str, label: Option<&str>) -> Query {
        Query { title: "t".into(), expression: expression.into(), label: label.map(Into::into) }
    }

    #[test]
    fn a_number_that_is_always_zero_shows_nothing() {
        let traffic = query("sum(rate(s3migration_uploaded_bytes_total[5m]))", None);
        for (values, expected) in
            [(&[][..], false), (&[0.0], false), (&[f64::NAN, f64::INFINITY], false), (&[0.0, 0.5], true)]
        {
            let samples: Vec<_> = values.iter().map(|value| sample(*value, "side")).collect();
            assert_eq!(shows(&traffic, &samples), expected, "{values:?}");
        }
        let missed = query("sum(increase(s3migration_missed_schedules_total[1d]))", None);
        assert!(shows(&missed, &[sample(0.0, "side")]) && !shows(&missed, &[]));
        let variable = query("count by (job_name) (s3migration_job_phase)", Some("job_name"));
        assert!(shows(&variable, &[sample(1.0, "job_name")]) && !shows(&variable, &[sample(1.0, "side")]));
    }

    #[test]
    fn each_exception_is_of_an_expression_of_the_dashboard() {
        let text = std::fs::read_to_string(crate::paths::repository().join("charts/s3-migration/files/dashboard.json"));
        let dashboard: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let queries = crate::prometheus::queries(&dashboard, "media", "photos").unwrap();
        for metric in OF_PAUSES.into_iter().chain(OF_THE_END).chain(MAY_BE_ZERO.map(|(metric, _)| metric)) {
            assert!(queries.iter().any(|query| is_of(query, &[metric])), "{metric} is of no expression");
        }
        let zero = queries.iter().filter(|query| is_of(query, &MAY_BE_ZERO.map(|(metric, _)| metric))).count();
        assert_eq!((queries.len() > 50, zero), (true, 1), "expressions that may be 0");
    }
}
