//! The drivers of `spec.scaling`, with the real KEDA and Kubernetes' own `HorizontalPodAutoscaler`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use super::migration::totals;
use crate::autoscalers::{self, History, install_keda, only, run_keda, scaling, there};
use crate::case::{Case, JOB, MOST_WORKERS, RUN_LIMIT};
use crate::logs::OPERATOR_NAMESPACE;
use crate::services::{self, REGION, Service};
use crate::tree::{Object, bytes_of};
use crate::wait::until;

const SOON: Duration = Duration::from_mins(2);
/// The operator stops the workers itself where an autoscaler has not done it for a minute.
const OVERDUE: Duration = Duration::from_mins(3);
/// The objects of the driver Keda, and of the driver Hpa.
const OF_KEDA: [&str; 3] =
    ["ScaledObject/job-worker", "TriggerAuthentication/job-worker", "HorizontalPodAutoscaler/keda-hpa-job-worker"];
const OF_HPA: [&str; 1] = ["HorizontalPodAutoscaler/job-worker"];
/// `transfer.filesPerWorker` of these cases.
const FILES_PER_WORKER: usize = 8;
/// Name of the Deployment and the `ScaledObject` through which KEDA serves the metric of the driver Hpa.
const METER: &str = "meter";

/// As many objects as fill twelve batches, which are work for more than the most workers.
fn objects() -> Vec<Object> {
    (0..3_000).map(|number| Object::of_bytes(format!("{number:04}"), format!("{number}"))).collect()
}

/// Fills the source, and makes writes slow.
async fn prepare(case: &mut Case, millis: u64) -> anyhow::Result<Vec<Object>> {
    let objects = objects();
    case.prepare(&objects).await?;
    services::proxies().delay(&case.destination, "PutObject", millis).await?;
    Ok(objects)
}

/// Returns the case's job with a driver.
fn job_with(case: &Case, scaling: &Value) -> Value {
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"filesPerWorker": FILES_PER_WORKER});
    for (name, value) in scaling.as_object().into_iter().flatten() {
        job["spec"]["scaling"][name] = value.clone();
    }
    job
}

fn keda() -> Value {
    json!({"driver": "Keda", "keda": {"pollingIntervalSeconds": 2}, "metric": null, "replicas": null})
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}

/// KEDA scales from nothing to the most workers and back, by what the operator made; suspends; and leaves nothing.
pub async fn keda_scales(case: &mut Case) -> anyhow::Result<()> {
    install_keda(&case.cluster).await?;
    let objects = prepare(case, 200).await?;
    let began = Instant::now();
    case.apply(&without_nulls(&job_with(case, &keda()))).await?;
    let history = History::start(case);
    let first = history.reached("a first worker", began, SOON, |number| number > 0).await?;
    let most = i32::try_from(MOST_WORKERS)?;
    let all = history.reached("the most workers", began, SOON, |number| number == most).await?;
    scaling(case, "AutoscalerActive", SOON).await?;
    only(case, &OF_KEDA, SOON).await?;
    pause_and_go_on(case, &history).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let complete = Instant::now();
    totals(&job, 3_000, bytes_of(&objects))?;
    let zero = history.reached("no workers", complete, SOON, |number| number == 0).await?;
    case.note(format!(
        "KEDA: first worker {:.1} s after apply, {most} after {:.1} s, none {:.1} s after Complete",
        seconds(began, first),
        seconds(began, all),
        seconds(complete, zero)
    ));
    case.note(format!("workers {}", history.without_fight()?));
    case.note(format!("{} objects written more than once, as workers were stopped", written_again(case).await?));
    case.note(case.check("")?);
    deleted_without_orphans(case, SOON).await
}

/// Returns the number of objects that were written more than once: those that a worker was in the middle of when it was
/// stopped, which are few, since what it had received and not begun is given back.
async fn written_again(case: &Case) -> anyhow::Result<usize> {
    let events = case.events(Service::Destination, None).await?;
    let mut writes: BTreeMap<&str, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.request.operation == "PutObject" && event.status == Some(200)) {
        *writes.entry(event.request.key.as_str()).or_default() += 1;
    }
    let again = writes.values().filter(|number| **number > 1).count();
    ensure!(again <= MOST_WORKERS * FILES_PER_WORKER, "{again} objects were written more than once");
    Ok(again)
}

