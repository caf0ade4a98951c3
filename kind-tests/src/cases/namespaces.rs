//! A namespace is deleted with the job in it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::{Event, Namespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use super::deletion::{Outside, open_uploads};
use super::events;
use super::races::operators_are_ready;
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::logs::OPERATOR_NAMESPACE;
use crate::services::{self, Service};
use crate::tree::{Object, upload};
use crate::wait::until;

/// `worker.terminationGracePeriodSeconds` of the job.
const GRACE: u64 = 30;
/// Delay of a part in milliseconds: longer than a worker may take to end.
const SLOW_PART: u64 = 300_000;
/// Time limit for the namespace to be gone: the grace period of its workers, a change of leaders, and what Kubernetes
/// waits between two looks.
const GONE: Duration = Duration::from_mins(3);
const EVERY: Duration = Duration::from_millis(100);
/// Where Kubernetes keeps events about objects without a namespace.
const EVENTS_OF_CLUSTER: &str = "default";

/// A namespace is deleted during a run: it goes, and so do queue and table, though the Secrets go before. What stays is
/// named in an event: uploads and notification entries, and of operators that were restarted in between, queue and table
/// too.
pub async fn deleted(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("large", vec![7; 24 << 20])]).await?;
    during_a_run(case).await?;
    with_a_restart(case).await?;
    with_events(case).await
}

async fn during_a_run(case: &mut Case) -> anyhow::Result<()> {
    let outside = with_upload(case).await?;
    let began = Instant::now();
    case.cluster.delete_namespace(&case.namespace).await?;
    gone(case).await?;
    case.note(format!("deleted during a run: gone after {:.0} s", began.elapsed().as_secs_f64()));
    let left = outside.there().await?;
    ensure!(left.is_empty(), "queue and table outlived the namespace: {left:?}");
    let uploads = open_uploads(case).await?;
    ensure!(!uploads.is_empty(), "no upload was open");
    let number = format!("({} recorded)", uploads.len());
    case.note(told(case, "UploadsLeft", &[JOB, &number, &case.destination]).await?);
    upload::abort_all(&services::s3(Service::Destination), &case.destination).await?;
    only_told(case, &["UploadsLeft"]).await
}

/// The operators are killed as soon as the Secrets of the namespace are gone.
async fn with_a_restart(case: &mut Case) -> anyhow::Result<()> {
    made_again(case).await?;
    let outside = with_upload(case).await?;
    case.cluster.delete_namespace(&case.namespace).await?;
    let secrets: Api<Secret> = Api::namespaced(case.cluster.client(), &case.namespace);
    let no_secrets = kube::runtime::wait::await_condition(secrets, "control-keys", |s: Option<&_>| s.is_none());
    tokio::time::timeout(GONE, no_secrets).await.context("the Secrets outlived their namespace")??;
    let job = case.cluster.jobs(&case.namespace).get_opt(JOB).await?;
    ensure!(job.is_some(), "the job was gone before an operator could be killed");
    for pod in case.cluster.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator").await? {
        case.cluster.force_delete_pod(OPERATOR_NAMESPACE, &pod.name_any()).await?;
    }
    let result = gone(case).await;
    // The other cases need the operators, whatever the result.
    operators_are_ready(&case.cluster).await?;
    result?;
    let left = outside.there().await?;
    ensure!(left.len() == 3, "only these were left without keys: {left:?}");
    let names = [JOB, outside.table(), &outside.queues()[0], &outside.queues()[1], "unfinished uploads"];
    case.note(format!("operators killed in between: {}", told(case, "ResourcesLeft", &names).await?));
    upload::abort_all(&services::s3(Service::Destination), &case.destination).await?;
    outside.remove().await?;
    Ok(())
}

