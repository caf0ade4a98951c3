//! TCP congestion control that a node refuses, and one that it allows.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::case::{Case, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::pods;
use crate::services::{self, Service};
use crate::tree::{Object, upload};
use crate::wait::until;

/// Names that a resource may ask for, with the kernel's own.
const NAMES: [(&str, &str); 2] = [("BBR", "bbr"), ("Cubic", "cubic")];
/// The node's setting.
const ALLOWED: &str = "net.ipv4.tcp_allowed_congestion_control";
/// What every kernel lets programs use.
const RENO: &str = "reno";

/// A job asks for what its node refuses: the condition names the node's setting, and the run completes nevertheless. Then
/// it asks for what the node allows: the condition is cleared, and uploads use it.
pub async fn refused_and_allowed(case: &mut Case) -> anyhow::Result<()> {
    let (asked, name) = refused()?;
    case.prepare(&objects(0)).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"tcpCongestionControl": asked});
    job["spec"]["scaling"] = json!({"driver": "Fixed", "replicas": 1, "maxReplicas": 1});
    case.apply(&job).await?;
    let words = ["pod job-worker-", name, ALLOWED];
    let message = case.degraded_saying("CongestionControlRefused", &words, &[], RUN_LIMIT).await?;
    case.note(format!("{asked}: {message}"));
    let first = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let run = first.pointer("/status/lastRun/id").and_then(Value::as_str).context("there is no run")?;
    upload::put_all(&services::s3(Service::Source), &case.source, &objects(50)).await?;
    let edit = json!({"transfer": {"tcpCongestionControl": "Reno"}, "trigger": {"manual": "again"}});
    case.patch_spec(&edit).await?;
    case.watch("the condition to be cleared", RUN_LIMIT, async |job: Option<&Value>| {
        let degraded = job.and_then(|job| condition(job, "Degraded"));
        Ok(degraded.filter(|(status, _, _)| *status == "False").map(drop))
    })
    .await?;
    case.run_ended("Complete", Some(run), RUN_LIMIT).await?;
    uploads_use(case, RENO).await?;
    case.note("edited to Reno: no longer Degraded, and the sockets of uploads have reno");
    case.note(case.check("")?);
    Ok(())
}

/// Returns an algorithm that the node keeps for the administrator or does not have.
fn refused() -> anyhow::Result<(&'static str, &'static str)> {
    let path = format!("/proc/sys/{}", ALLOWED.replace('.', "/"));
    let allowed = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let allowed: Vec<&str> = allowed.split_whitespace().collect();
    let mut refused = NAMES.into_iter().filter(|(_, name)| !allowed.contains(name));
    refused.next().with_context(|| format!("the node lets programs use all of {NAMES:?}: take one out of {ALLOWED}"))
}

fn objects(first: usize) -> Vec<Object> {
    (first..first + 50).map(|number| Object::of_bytes(format!("{number}"), format!("{number}"))).collect()
}

/// Waits until all connections of a worker to the destination have an algorithm; those that are idle stay open for 90 s.
async fn uploads_use(case: &Case, name: &str) -> anyhow::Result<()> {
    let port = Service::Destination.port_of_pods();
    let mut last = String::new();
    let waited = until("a worker's connections", RUN_LIMIT, Duration::from_millis(500), async || {
        // A pod of before the edit may still end.
        let workers = pods::running(&case.cluster, &case.namespace, "worker").await?;
        let found: Vec<String> =
            workers.iter().filter_map(|pod| sockets(pod, port).transpose()).collect::<Result<_, _>>()?;
        last = found.concat();
        let lines: Vec<&str> = last.lines().filter(|line| line.contains("cwnd:")).collect();
        ensure!(lines.iter().all(|line| line.split_whitespace().next() == Some(name)), "not all are {name}:\n{last}");
        Ok((!lines.is_empty()).then_some(()))
    });
    waited.await.with_context(|| format!("the connections are\n{last}"))
}

/// Returns the connections of a pod to a port, each with a line of what the kernel says about it; `None` if the pod runs
/// on another machine, or no longer.
fn sockets(pod: &Pod, port: u16) -> anyhow::Result<Option<String>> {
    let Some(pid) = pods::processes(pod).first().copied() else { return Ok(None) };
    let output = Command::new("nsenter")
        .args([
            &format!("--net=/proc/{pid}/ns/net"),
            "ss",
            "-Htin",
            "state",
            "established",
            "dport",
            "=",
            &format!(":{port}"),
        ])
        .output()
        .context("failed to run nsenter")?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}