/// Suspends the job, which KEDA carries out, and resumes it.
async fn pause_and_go_on(case: &mut Case, history: &History) -> anyhow::Result<()> {
    let began = Instant::now();
    case.patch_spec(&json!({"suspend": true})).await?;
    let stopped = history.reached("no workers while suspended", began, SOON, |number| number == 0).await?;
    let object = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "job-worker"}});
    let found = case.cluster.find(&case.namespace, &object).await?.context("the ScaledObject is gone")?;
    let paused = found.annotations().get("autoscaling.keda.sh/paused-replicas").map(String::as_str);
    ensure!(paused == Some("0"), "the ScaledObject is not paused at 0: {paused:?}");
    scaling(case, "SuspendedByUser", SOON).await?;
    case.patch_spec(&json!({"suspend": false})).await?;
    let resumed = Instant::now();
    let again = history.reached("workers again", resumed, SOON, |number| number > 0).await?;
    case.note(format!(
        "suspended: no workers wanted after {:.1} s; resumed: the first after {:.1} s",
        seconds(began, stopped),
        seconds(resumed, again)
    ));
    Ok(())
}

/// Without KEDA's operator, the job is suspended and deleted by the migration's own.
pub async fn keda_gone(case: &mut Case) -> anyhow::Result<()> {
    install_keda(&case.cluster).await?;
    prepare(case, 400).await?;
    case.apply(&without_nulls(&job_with(case, &keda()))).await?;
    let history = History::start(case);
    history.reached("a first worker", Instant::now(), SOON, |number| number > 0).await?;
    scaling(case, "AutoscalerActive", SOON).await?;
    run_keda(&case.cluster, false).await?;
    let result = suspended_and_deleted(case, &history).await;
    // The other cases need KEDA, whatever the result.
    run_keda(&case.cluster, true).await?;
    result
}

