//! Processes of pods that run on the same machine as the tests.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::task::JoinHandle;

use crate::kubernetes::Cluster;
use crate::process::signal;

/// Returns the processes in a pod's cgroup; empty if the pod runs on another machine.
pub fn processes(pod: &Pod) -> Vec<u32> {
    let Some(uid) = pod.uid() else { return Vec::new() };
    // The systemd driver writes the UID with underscores.
    let names = [uid.clone(), uid.replace('-', "_")];
    let of_pod = |pid: &u32| {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        names.iter().any(|name| cgroups.contains(name.as_str()))
    };
    all_processes().filter(of_pod).collect()
}

/// Returns true if a container of a pod runs.
pub fn runs(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.filter_map(|status| status.state.as_ref()).any(|state| state.running.is_some())
}

/// Returns the pods of a program of the chart or of a job that run and are not being deleted, by name.
pub async fn running(cluster: &Cluster, namespace: &str, program: &str) -> anyhow::Result<Vec<Pod>> {
    let mut pods = cluster.pods(namespace, &format!("app.kubernetes.io/component={program}")).await?;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none() && runs(pod));
    pods.sort_by_key(kube::ResourceExt::name_any);
    Ok(pods)
}

/// Kills all processes of a pod with SIGKILL; returns their number.
pub fn kill(pod: &Pod) -> anyhow::Result<usize> {
    let processes = processes(pod);
    for pid in &processes {
        signal("KILL", *pid)?;
    }
    Ok(processes.len())
}

/// Kills a program in a pod with SIGKILL, and leaves the pod to Kubernetes; returns the number of processes.
pub fn kill_program(pod: &Pod, program: &str) -> anyhow::Result<usize> {
    let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let processes: Vec<u32> = processes(pod).into_iter().filter(|pid| name(*pid).trim() == program).collect();
    for pid in &processes {
        signal("KILL", *pid)?;
    }
    Ok(processes.len())
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Records the memory of the project's programs in local pods.
#[derive(Debug)]
pub struct MemoryWatch {
    peaks: Arc<Mutex<BTreeMap<String, u64>>>,
    task: JoinHandle<()>,
}

impl MemoryWatch {
    /// Starts recording, ten times per second. The value is the kernel's high-water mark of resident memory, so only
    /// growth in a process's last tenth of a second can be missed.
    pub fn start() -> Self {
        let peaks = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = Arc::clone(&peaks);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            loop {
                ticks.tick().await;
                for (program, bytes) in all_processes().filter_map(high_water) {
                    let mut peaks = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    let peak = peaks.entry(program).or_insert(0);
                    *peak = bytes.max(*peak);
                }
            }
        });
        Self { peaks, task }
    }

    /// Stops; returns the peak of each program in bytes.
    pub fn stop(self) -> BTreeMap<String, u64> {
        self.task.abort();
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns program and peak of a process, if it is one of ours in a pod.
fn high_water(pid: u32) -> Option<(String, u64)> {
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
    if !["operator", "worker", "jobsender"].contains(&program.as_str()) {
        return None;
    }
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().filter(|c| c.contains("pod"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some((program, kilobytes * 1024))
}
