//! What scales the workers: KEDA of the cluster, and the number of workers over time.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::case::{Case, JOB};
use crate::kubernetes::Cluster;
use crate::paths;
use crate::wait::until;

/// Namespace of KEDA.
const KEDA: &str = "keda";
/// Time limit for KEDA's operator to start or to end.
const SOON: Duration = Duration::from_mins(2);
/// A number of workers that changes back within this time was written by two.
const FIGHT: Duration = Duration::from_secs(3);

/// Installs KEDA in the cluster of the tests, unless a cluster has it.
pub async fn install_keda(cluster: &Cluster) -> anyhow::Result<()> {
    if cluster.client().list_api_group_resources("keda.sh/v1alpha1").await.is_ok() {
        return Ok(());
    }
    let mut command = Command::new("bash");
    command.arg(paths::here("cluster/cluster.sh")).arg("keda").stdin(Stdio::null());
    let status = tokio::task::spawn_blocking(move || command.status()).await?.context("failed to run cluster.sh")?;
    ensure!(status.success(), "cluster.sh keda ended with {status}");
    Ok(())
}

/// Starts or stops KEDA's operator, as a cluster does that loses it.
pub async fn run_keda(cluster: &Cluster, runs: bool) -> anyhow::Result<()> {
    let api: Api<Deployment> = Api::namespaced(cluster.client(), KEDA);
    let replicas = i32::from(runs);
    let change = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale("keda-operator", &PatchParams::default(), &change).await.context("failed to scale KEDA")?;
    let as_wanted = move |now: &Deployment| {
        let ready = now.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
        let there = now.status.as_ref().and_then(|status| status.replicas).unwrap_or_default();
        (there, ready) == (replicas, replicas)
    };
    cluster.watch_deployment(KEDA, "keda-operator", "KEDA's operator to be scaled", SOON, as_wanted).await
}

/// The kinds of objects that may scale a case's workers, each with the name that it has.
const KINDS: [(&str, &str, &str); 4] = [
    ("keda.sh/v1alpha1", "ScaledObject", "job-worker"),
    ("keda.sh/v1alpha1", "TriggerAuthentication", "job-worker"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "job-worker"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "keda-hpa-job-worker"),
];

/// Returns the objects that scale the case's workers, as `Kind/name`.
pub async fn there(case: &Case) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (version, kind, name) in KINDS {
        let object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        if case.cluster.find(&case.namespace, &object).await?.is_some() {
            found.push(format!("{kind}/{name}"));
        }
    }
    Ok(found)
}

/// Waits until exactly these objects scale the case's workers.
pub async fn only(case: &Case, expected: &[&str], limit: Duration) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let what = format!("{expected:?} alone to scale");
    let waited = until(&what, limit, Duration::from_millis(500), async || {
        last = there(case).await?;
        Ok((last == expected).then_some(()))
    });
    waited.await.with_context(|| format!("at the end there were {last:?}"))
}

/// Waits until the condition `ScalingActive` of the case's job has this reason.
pub async fn scaling(case: &Case, reason: &str, limit: Duration) -> anyhow::Result<String> {
    case.watch(&format!("ScalingActive with reason {reason}"), limit, async |job: Option<&Value>| {
        let found = job.and_then(|job| crate::kubernetes::condition(job, "ScalingActive"));
        Ok(found.filter(|(_, now, _)| *now == reason).map(|(_, _, message)| message.to_owned()))
    })
    .await
}

/// The number of workers that the case's Deployment wants, over time.
#[derive(Debug)]
pub struct History {
    seen: Arc<Mutex<Vec<(Instant, i32)>>>,
    task: JoinHandle<()>,
}

impl History {
    /// Starts to record.
    pub fn start(case: &Case) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (api, recorded): (Api<Deployment>, _) =
            (Api::namespaced(case.cluster.client(), &case.namespace), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let stream = watch_object(api, &format!("{JOB}-worker"));
            pin_mut!(stream);
            while let Some(object) = stream.next().await {
                let Ok(Some(deployment)) = object else { continue };
                let replicas = deployment.spec.replicas.unwrap_or_default();
                let mut seen = recorded.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.last().is_none_or(|(_, last)| *last != replicas) {
                    seen.push((Instant::now(), replicas));
                }
            }
        });
        Self { seen, task }
    }

    /// Waits until the Deployment wants a number for which `is_wanted`, and returns when it did first after `since`.
    pub async fn reached(
        &self,
        what: &str,
        since: Instant,
        limit: Duration,
        is_wanted: impl Fn(i32) -> bool,
    ) -> anyhow::Result<Instant> {
        until(what, limit, Duration::from_millis(50), async || {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let now = seen.last().filter(|(_, number)| is_wanted(*number)).map(|(at, _)| (*at).max(since));
            Ok(now.or_else(|| seen.iter().find(|(at, number)| *at >= since && is_wanted(*number)).map(|(at, _)| *at)))
        })
        .await
    }

    /// Returns the numbers in words, and fails if two wrote them in turns.
    pub fn without_fight(&self) -> anyhow::Result<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let numbers: Vec<String> = seen.iter().map(|(_, number)| number.to_string()).collect();
        let numbers = numbers.join(" → ");
        for window in seen.windows(3) {
            let [(from, first), _, (to, last)] = window else { continue };
            ensure!(
                first != last || to.duration_since(*from) > FIGHT,
                "the number of workers was fought over: {numbers}"
            );
        }
        Ok(numbers)
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}
