//! Edits during a run, and jobs that conflict outside of the cluster.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::services::{self, REGION, Service};
use crate::tree::{Object, bytes_of, upload};
use crate::wait::until;

use super::migration::totals;

const OBJECTS: usize = 60;
const SAYS_SO: Duration = Duration::from_secs(30);
const OTHER: &str = "other";

fn objects() -> Vec<Object> {
    (0..OBJECTS).map(|n| Object::of_bytes(format!("k/{n:03}"), format!("content {n}"))).collect()
}

/// Returns the number of keys in a bucket.
async fn keys(side: Service, bucket: &str) -> anyhow::Result<usize> {
    let found = services::s3(side).list_objects_v2().bucket(bucket).send().await?;
    Ok(found.contents().len())
}

/// A run keeps the source and destination that it started with: none of its objects goes to another service.
pub async fn sides_under_way(case: &mut Case) -> anyhow::Result<()> {
    let objects = objects();
    case.prepare(&objects).await?;
    let elsewhere = elsewhere(case).await?;
    services::proxies().delay(&case.destination, "PutObject", 700).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"filesPerWorker": 2});
    case.apply(&job).await?;
    let name = &case.destination.clone();
    until("objects to be moved", RUN_LIMIT, Duration::from_millis(100), async || {
        Ok((keys(Service::Destination, name).await? >= 5).then_some(()))
    })
    .await?;
    case.patch_spec(&json!({"destination": elsewhere, "filters": {"ignore": ["*/k/000"]}})).await?;
    let text = case
        .watch("the edit to be put off", SAYS_SO, async |job: Option<&Value>| {
            let message = job.and_then(|job| condition(job, "Progressing")).map(|(_, _, message)| message.to_owned());
            Ok(message.filter(|message| message.contains("spec.destination: endpoint")))
        })
        .await?;
    case.note(format!("Progressing: {text}"));
    let moved = keys(Service::Destination, name).await?;
    ensure!(moved < OBJECTS, "the edit came too late: {moved} objects were moved");
    let first = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&first, OBJECTS as u64, bytes_of(&objects))?;
    ensure!(keys(Service::Source, name).await? == 0, "objects of the run went to the other service");
    case.note(format!("edited after {moved} objects: {}", case.check("")?));
    // The edited filter and sides apply to the next run.
    case.patch_spec(&json!({"trigger": {"manual": "next"}})).await?;
    let before = first.pointer("/status/lastRun/id").and_then(Value::as_str);
    case.run_ended("Complete", before, RUN_LIMIT).await?;
    let there = keys(Service::Source, name).await?;
    ensure!(there == OBJECTS - 1, "the next run left {there} objects at the new place");
    case.note("the next run moved all of it to the new place");
    configurations(case).await?;
    upload::delete_bucket(&services::s3(Service::Source), name).await
}

/// Returns a bucket with the destination's name at another service, and its connection settings.
async fn elsewhere(case: &Case) -> anyhow::Result<Value> {
    upload::create_bucket(&services::s3(Service::Source), &case.destination).await?;
    let user = format!("{}-elsewhere", case.namespace);
    let key = services::create_user(Service::Source, &user, &services::destination_policy(&case.destination))?;
    case.put_keys("elsewhere-keys", &key).await?;
    let keys = json!({"secretRef": {"name": "elsewhere-keys"}});
    Ok(json!({
        "region": REGION, "endpoint": Service::Source.endpoint_of_pods(), "pathStyle": true, "credentials": keys,
    }))
}

/// Checks that every configuration is immutable and named by its content, and that the workers' one exists.
async fn configurations(case: &mut Case) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(case.cluster.client(), &case.namespace);
    let labels = ListParams::default().labels("app.kubernetes.io/component=config");
    let maps = api.list(&labels).await?.items;
    ensure!(maps.len() >= 2, "{} configurations are left of two", maps.len());
    let mutable: Vec<_> =
        maps.iter().filter(|map| map.immutable != Some(true)).map(|map| map.meta().name.clone()).collect();
    ensure!(mutable.is_empty(), "configurations that can change: {mutable:?}");
    let workers = case.cluster.worker_deployment(&case.namespace).await?;
    let volumes = workers.spec.template.spec.and_then(|pod| pod.volumes).unwrap_or_default();
    let shown: Vec<_> = volumes.into_iter().filter_map(|volume| Some(volume.config_map?.name)).collect();
    ensure!(maps.iter().any(|map| shown.contains(&map.name_any())), "the workers' {shown:?} is none of them");
    case.note(format!("{} configurations, all immutable", maps.len()));
    Ok(())
}