/// The job follows events: the entries of its bucket stay, beside those of others.
async fn with_events(case: &mut Case) -> anyhow::Result<()> {
    made_again(case).await?;
    events::users(case).await?;
    events::foreign(case).await?;
    case.apply(&events::job(case)).await?;
    let job = events::watching(case).await?;
    let outside = Outside::of(&job)?.with_queues_at(Service::Source);
    ensure!(outside.there().await?.len() == 3, "queues and table are not there while events are followed");
    case.cluster.delete_namespace(&case.namespace).await?;
    gone(case).await?;
    let left = outside.there().await?;
    ensure!(left.is_empty(), "queue and table outlived the namespace: {left:?}");
    let entries = events::own(case).await?;
    ensure!(entries == ["in/", "other/"], "the entries left are {entries:?}");
    let uid = job.pointer("/metadata/uid").and_then(Value::as_str).context("the job has no UID")?;
    case.note(told(case, "NotificationsLeft", &[JOB, &format!("s3-migration-{uid}"), &case.source]).await?);
    only_told(case, &["UploadsLeft", "ResourcesLeft", "NotificationsLeft"]).await
}

/// Creates the namespace again, with the Secrets of the case's users.
async fn made_again(case: &Case) -> anyhow::Result<()> {
    case.cluster.create_namespace(&case.namespace).await?;
    let name = format!("{}-{:06x}", case.namespace, rand::random::<u32>());
    let control = services::create_user(Service::Control, &name, &services::control_policy())?;
    case.put_keys("control-keys", &control).await?;
    for (name, key) in [("source-keys", &case.source_key), ("destination-keys", &case.destination_key)] {
        case.put_keys(name, key.as_ref().context("the case has no key")?).await?;
    }
    Ok(())
}

/// Starts a run whose worker is in the middle of an upload until it is told to end; returns queue and table.
async fn with_upload(case: &Case) -> anyhow::Result<Outside> {
    let proxies = services::proxies();
    let since = proxies.next().await?;
    proxies.delay(&case.destination, "UploadPart", SLOW_PART).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"partSize": "5Mi", "multipartThreshold": "5Mi"});
    job["spec"]["worker"] = json!({"terminationGracePeriodSeconds": GRACE});
    case.apply(&job).await?;
    until("a part to be on its way", RUN_LIMIT, EVERY, async || {
        let events = case.events(Service::Destination, Some(since)).await?;
        Ok(events.iter().any(|event| event.request.operation == "UploadPart").then_some(()))
    })
    .await?;
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
    let outside = Outside::of(&job)?;
    ensure!(outside.there().await?.len() == 3, "queues and table are not there during a run");
    Ok(outside)
}

async fn gone(case: &Case) -> anyhow::Result<()> {
    let api: Api<Namespace> = Api::all(case.cluster.client());
    let gone = kube::runtime::wait::await_condition(api.clone(), &case.namespace, |n: Option<&_>| n.is_none());
    if tokio::time::timeout(GONE, gone).await.is_err() {
        let status = api.get(&case.namespace).await?.status;
        anyhow::bail!("the namespace was not gone after {GONE:?}: {status:#?}");
    }
    Ok(())
}

/// Returns reason and message of each event about the namespace, as docs/operations.md says where they are.
async fn events_about(case: &Case) -> anyhow::Result<Vec<(String, String)>> {
    let api: Api<Event> = Api::namespaced(case.cluster.client(), EVENTS_OF_CLUSTER);
    let about = format!("involvedObject.kind=Namespace,involvedObject.name={}", case.namespace);
    let found = api.list(&ListParams::default().fields(&about)).await?.items;
    Ok(found.into_iter().map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default())).collect())
}

/// Returns the event with this reason, which must have all of the words.
async fn told(case: &Case, reason: &str, words: &[&str]) -> anyhow::Result<String> {
    let events = events_about(case).await?;
    let fits = |(of, text): &&(String, String)| of == reason && words.iter().all(|word| text.contains(word));
    let found = events.iter().find(fits).with_context(|| format!("no {reason} with {words:?} in {events:#?}"))?;
    Ok(format!("{}: {}", found.0, found.1))
}

/// Fails unless there is one event with each of these reasons, and no other.
async fn only_told(case: &Case, reasons: &[&str]) -> anyhow::Result<()> {
    let events = events_about(case).await?;
    let found: BTreeSet<&str> = events.iter().map(|(reason, _)| reason.as_str()).collect();
    let is_expected = found == reasons.iter().copied().collect() && events.len() == reasons.len();
    ensure!(is_expected, "the events are {events:#?}");
    Ok(())
}
