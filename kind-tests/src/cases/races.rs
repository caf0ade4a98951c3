//! Changes between the operator's read and its write. The operator runs as a local process behind a proxy of the API
//! server, with the rights of the installed one, which is scaled to zero meanwhile.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::neighbours::{Kept, TOLD, stranger, told, unchanged};
use crate::api_proxy::ApiProxy;
use crate::case::{Case, JOB};
use crate::kubernetes::Cluster;
use crate::logs::{OPERATOR_NAMESPACE, OPERATORS};
use crate::paths;
use crate::programs::{self, Program};
use crate::services;
use crate::tree::Object;
use crate::wait::until;

/// Name of the chart's release, of its service account, and of its Lease.
pub const OPERATOR: &str = "s3-migration";
const SOON: Duration = Duration::from_mins(2);

/// Replaces a child by a foreign object right before each kind of write: create, update, scale, delete.
pub async fn between_look_and_write(case: &mut Case) -> anyhow::Result<()> {
    scale_operator(&case.cluster, 0).await?;
    let result = races(case).await;
    // The other cases need the operator, whatever the result.
    scale_operator(&case.cluster, OPERATORS).await?;
    result
}

async fn races(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    let proxy = ApiProxy::start(case.cluster.client()).await?;
    let mut operator = start_operator(case, &proxy)?;
    let first = created_meanwhile(case, &proxy).await?;
    operator.check_running()?;
    let schedule = replaced(case, &proxy, "CronJob", Method::PATCH, "/cronjobs/job-jobsender", async |case| {
        case.patch_spec(&json!({"trigger": {"schedule": "0 0 1 2 *"}})).await
    });
    let schedule = schedule.await.context("between look and apply")?;
    operator.check_running()?;
    let workers = replaced(case, &proxy, "Deployment", Method::PATCH, "/deployments/job-worker/scale", async |case| {
        case.patch_spec(&json!({"scaling": {"minReplicas": 1}})).await
    });
    let workers = workers.await.context("between look and scaling")?;
    operator.check_running()?;
    unchanged(case, &[schedule, workers.clone()]).await?;
    deleted_meanwhile(case, &proxy).await?;
    unchanged(case, &[workers]).await?;
    ensure!(first.uid.is_some(), "the first object has no UID");
    case.note("created, changed, scaled, deleted: what came between look and write was left alone each time");
    Ok(())
}

/// A foreign `CronJob` is created right before the operator's; once it is deleted, the job continues.
async fn created_meanwhile(case: &Case, proxy: &ApiProxy) -> anyhow::Result<Kept> {
    let path = format!("/namespaces/{}/cronjobs", case.namespace);
    let (client, namespace) = (case.cluster.client(), case.namespace.clone());
    let made = proxy.before(Method::POST, &path, async move { create(&client, &namespace, "CronJob").await });
    let mut job = reachable(&case.job())?;
    // No run starts by itself.
    job["spec"]["trigger"] = json!({"schedule": "0 0 1 1 *"});
    case.apply(&job).await?;
    done(made).await.context("between look and creation")?;
    told(case, "NameTaken", &["CronJob job-jobsender"], TOLD).await?;
    let object = stranger("CronJob");
    let there = case.cluster.find(&case.namespace, &object).await?.context("somebody's CronJob is gone")?;
    let kept = Kept::of(&there);
    ensure!(kept.is_untouched(), "somebody's CronJob was written: {kept:#?}");
    let api = case.cluster.api_of(&case.namespace, &object)?;
    api.delete(&there.name_any(), &DeleteParams::default()).await?;
    case.watch("the job to be ready", SOON, async |job: Option<&Value>| {
        let ready = job.and_then(|job| crate::kubernetes::condition(job, "Ready"));
        Ok(ready.filter(|(status, _, _)| *status == "True").map(drop))
    })
    .await?;
    Ok(kept)
}

/// Replaces a child by a foreign object before a write: it must stay unchanged, and the job must report it.
async fn replaced(
    case: &Case,
    proxy: &ApiProxy,
    kind: &'static str,
    method: Method,
    path_end: &str,
    make_it_write: impl AsyncFnOnce(&Case) -> anyhow::Result<()>,
) -> anyhow::Result<Kept> {
    let (client, namespace) = (case.cluster.client(), case.namespace.clone());
    let swapped = proxy.before(method, path_end, async move { replace(&client, &namespace, kind).await });
    make_it_write(case).await?;
    done(swapped).await?;
    told(case, "NameTaken", &[kind], TOLD).await?;
    let there = case.cluster.find(&case.namespace, &stranger(kind)).await?.context("somebody's object is gone")?;
    let kept = Kept::of(&there);
    ensure!(kept.is_untouched(), "somebody's {kind} was written: {kept:#?}");
    Ok(kept)
}