async fn suspended_and_deleted(case: &mut Case, history: &History) -> anyhow::Result<()> {
    let began = Instant::now();
    case.patch_spec(&json!({"suspend": true})).await?;
    let stopped = history.reached("no workers without KEDA", began, OVERDUE, |number| number == 0).await?;
    let waited = seconds(began, stopped);
    ensure!(waited > 50.0, "KEDA was given {waited:.1} s only");
    let began = Instant::now();
    deleted_without_orphans(case, OVERDUE).await?;
    case.note(format!(
        "without KEDA: 0 workers {waited:.1} s after suspension, deleted {:.1} s after kubectl delete",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// A `HorizontalPodAutoscaler` scales by an external metric, which KEDA serves here.
pub async fn hpa_scales(case: &mut Case) -> anyhow::Result<()> {
    install_keda(&case.cluster).await?;
    let objects = prepare(case, 200).await?;
    let metric = metered(case).await?;
    let scaling_of = json!({"driver": "Hpa", "metric": metric});
    let began = Instant::now();
    case.patch_spec(&json!({"suspend": false, "scaling": scaling_of})).await?;
    let history = History::start(case);
    let first = history.reached("a first worker", began, SOON, |number| number > 0).await?;
    let most = i32::try_from(MOST_WORKERS)?;
    let all = history.reached("the most workers", began, SOON, |number| number == most).await?;
    gauges(case, |backlog, wanted| backlog > 0 && wanted > 0).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let complete = Instant::now();
    totals(&job, 3_000, bytes_of(&objects))?;
    let reason = until("the condition ScalingActive to hold", SOON, Duration::from_millis(500), async || {
        let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
        let found = crate::kubernetes::condition(&job, "ScalingActive");
        Ok(found.filter(|(status, _, _)| *status == "True").map(|(_, reason, _)| reason.to_owned()))
    })
    .await?;
    let least = i32::from(reason == "MinReplicasRaised");
    let zero = history.reached("the least workers", complete, SOON, |number| number == least).await?;
    gauges(case, |backlog, wanted| (backlog, wanted) == (0, 0)).await?;
    case.note(format!(
        "HorizontalPodAutoscaler: first worker after {:.1} s, {most} after {:.1} s, {least} {:.1} s after Complete ({reason})",
        seconds(began, first),
        seconds(began, all),
        seconds(complete, zero)
    ));
    again_from_zero(case, &history).await?;
    case.note(format!("workers {}", history.without_fight()?));
    case.note(case.check("")?);
    deleted_without_orphans(case, SOON).await
}

/// Another run is begun by the `HorizontalPodAutoscaler` alone, where it had scaled to zero.
async fn again_from_zero(case: &mut Case, history: &History) -> anyhow::Result<()> {
    let more: Vec<Object> = (0..300).map(|number| Object::of_bytes(format!("more/{number}"), "more")).collect();
    crate::tree::upload::put_all(&services::s3(Service::Source), &case.source, &more).await?;
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
    let before = job.pointer("/status/lastRun/id").and_then(Value::as_str).map(str::to_owned);
    let began = Instant::now();
    case.patch_spec(&json!({"trigger": {"manual": "again"}})).await?;
    let up = history.reached("workers again", began, SOON, |number| number > 0).await?;
    case.run_ended("Complete", before.as_deref(), RUN_LIMIT).await?;
    case.note(format!("from zero again: the first worker {:.1} s after the run was requested", seconds(began, up)));
    Ok(())
}

/// Creates the job, suspended, and what serves the length of its queue as a metric. Returns the metric.
async fn metered(case: &Case) -> anyhow::Result<Value> {
    let mut job = job_with(case, &json!({}));
    job["spec"]["suspend"] = json!(true);
    case.apply(&job).await?;
    let url = case
        .watch("the job's queue", SOON, async |job: Option<&Value>| {
            let url = job.and_then(|job| job.pointer("/status/resources/queueUrl")).and_then(Value::as_str);
            Ok(url.map(str::to_owned))
        })
        .await?;
    let name = url.rsplit('/').next().context("the queue has no name")?;
    let target = json!({"name": METER});
    let trigger = json!({
        "type": "aws-sqs-queue", "authenticationRef": {"name": METER},
        "metadata": {
            "queueURL": url, "awsRegion": REGION, "awsEndpoint": Service::Control.endpoint_of_pods(), "queueLength": "1",
            "scaleOnInFlight": "true", "scaleOnDelayed": "true",
        },
    });
    let key = |parameter: &str, key: &str| json!({"parameter": parameter, "name": "control-keys", "key": key});
    let keys = [key("awsAccessKeyID", "AWS_ACCESS_KEY_ID"), key("awsSecretAccessKey", "AWS_SECRET_ACCESS_KEY")];
    let selector = json!({"app": METER});
    // Its pods need not start: only its ScaledObject is needed, which needs a target.
    let pod =
        json!({"metadata": {"labels": selector}, "spec": {"containers": [{"name": "meter", "image": "meter:none"}]}});
    let deployment = json!({"replicas": 0, "selector": {"matchLabels": selector}, "template": pod});
    let scaled = json!({"scaleTargetRef": target, "maxReplicaCount": 1, "pollingInterval": 2, "triggers": [trigger]});
    for (version, kind, spec) in [
        ("apps/v1", "Deployment", deployment),
        ("keda.sh/v1alpha1", "TriggerAuthentication", json!({"secretTargetRef": keys})),
        ("keda.sh/v1alpha1", "ScaledObject", scaled),
    ] {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": METER}, "spec": spec});
        case.cluster.apply(&case.namespace, &object).await?;
    }
    Ok(json!({
        "name": format!("s0-aws-sqs-{name}"), "averageValue": 2,
        "selector": {"matchLabels": {"scaledobject.keda.sh/name": METER}},
    }))
}

/// Waits until the operator's own metrics of the job are as expected.
async fn gauges(case: &Case, is_expected: impl Fn(u64, u64) -> bool) -> anyhow::Result<()> {
    let mut last = String::new();
    let waited = until("the operator's metrics", SOON, Duration::from_millis(500), async || {
        last = metrics(case).await?;
        let value = |name: &str| {
            let start = format!("{name}{{job_namespace=\"{}\",job_name=\"{JOB}\"}} ", case.namespace);
            last.lines().find_map(|line| line.strip_prefix(start.as_str())?.parse::<u64>().ok())
        };
        let numbers = value("s3migration_queue_backlog_messages").zip(value("s3migration_workers_wanted"));
        Ok(numbers.filter(|(backlog, wanted)| is_expected(*backlog, *wanted)).map(drop))
    });
    waited.await.with_context(|| format!("the last were\n{last}"))
}

/// Returns the metrics of the operator that leads, through the API server.
async fn metrics(case: &Case) -> anyhow::Result<String> {
    for pod in case.cluster.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/name=s3-migration").await? {
        let name = pod.name_any();
        let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{name}:8080/proxy/metrics");
        let request = hyper::Request::get(path).body(Vec::new())?;
        // A pod that has ended does not answer.
        let Ok(text) = case.cluster.client().request_text(request).await else { continue };
        if text.lines().any(|line| line == "s3migration_leader 1") {
            return Ok(text);
        }
    }
    anyhow::bail!("no operator leads")
}

/// Drivers change twice while objects move: nobody fights over the number, nothing is left, and the run is complete.
pub async fn drivers_change(case: &mut Case) -> anyhow::Result<()> {
    install_keda(&case.cluster).await?;
    let objects = prepare(case, 1_000).await?;
    let metric = metered(case).await?;
    case.patch_spec(&json!({"suspend": false})).await?;
    let history = History::start(case);
    history.reached("workers of the operator", Instant::now(), SOON, |number| number > 0).await?;
    let hpa = json!({"driver": "Hpa", "metric": metric, "keda": null, "replicas": null});
    let operator = json!({"driver": "Operator", "metric": null, "keda": null, "replicas": null});
    let fixed = json!({"driver": "Fixed", "replicas": 2, "metric": null, "keda": null});
    let rounds: [(&str, Value, &[&str]); 4] =
        [("Keda", keda(), &OF_KEDA), ("Hpa", hpa, &OF_HPA), ("Fixed", fixed, &[]), ("Operator", operator, &[])];
    for (driver, scaling_of, expected) in rounds.iter().chain(&rounds) {
        let began = Instant::now();
        case.patch_spec(&json!({"scaling": scaling_of})).await?;
        only(case, expected, SOON).await.with_context(|| format!("driver {driver}"))?;
        if !expected.is_empty() {
            scaling(case, "AutoscalerActive", SOON).await?;
        }
        case.note(format!("{driver} after {:.1} s", began.elapsed().as_secs_f64()));
    }
    let running = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
    ensure!(running.pointer("/status/currentRun").is_some(), "the run ended before the drivers had changed twice");
    services::proxies().delay(&case.destination, "PutObject", 0).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, 3_000, bytes_of(&objects))?;
    history.reached("no workers", Instant::now(), SOON, |number| number == 0).await?;
    case.note(format!("workers {}", history.without_fight()?));
    case.note(case.check("")?);
    deleted_without_orphans(case, SOON).await
}

/// The operator scales by itself: from the request of a run to the first object, and from the last one to no workers.
pub async fn operator_scales(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("first", "first")]).await?;
    case.apply(&case.job()).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let history = History::start(case);
    history.reached("no workers", Instant::now(), SOON, |number| number == 0).await?;
    let before = job.pointer("/status/lastRun/id").and_then(Value::as_str).map(str::to_owned);
    let more: Vec<Object> = (0..300).map(|number| Object::of_bytes(format!("more/{number}"), "more")).collect();
    crate::tree::upload::put_all(&services::s3(Service::Source), &case.source, &more).await?;
    let (since, asked) = (services::proxies().next().await?, SystemTime::now());
    case.patch_spec(&json!({"trigger": {"manual": "again"}})).await?;
    case.run_ended("Complete", before.as_deref(), RUN_LIMIT).await?;
    let (complete, at) = (Instant::now(), SystemTime::now());
    let zero = history.reached("no workers again", complete, SOON, |number| number == 0).await?;
    let events = case.events(Service::Destination, Some(since)).await?;
    let puts = events.iter().filter(|event| event.request.operation == "PutObject" && event.status == Some(200));
    let mut times: Vec<SystemTime> = puts.filter_map(|event| event.answered).collect();
    times.sort();
    let (first, last) = times.first().zip(times.last()).context("nothing was written")?;
    let from_last = at.duration_since(*last)?.as_secs_f64();
    case.note(format!(
        "idle: first object {:.1} s after the request of a run; Complete {from_last:.1} s and no workers {:.1} s after the last \
         object (scaleDownDelaySeconds 5)",
        first.duration_since(asked)?.as_secs_f64(),
        from_last + seconds(complete, zero)
    ));
    case.note(case.check("")?);
    Ok(())
}

/// Deletes the job; nothing that scaled its workers is left.
async fn deleted_without_orphans(case: &Case, limit: Duration) -> anyhow::Result<()> {
    case.delete_job(limit).await?;
    until("nothing of the job's to be left", SOON, Duration::from_millis(500), async || {
        Ok(autoscalers::there(case).await?.is_empty().then_some(()))
    })
    .await
    .with_context(|| "objects were orphaned")?;
    let left = there(case).await?;
    ensure!(left.is_empty(), "left: {left:?}");
    let deployments: Api<DynamicObject> =
        case.cluster.api_of(&case.namespace, &json!({"apiVersion": "apps/v1", "kind": "Deployment"}))?;
    until("the workers to be gone", SOON, Duration::from_millis(500), async || {
        Ok(deployments.get_opt(&format!("{JOB}-worker")).await?.is_none().then_some(()))
    })
    .await
}

/// Removes members that are null, which a merge patch needs and an apply does not take.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        other => other.clone(),
    }
}
