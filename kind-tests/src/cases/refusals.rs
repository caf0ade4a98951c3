//! Rejections by Kubernetes become a condition with Kubernetes' own message.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::neighbours::{TOLD, told};
use super::preflight::checked;
use crate::case::{Case, RUN_LIMIT};
use crate::services;
use crate::tree::Object;
use crate::wait::until;

const SENDER: &str = "app.kubernetes.io/component=jobsender";
/// More than the pods that may fail before the Job fails.
const EVICTIONS: usize = 5;

/// The jobsender's service account is missing; once it exists, the job continues.
pub async fn service_account(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    let mut job = case.job();
    job["spec"]["jobsender"] = json!({"serviceAccountName": "absent"});
    let began = Instant::now();
    case.apply(&job).await?;
    let words = ["Job job-run-1", "serviceaccount \"absent\" not found"];
    let message = told(case, "PodFailedCreate", &words, TOLD).await?;
    case.note(format!("no service account: PodFailedCreate after {:.1} s: {message}", began.elapsed().as_secs_f64()));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "absent"}});
    case.cluster.apply(&case.namespace, &account).await?;
    case.run_ended("Complete", None, RUN_LIMIT).await?;
    case.note("and Complete when it was there");
    Ok(())
}

/// Quotas for pods, for Jobs created by the operator, and for Jobs of the schedule.
pub async fn quotas(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    quota(case, "pods").await?;
    case.apply(&case.job()).await?;
    case.note(told(case, "PodFailedCreate", &["Job job-preflight-1", "exceeded quota", "spec.worker"], TOLD).await?);
    lift(case, "pods").await?;
    let first = case.run_ended("Complete", None, RUN_LIMIT).await?;
    quota(case, "count/jobs.batch").await?;
    case.patch_spec(&json!({"trigger": {"manual": "2"}})).await?;
    case.note(told(case, "ApplyFailed", &["Job job-run-2", "exceeded quota"], TOLD).await?);
    case.patch_spec(&json!({"trigger": {"manual": null, "schedule": "* * * * *"}})).await?;
    // The schedule is due within a minute.
    let limit = Duration::from_mins(1) + TOLD;
    case.note(told(case, "JobFailedCreate", &["CronJob job-jobsender", "exceeded quota"], limit).await?);
    lift(case, "count/jobs.batch").await?;
    let id = first.pointer("/status/lastRun/id").and_then(Value::as_str);
    case.run_ended("Complete", id, RUN_LIMIT).await?;
    case.note("and Complete each time when the quota was lifted");
    Ok(())
}

async fn quota(case: &Case, resource: &str) -> anyhow::Result<()> {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name(resource)}, "spec": {"hard": {resource: "0"}},
    });
    case.cluster.apply(&case.namespace, &quota).await?;
    until("the quota to count", TOLD, Duration::from_millis(100), async || {
        let now = case.cluster.find(&case.namespace, &quota).await?;
        Ok(now.filter(|now| now.data["status"]["hard"].is_object()).map(drop))
    })
    .await
}

async fn lift(case: &Case, resource: &str) -> anyhow::Result<()> {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name(resource)}});
    case.cluster.api_of(&case.namespace, &quota)?.delete(&name(resource), &DeleteParams::default()).await?;
    Ok(())
}

fn name(resource: &str) -> String {
    resource.replace(['/', '.'], "-")
}

/// A scan whose pods are evicted and deleted more often than pods may fail still ends successfully.
pub async fn scan_evicted(case: &mut Case) -> anyhow::Result<()> {
    let objects: Vec<Object> = (0..20).map(|n| Object::of_bytes(format!("{n}"), format!("{n}"))).collect();
    case.prepare(&objects).await?;
    let mut job = case.job();
    // No run starts before the delay, which would hold up the preflight too.
    job["spec"]["trigger"] = json!({"schedule": "0 0 1 1 *"});
    case.apply(&job).await?;
    checked(case, "True", RUN_LIMIT).await?;
    services::proxies().delay(&case.source, "ListObjectsV2", 600_000).await?;
    case.patch_spec(&json!({"trigger": {"manual": "1"}})).await?;
    let pods: Api<Pod> = Api::namespaced(case.cluster.client(), &case.namespace);
    let began = Instant::now();
    for number in 0..EVICTIONS {
        let name = running_sender(&pods).await?;
        if number % 2 == 0 {
            pods.evict(&name, &EvictParams::default()).await.context("failed to evict a pod")?;
        } else {
            pods.delete(&name, &DeleteParams::default()).await.context("failed to delete a pod")?;
        }
        until("the pod to end", RUN_LIMIT, Duration::from_millis(200), async || {
            let now = pods.get_opt(&name).await?;
            let ended = |pod: Pod| pod.status.and_then(|s| s.phase).is_some_and(|phase| phase != "Running");
            Ok(now.is_none_or(ended).then_some(()))
        })
        .await?;
    }
    services::proxies().delay(&case.source, "ListObjectsV2", 0).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    super::migration::totals(&job, objects.len() as u64, crate::tree::bytes_of(&objects))?;
    case.note(format!("evicted or deleted {EVICTIONS} times, Complete after {:.0} s", began.elapsed().as_secs_f64()));
    case.note(case.check("")?);
    Ok(())
}

/// Waits for a jobsender that logs: one that is stopped before it handles signals would be killed.
async fn running_sender(pods: &Api<Pod>) -> anyhow::Result<String> {
    until("a jobsender to run", RUN_LIMIT, Duration::from_millis(500), async || {
        for pod in pods.list(&ListParams::default().labels(SENDER)).await? {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let name = pod.name_any();
            if phase == Some("Running")
                && pod.metadata.deletion_timestamp.is_none()
                && !pods.logs(&name, &kube::api::LogParams::default()).await?.is_empty()
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    })
    .await
}