/// Replaces a child by a foreign object before its deletion: the `ConfigMap` used to abort uploads, or any other child
/// that remains.
async fn deleted_meanwhile(case: &Case, proxy: &ApiProxy) -> anyhow::Result<()> {
    // The CronJob is foreign by now. It is removed, so that the operator creates its own and has one to delete.
    let api = case.cluster.api_of(&case.namespace, &stranger("CronJob"))?;
    let name = format!("{JOB}-jobsender");
    let before = api.get(&name).await?;
    api.delete(&name, &DeleteParams::background()).await?;
    case.watch("the CronJob to be made anew", SOON, async |_: Option<&Value>| {
        let now = api.get_opt(&name).await?;
        Ok(now.filter(|now| now.uid() != before.uid() && !now.owner_references().is_empty()).map(drop))
    })
    .await?;
    let (client, namespace) = (case.cluster.client(), case.namespace.clone());
    let swapped = proxy.before(Method::DELETE, "/cronjobs/job-jobsender", async move {
        replace(&client, &namespace, "CronJob").await
    });
    case.delete_job(SOON).await?;
    done(swapped).await.context("between look and deletion")?;
    let there = api.get_opt(&name).await?.context("somebody's CronJob was deleted")?;
    ensure!(Kept::of(&there).is_untouched(), "somebody's CronJob was written: {there:#?}");
    Ok(())
}

async fn create(client: &Client, namespace: &str, kind: &str) -> anyhow::Result<()> {
    let object = stranger(kind);
    let api: Api<DynamicObject> = Cluster::of(client.clone()).api_of(namespace, &object)?;
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await.map(drop).context("failed to create")
}

/// Deletes the object with this name and creates another one.
async fn replace(client: &Client, namespace: &str, kind: &str) -> anyhow::Result<()> {
    let object = stranger(kind);
    let api: Api<DynamicObject> = Cluster::of(client.clone()).api_of(namespace, &object)?;
    let name = object["metadata"]["name"].as_str().context("it has no name")?;
    api.delete(name, &DeleteParams::background()).await.context("failed to delete")?;
    create(client, namespace, kind).await
}

async fn done(act: oneshot::Receiver<anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(SOON, act)
        .await
        .context("the operator never sent the request")?
        .context("the action did not run")?
}

/// Returns the job with addresses that the local operator process can reach.
pub fn reachable(job: &Value) -> anyhow::Result<Value> {
    let text = job.to_string().replace(services::HOST, &services::host_address()?.to_string());
    Ok(serde_json::from_str(&text)?)
}

fn start_operator(case: &Case, proxy: &ApiProxy) -> anyhow::Result<Program> {
    let directory = paths::state()?;
    let config = proxy.write_config(&directory, OPERATOR_NAMESPACE, OPERATOR)?;
    let mut command = Command::new(programs::own("operator")?);
    command.args(["run", "--namespace", &case.namespace, "--health-address", "127.0.0.1:0"]).env("KUBECONFIG", config);
    Program::start("operator-behind-proxy", &directory, &mut command)
}

/// Scales the installed operator, and waits until it has that many pods.
pub async fn scale_operator(cluster: &Cluster, replicas: i32) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(cluster.client(), OPERATOR_NAMESPACE);
    let change = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale(OPERATOR, &PatchParams::default(), &change).await.context("failed to scale the operator")?;
    let as_wanted = move |now: &Deployment| {
        let status = now.status.as_ref();
        let count = |n: Option<i32>| n.unwrap_or_default();
        status.is_some_and(|s| count(s.replicas) == replicas && count(s.ready_replicas) == replicas)
    };
    cluster.watch_deployment(OPERATOR_NAMESPACE, OPERATOR, "the operator to be scaled", SOON, as_wanted).await
}

/// Waits until all operators of the release are ready, and none from before an upgrade or a kill is left.
pub async fn operators_are_ready(cluster: &Cluster) -> anyhow::Result<()> {
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        pod.metadata.deletion_timestamp.is_none()
            && conditions.into_iter().any(|found| found.type_ == "Ready" && found.status == "True")
    };
    until("the operators to be ready", SOON, Duration::from_millis(200), async || {
        let pods = cluster.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/component=operator").await?;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok((pods.len() == ready && i32::try_from(ready)? == OPERATORS).then_some(()))
    })
    .await
}
