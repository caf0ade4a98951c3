//! The chart's strict policy: what authors of jobs may name.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::races::operators_are_ready;
use crate::case::{Case, RUN_LIMIT};
use crate::helm;
use crate::kubernetes::condition;
use crate::services::{self, SERVICES, Service};
use crate::tree::{Object, bytes_of};

/// Time limit for what the operator decides by itself.
const SOON: Duration = Duration::from_secs(30);
/// Label of everything that the operator creates for a job.
const OF_JOBS: &str = "s3migration.dev/job";

/// What jobs name that is not allowed: a member of the specification, its value, and a part of the message.
/// `NAMESPACE` stands for the case's namespace.
const REFUSED: &[(&str, &str, &str)] = &[
    ("worker.image", r#""docker.io/evil:1""#, "spec.worker.image docker.io/evil:1 is not among"),
    ("jobsender.serviceAccountName", r#""admin""#, "spec.jobsender.serviceAccountName NAMESPACE/admin is not among"),
    ("source.endpoint", r#""http://169.254.169.254""#, "spec.source.endpoint http://169.254.169.254 is not among"),
    ("queue.endpoint", r#""http://kubernetes.default""#, "spec.queue.endpoint http://kubernetes.default is not among"),
    (
        "ledger.endpoint",
        r#""http://kubernetes.default""#,
        "spec.ledger.endpoint http://kubernetes.default is not among",
    ),
    (
        "worker.env",
        r#"[{"name": "HTTPS_PROXY", "value": "http://any"}]"#,
        "spec.worker.env HTTPS_PROXY http://any is not among",
    ),
    (
        "destination.credentials",
        r#"{"assumeRole": {"roleArn": "arn:aws:iam::111122223333:role/admin"}}"#,
        "spec.destination.credentials.assumeRole.roleArn arn:aws:iam::111122223333:role/admin is not among",
    ),
    (
        "jobsender.volumes",
        r#"[{"name": "v", "csi": {"driver": "any.csi.k8s.io"}}]"#,
        "spec.jobsender.volumes v any.csi.k8s.io is not among",
    ),
    (
        "source.credentials.secretRef.name",
        r#""of-others""#,
        "Secret of-others of spec.source.credentials lacks the label s3migration.dev/allowed=true",
    ),
    (
        "filters.ignoreFrom",
        r#"{"configMapKeyRef": {"name": "of-others", "key": "ignore"}}"#,
        "ConfigMap of-others of spec.filters.ignoreFrom lacks the label s3migration.dev/allowed=true",
    ),
    (
        "queue",
        r#"{"region": "us-east-1", "url": "https://sqs.us-east-1.amazonaws.com/1/orders"}"#,
        "spec.queue.url https://sqs.us-east-1.amazonaws.com/1/orders: the operator does not use its own identity",
    ),
];

/// Upgrades the release to the strict policy. Jobs that name what is not allowed are refused, and nothing of them is
/// created; one that names what is allowed completes.
pub async fn strict(case: &mut Case) -> anyhow::Result<()> {
    let open = helm::values()?;
    let endpoints: Vec<String> = SERVICES.iter().map(|service| service.endpoint_of_pods()).collect();
    let mut values = open.clone();
    values["policy"] = json!({
        "strict": true, "serviceAccounts": [format!("{}/mover", case.namespace)], "endpoints": endpoints,
        "images": ["registry.example.com/*"], "roleArns": ["arn:aws:iam::111122223333:role/mover-*"],
    });
    let result = match helm::upgrade(&helm::chart(), &values) {
        Ok(()) => with_policy(case).await,
        Err(error) => Err(error),
    };
    // The other cases need the open policy, whatever the result.
    helm::upgrade(&helm::chart(), &open)?;
    operators_are_ready(&case.cluster).await?;
    result
}

async fn with_policy(case: &mut Case) -> anyhow::Result<()> {
    operators_are_ready(&case.cluster).await?;
    let objects = [Object::of_bytes("a", "a"), Object::of_bytes("b", "bb")];
    case.prepare(&objects).await?;
    for name in ["source-keys", "destination-keys", "control-keys"] {
        label(case, name).await?;
    }
    case.put_secret("of-others", &[("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")]).await?;
    let of_others = json!({"name": "of-others"});
    let list = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": of_others, "data": {"ignore": "*"}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mover"}});
    for object in [list, account] {
        case.cluster.apply(&case.namespace, &object).await?;
    }
    refused(case).await?;
    let mut job = case.job();
    for program in ["worker", "jobsender"] {
        job["spec"][program] = json!({"serviceAccountName": "mover"});
    }
    // It is refused at first, and goes on by itself as soon as what it names is allowed.
    job["spec"]["source"]["credentials"]["secretRef"]["name"] = json!("late-keys");
    case.put_keys("late-keys", case.source_key.as_ref().context("the case has no key")?).await?;
    case.apply(&job).await?;
    case.degraded_saying("NotAllowed", &["Secret late-keys of spec.source.credentials lacks"], &[], SOON).await?;
    untouched(case).await?;
    label(case, "late-keys").await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    super::migration::totals(&job, 2, bytes_of(&objects))?;
    // What was looked for in vain before is found now.
    let (inside, uid) = (inside(case).await?, job.pointer("/metadata/uid").and_then(Value::as_str));
    let outside = outside(uid.context("the job has no UID")?).await?;
    ensure!(outside.len() == 3 && inside.len() > 3, "of the allowed job there are {inside:?} and {outside:?}");
    case.note("a job that names what is allowed went on by itself when its Secret was labelled: Complete");
    case.note(case.check("")?);
    Ok(())
}

/// Creates a job for each row; all are refused, nothing is created or read for them, and they can be deleted.
async fn refused(case: &mut Case) -> anyhow::Result<()> {
    for (number, (member, value, _)) in REFUSED.iter().enumerate() {
        let mut job = case.job();
        job["metadata"]["name"] = json!(name(number));
        let place = member.split('.').fold(&mut job["spec"], |place, name| &mut place[name]);
        *place = serde_json::from_str(value)?;
        case.cluster.apply(&case.namespace, &job).await.with_context(|| format!("{member} was not accepted"))?;
    }
    for (number, (.., message)) in REFUSED.iter().enumerate() {
        let (name, message) = (name(number), message.replace("NAMESPACE", &case.namespace));
        let what = format!("{name} to be refused with {message:?}");
        let is_refused = async |job: Option<&Value>| {
            let Some(job) = job else { return Ok(None) };
            let says = |(status, reason, text): (&str, &str, &str)| {
                status == "True" && reason == "NotAllowed" && text.contains(&message)
            };
            let is_stalled = condition(job, "Stalled").is_some_and(|(status, ..)| status == "True");
            let is_ready = condition(job, "Ready").is_some_and(|(status, ..)| status == "True");
            Ok((condition(job, "Degraded").is_some_and(says) && is_stalled && !is_ready).then_some(()))
        };
        case.cluster.watch_job(&case.namespace, &name, &what, SOON, is_refused).await?;
    }
    untouched(case).await?;
    for number in 0..REFUSED.len() {
        case.delete(&name(number), SOON).await.with_context(|| format!("{} could not be deleted", name(number)))?;
    }
    untouched(case).await?;
    case.note(format!(
        "{} jobs refused as NotAllowed, each by name: no object, queue, table or request of theirs; deleted at once",
        REFUSED.len()
    ));
    Ok(())
}

fn name(number: usize) -> String {
    format!("refused-{number}")
}

/// Fails if anything was created for a job of the case's namespace, or a bucket of theirs was looked at.
async fn untouched(case: &Case) -> anyhow::Result<()> {
    let found = inside(case).await?;
    ensure!(found.is_empty(), "created for jobs that are refused: {found:?}");
    let jobs = case.cluster.jobs(&case.namespace).list(&ListParams::default()).await?;
    for uid in jobs.iter().filter_map(kube::ResourceExt::uid) {
        let outside = outside(&uid).await?;
        ensure!(outside.is_empty(), "created outside for a job that is refused: {outside:?}");
    }
    for side in [Service::Source, Service::Destination] {
        let requests = case.events(side, None).await?;
        ensure!(requests.is_empty(), "the bucket of the {} was asked: {requests:?}", side.name());
    }
    Ok(())
}

/// Returns kind and name of what was created in the case's namespace for jobs.
async fn inside(case: &Case) -> anyhow::Result<Vec<String>> {
    let mut found = of_jobs::<CronJob>(case).await?;
    found.extend(of_jobs::<Job>(case).await?);
    found.extend(of_jobs::<Deployment>(case).await?);
    found.extend(of_jobs::<ConfigMap>(case).await?);
    Ok(found)
}

/// Returns the queues and tables whose names have the UID of a job.
async fn outside(uid: &str) -> anyhow::Result<Vec<String>> {
    let queues = services::sqs().list_queues().queue_name_prefix("s3-migration-").send().await?;
    let mut found = queues.queue_urls.unwrap_or_default();
    let mut tables = services::dynamodb().list_tables().into_paginator().items().send();
    while let Some(table) = tables.next().await {
        found.push(table.context("failed to list tables")?);
    }
    found.retain(|name| name.contains(uid));
    Ok(found)
}

/// Returns kind and name of objects of a kind that were created for jobs.
async fn of_jobs<K>(case: &Case) -> anyhow::Result<Vec<String>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned,
    K: std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(case.cluster.client(), &case.namespace);
    let found = api.list(&ListParams::default().labels(OF_JOBS)).await?;
    Ok(found.iter().map(|object| format!("{} {}", K::kind(&()), object.name_any())).collect())
}

/// Gives a Secret the label that the policy asks for.
async fn label(case: &Case, name: &str) -> anyhow::Result<()> {
    let api: Api<Secret> = Api::namespaced(case.cluster.client(), &case.namespace);
    let change = Patch::Merge(json!({"metadata": {"labels": {"s3migration.dev/allowed": "true"}}}));
    api.patch(name, &PatchParams::default(), &change).await.context("failed to label a Secret")?;
    Ok(())
}
