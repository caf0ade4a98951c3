//! Pods: what they say, and why they cannot be created or started.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use migration_api::Reason;
use serde::Deserialize;

use super::Cluster;
use super::refusals::without_random_name;
use crate::names::{self, Component};
use crate::problem::Problem;

/// The termination message of our programs.
#[derive(Deserialize)]
struct TerminationMessage {
    reason: String,
    message: String,
}

/// Returns a termination message in words.
pub fn readable(text: &str) -> String {
    serde_json::from_str::<TerminationMessage>(text).map_or_else(
        |_| text.trim().chars().take(500).collect(),
        |TerminationMessage { reason, message }| format!("{reason}: {message}"),
    )
}

/// Returns the states of the containers of a pod.
pub fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten()
}

/// Reasons of waiting that do not pass by themselves.
/// Source: `pkg/kubelet/images/types.go` and `pkg/kubelet/kuberuntime` in Kubernetes.
const STUCK: [&str; 9] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// Returns why a pod of the job cannot be created or started. One is enough: pods of one kind have the same problems.
pub fn pod_problem(cluster: &Cluster) -> Option<Problem> {
    cluster.pods.iter().find_map(start_problem).or_else(|| creation_problem(cluster.deployment.ours()?))
}

fn start_problem(pod: &Pod) -> Option<Problem> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    // Verifiers have the settings of jobsenders, and reporters, notifiers and preflights those of workers.
    let of_worker = [Component::Worker, Component::Reporter, Component::Notifier, Component::Preflight];
    let is_worker = of_worker.into_iter().any(|component| names::component_is(Some(pod.labels()), component));
    let component = if is_worker { Component::Worker } else { Component::Jobsender };
    let place = format!("pod {} ({})", pod.name_any(), component.as_str());
    for status in statuses(pod) {
        let Some(waiting) = status.state.as_ref().and_then(|state| state.waiting.as_ref()) else { continue };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if !STUCK.contains(&reason) {
            continue;
        }
        // Kubernetes alternates between the two.
        let reason = if reason == "ErrImagePull" { "ImagePullBackOff" } else { reason };
        let before = status.last_state.as_ref().and_then(|state| state.terminated.as_ref()?.message.as_deref());
        let message = before.map(readable).or_else(|| waiting.message.clone()).unwrap_or_default();
        let text = format!("{place}: {reason}: {message}; check spec.{}", component.as_str());
        return Some(Problem::new(Reason::Pod(reason.to_owned()), text));
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let unscheduled = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    let message = unscheduled.message.clone().unwrap_or_default();
    let text = format!("{place} cannot be scheduled: {message}; check spec.{}", component.as_str());
    Some(Problem::new(Reason::Pod("Unschedulable".to_owned()), text))
}

/// Returns why Kubernetes cannot create pods of the Deployment: no such service account, quota, admission.
fn creation_problem(deployment: &Deployment) -> Option<Problem> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions
        .iter()
        .find(|c| c.type_.as_deref() == Some("ReplicaFailure") && c.status.as_deref() == Some("True"))?;
    let reason = failure.reason.as_deref().unwrap_or("FailedCreate");
    let message = without_random_name(failure.message.as_deref().unwrap_or_default());
    Some(Problem::new(
        Reason::Pod(reason.to_owned()),
        format!("Kubernetes cannot create worker pods: {message}; check spec.worker and the namespace's quotas"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::dereference::cluster::tests::pod;

    #[test]
    fn pods_that_cannot_start_are_named() {
        let waiting = |reason: &str| {
            pod(&format!(
                "metadata: {{name: w, labels: {{app.kubernetes.io/component: worker}}}}\nstatus: {{containerStatuses: [{{name: \
                 worker, image: i, imageID: i, ready: false, restartCount: 0, state: {{waiting: {{reason: {reason}, message: \
                 why}}}}}}]}}"
            ))
        };
        let problem = |pod: Pod| pod_problem(&Cluster { pods: vec![pod], ..Cluster::default() });
        let found = problem(waiting("ImagePullBackOff")).unwrap();
        assert_eq!(found.reason.to_string(), "PodImagePullBackOff");
        assert!(found.message.contains("pod w (worker)") && found.message.contains("why"), "{}", found.message);
        assert_eq!(problem(waiting("ErrImagePull")).unwrap().reason.to_string(), "PodImagePullBackOff");
        assert_eq!(problem(waiting("ContainerCreating")), None);
        let unscheduled = "metadata: {name: w}\nstatus: {conditions: [{type: PodScheduled, status: 'False', reason: \
                           Unschedulable, message: 0/1 nodes}]}";
        assert_eq!(problem(pod(unscheduled)).unwrap().reason.to_string(), "PodUnschedulable");
    }
}