/// A run that can't reach its destination any more is replaced by a run with the corrected spec on request.
pub async fn mended_under_way(case: &mut Case) -> anyhow::Result<()> {
    let objects = objects();
    case.prepare(&objects).await?;
    services::proxies().delay(&case.destination, "PutObject", 700).await?;
    let (forward, endpoint) = forward_to_destination().await?;
    let mut job = case.job();
    let right = std::mem::replace(&mut job["spec"]["destination"]["endpoint"], json!(endpoint));
    job["spec"]["transfer"] = json!({"filesPerWorker": 2});
    case.apply(&job).await?;
    let name = &case.destination.clone();
    until("objects to be moved", RUN_LIMIT, Duration::from_millis(100), async || {
        Ok((keys(Service::Destination, name).await? >= 5).then_some(()))
    })
    .await?;
    // Nothing listens on the port from here on, and its connections break.
    drop(forward);
    case.watch("a run to be live", SAYS_SO, async |job: Option<&Value>| {
        Ok(job.is_some_and(|job| job.pointer("/status/currentRun").is_some()).then_some(()))
    })
    .await?;
    let moved = keys(Service::Destination, name).await?;
    ensure!(moved < OBJECTS, "the destination was cut off too late: {moved} objects were moved");
    services::proxies().delay(&case.destination, "PutObject", 0).await?;
    case.patch_spec(&json!({"destination": {"endpoint": right}, "trigger": {"manual": "mended"}})).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let started = job.pointer("/status/runsStarted").and_then(Value::as_u64);
    ensure!(started == Some(2), "{started:?} runs were started");
    let progress = &job["status"]["progress"]["objects"];
    let [total, done] = ["total", "done"].map(|count| progress[count].as_u64());
    // Objects whose requests were under way at the cut may have arrived.
    ensure!(total == done && (1..=(OBJECTS - moved) as u64).contains(&done.unwrap_or_default()), "{progress:#}");
    case.note(format!("cut off after {moved} objects; the next run moved {}", done.unwrap_or_default()));
    case.note(case.check("")?);
    Ok(())
}

/// Returns a way to the destination through a port of its own, until it is dropped, and its URL for pods.
async fn forward_to_destination() -> anyhow::Result<(JoinSet<()>, String)> {
    let host = services::host_address()?;
    let to = Service::Destination.endpoint_of_pods();
    let to: u16 = to.rsplit(':').next().context("an endpoint has no port")?.parse()?;
    let listener = TcpListener::bind((host, 0)).await.context("failed to listen on the machine's address")?;
    let endpoint = format!("http://{}:{}", services::HOST, listener.local_addr()?.port());
    let mut forward = JoinSet::new();
    forward.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut to = TcpStream::connect((host, to)).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    Ok((forward, endpoint))
}

/// Two jobs with the same queue report it. The older one works; the younger one works once it is alone.
pub async fn one_queue(case: &mut Case) -> anyhow::Result<()> {
    let objects = objects();
    case.prepare(&objects).await?;
    let (url, dead) = queue(&case.namespace).await?;
    services::proxies().delay(&case.destination, "PutObject", 300).await?;
    let mut first = case.job();
    first["spec"]["queue"]["url"] = json!(url);
    case.apply(&first).await?;
    // The API server stores creation times in whole seconds.
    let made = std::time::Instant::now();
    until("the next second", SAYS_SO, Duration::from_millis(100), async || {
        Ok((made.elapsed() > Duration::from_secs(1)).then_some(()))
    })
    .await?;
    let mut second = first.clone();
    second["metadata"]["name"] = json!(OTHER);
    case.apply(&second).await?;
    for (name, word) in [(OTHER, "younger and waits"), (JOB, "older and works on")] {
        let message = shared(case, name).await?;
        ensure!(message.contains(word), "{name}: {message}");
        case.note(format!("{name}: {message}"));
    }
    let done = async |job: Option<&Value>| {
        let last = job.and_then(|job| job.pointer("/status/lastRun/result")).and_then(Value::as_str);
        Ok(last.map(str::to_owned))
    };
    let result = case.cluster.watch_job(&case.namespace, JOB, "the older one's run to end", RUN_LIMIT, done).await?;
    ensure!(result == "Complete", "the older one's run ended {result}");
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(OTHER).await?)?;
    ensure!(job.pointer("/status/lastRun").is_none(), "the younger one has worked: {:#}", job["status"]);
    case.note(case.check("")?);
    case.delete_job(Duration::from_mins(2)).await?;
    let result = case.cluster.watch_job(&case.namespace, OTHER, "the other one's run to end", RUN_LIMIT, done).await?;
    ensure!(result == "Complete", "the younger one's run ended {result}");
    let letters = services::sqs().receive_message().queue_url(&dead).send().await?;
    ensure!(letters.messages().is_empty(), "messages went to the dead letters: {letters:?}");
    case.delete(OTHER, Duration::from_mins(2)).await
}

/// Waits until a job reports that its queue is shared.
async fn shared(case: &Case, name: &str) -> anyhow::Result<String> {
    let check = async |job: Option<&Value>| {
        let found = job.and_then(|job| condition(job, "Degraded"));
        Ok(found.filter(|(_, reason, _)| *reason == "QueueShared").map(|(_, _, message)| message.to_owned()))
    };
    case.cluster.watch_job(&case.namespace, name, "QueueShared", SAYS_SO, check).await
}

/// Creates a queue with a dead letter queue. Returns the queue's URL for pods and the dead letter queue's URL for the
/// tests.
async fn queue(name: &str) -> anyhow::Result<(String, String)> {
    let sqs = services::sqs();
    let dead = sqs.create_queue().queue_name(format!("{name}-dead")).send().await?;
    let dead = dead.queue_url().context("the queue has no URL")?.to_owned();
    let arn = sqs.get_queue_attributes().queue_url(&dead).attribute_names("QueueArn".into()).send().await?;
    let arn = arn.attributes().and_then(|all| all.values().next()).context("the queue has no ARN")?.clone();
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": "60"}).to_string();
    let made = sqs.create_queue().queue_name(name).attributes("RedrivePolicy".into(), policy).send().await?;
    let url = made.queue_url().context("the queue has no URL")?;
    let path = url.splitn(4, '/').nth(3).context("the queue's URL has no path")?;
    Ok((format!("{}/{path}", Service::Control.endpoint_of_pods()), dead))
}
