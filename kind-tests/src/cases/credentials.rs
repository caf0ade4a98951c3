//! Credentials that are wrong from the start, and credentials that stop working during a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::{condition, restarts};
use crate::logs::OPERATOR_NAMESPACE;
use crate::services::{self, AccessKey, Service};
use crate::tree::{Amount, Object, bytes_of, select};

use super::migration::totals;
use crate::wait::until;

/// Time limit for a job to report a problem.
const SAYS_SO: Duration = Duration::from_secs(30);
/// A Secret reaches running pods within the kubelet's sync period of about a minute.
const GOES_ON: Duration = Duration::from_mins(4);

/// Wrong destination credentials from the start.
pub async fn wrong_from_the_start(case: &mut Case) -> anyhow::Result<()> {
    let objects = [Object::of_bytes("a", "a"), Object::of_bytes("b", "b")];
    case.prepare(&objects).await?;
    let key = case.destination_key.clone().context("the case has no key")?;
    case.put_keys("destination-keys", &AccessKey { secret: "wrong".into(), ..key.clone() }).await?;
    let began = Instant::now();
    case.apply(&case.job()).await?;
    let message = case.degraded("DestinationCredentialsInvalid", SAYS_SO).await?;
    says(case, &message, "SignatureDoesNotMatch", began)?;
    let before = everyone(case).await?;
    case.put_keys("destination-keys", &key).await?;
    let job = case.run_ended("Complete", None, GOES_ON).await?;
    totals(&job, 2, bytes_of(&objects))?;
    nobody_restarted(case, &before).await?;
    case.note(case.check("")?);
    Ok(())
}

/// The destination's access key is disabled during a run.
pub async fn broken_in_the_middle(case: &mut Case) -> anyhow::Result<()> {
    let amount = Amount { files: 400, bytes: 0, large: 1 };
    let objects: Vec<Object> = select::tree(amount)?.into_iter().filter(|o| o.size < 1 << 20).collect();
    let kept: Vec<&Object> = objects.iter().filter(|o| !select::ignored(&o.key)).collect();
    case.prepare(&objects).await?;
    services::proxies().delay(&case.destination, "PutObject", 500).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"filesPerWorker": 4});
    case.apply(&job).await?;
    until("objects to be moved", RUN_LIMIT, Duration::from_millis(100), async || {
        let events = case.events(Service::Destination, None).await?;
        Ok((events.iter().filter(|e| e.status == Some(200) && e.request.operation == "PutObject").count() >= 40)
            .then_some(()))
    })
    .await?;
    let key = case.destination_key.clone().context("the case has no key")?;
    let used = receives(case).await?;
    services::set_key(Service::Destination, &key, false)?;
    let began = Instant::now();
    let message = case.degraded("DestinationCredentialsInvalid", SAYS_SO).await?;
    says(case, &message, "InvalidAccessKeyId", began)?;
    let before = everyone(case).await?;
    // Longer than the visibility time-out of one minute: messages that are not extended would be received again.
    hold(case, Duration::from_secs(90)).await?;
    let after = receives(case).await?;
    let most = rise(&used, &after)?;
    case.note(format!("{} messages were received at most {most} times more while it was broken", after.len()));
    services::proxies().delay(&case.destination, "PutObject", 0).await?;
    let name = format!("{}-2", case.namespace);
    let new = services::create_user(Service::Destination, &name, &services::destination_policy(&case.destination))?;
    case.put_keys("destination-keys", &new).await?;
    let began = Instant::now();
    let job = case.run_ended("Complete", None, GOES_ON).await?;
    case.note(format!("Complete {:.1} s after the Secret was corrected", began.elapsed().as_secs_f64()));
    totals(&job, kept.len() as u64, kept.iter().map(|o| o.size).sum())?;
    nobody_restarted(case, &before).await?;
    case.note(case.check("")?);
    Ok(())
}

fn says(case: &mut Case, message: &str, error: &str, began: Instant) -> anyhow::Result<()> {
    for word in [case.destination.as_str(), error] {
        ensure!(message.contains(word), "the message does not name {word}: {message}");
    }
    let seconds = began.elapsed().as_secs_f64();
    case.note(format!("Degraded after {seconds:.1} s, DestinationCredentialsInvalid: {message}"));
    Ok(())
}

/// Checks that the job stays Degraded for a time.
async fn hold(case: &Case, time: Duration) -> anyhow::Result<()> {
    let ends = case.watch("nothing", time, async |job: Option<&Value>| {
        let job = job.context("the job is gone")?;
        let degraded = condition(job, "Degraded").is_some_and(|(status, ..)| status == "True");
        Ok((!degraded).then(|| job["status"].clone()))
    });
    match ends.await {
        Ok(status) => anyhow::bail!("the job did not stay Degraded: {status:#}"),
        Err(_) => Ok(()),
    }
}

/// Returns the number of receives of each message in the job's queue, without receiving them.
async fn receives(case: &Case) -> anyhow::Result<BTreeMap<String, u64>> {
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
    let url = job.pointer("/status/resources/queueUrl").and_then(Value::as_str).context("the status names no queue")?;
    let url = utf8_percent_encode(url, NON_ALPHANUMERIC);
    let address = format!("{}/_ministack/sqs/messages?QueueUrl={url}", Service::Control.endpoint());
    let client: Client<_, crate::proxy::Body> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(address.parse()?).await?.into_body().collect().await?.to_bytes();
    let answer: Value = serde_json::from_slice(&answer).context("failed to read the queue's messages")?;
    let accounts = answer["messages"].as_object().context("the service names no messages")?;
    let regions = accounts.values().filter_map(Value::as_object).flat_map(serde_json::Map::values);
    let queues = regions.filter_map(Value::as_object).flat_map(serde_json::Map::values);
    let messages = queues.filter_map(Value::as_array).flatten();
    Ok(messages.filter_map(|m| Some((m["MessageId"].as_str()?.to_owned(), m["ReceiveCount"].as_u64()?))).collect())
}

fn rise(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> anyhow::Result<u64> {
    ensure!(!after.is_empty(), "no message was left in the queue: the key broke too late to show anything");
    let rises = after.iter().map(|(id, n)| n.saturating_sub(before.get(id).copied().unwrap_or(0)));
    let most = rises.max().unwrap_or(0);
    ensure!(most <= 1, "messages were used up: received {most} times more; before {before:?}, after {after:?}");
    Ok(most)
}

/// Returns the restarts of the operator's and the job's containers, by name.
async fn everyone(case: &Case) -> anyhow::Result<BTreeMap<String, i32>> {
    let mut pods = case.cluster.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator").await?;
    pods.extend(case.cluster.pods(&case.namespace, "s3migration.dev/job").await?);
    Ok(restarts(&pods).into_iter().collect())
}

/// Checks that no remaining container was restarted, and that the operator and a pod of the job are among them.
async fn nobody_restarted(case: &mut Case, before: &BTreeMap<String, i32>) -> anyhow::Result<()> {
    let after = everyone(case).await?;
    let stayed: BTreeMap<_, _> = before.iter().filter(|(name, _)| after.contains_key(*name)).collect();
    for (name, count) in &stayed {
        ensure!(after.get(*name) == Some(*count), "{name} was restarted: {count} before, {:?} after", after.get(*name));
    }
    let operator = stayed.keys().any(|name| name.starts_with("s3-migration"));
    ensure!(operator && stayed.len() >= 2, "pods were replaced: {before:?} before, {after:?} after");
    case.note(format!("{} pods went on without a restart", stayed.len()));
    Ok(())
}
