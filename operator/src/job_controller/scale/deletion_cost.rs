//! Which workers go first when there are to be fewer.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use migration_core::records::Heartbeat;

use crate::job_controller::apply::{self, ApplyError};
use crate::names::{self, Component};

/// The annotation by which Kubernetes chooses the pods to remove: the lowest number goes first, and none counts as 0.
/// Source: `ReplicaSet` in Kubernetes' documentation, "Pod deletion cost".
const ANNOTATION: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The cost of a worker with messages.
const BUSY: i32 = 100;
/// The cost of a worker without messages.
const IDLE: i32 = 0;

/// Returns the pods whose cost is not what their heartbeat says, with their cost. One worker alone needs none.
///
/// A worker writes no heartbeat while it has nothing to do, so one without a recent one is idle.
pub fn changes<'a>(pods: &'a [Pod], heartbeats: &[Heartbeat], now: i64) -> Vec<(&'a Pod, i32)> {
    let is_worker = |pod: &&Pod| {
        names::component_is(Some(pod.labels()), Component::Worker) && pod.metadata.deletion_timestamp.is_none()
    };
    let workers: Vec<_> = pods.iter().filter(is_worker).collect();
    if workers.len() < 2 {
        return Vec::new();
    }
    let is_busy = |pod: &Pod| {
        let of_pod = |beat: &&Heartbeat| beat.name == pod.name_any() && beat.is_fresh(now);
        heartbeats.iter().filter(of_pod).any(|beat| beat.messages > 0)
    };
    let cost = |pod: &Pod| if is_busy(pod) { BUSY } else { IDLE };
    let before = |pod: &Pod| pod.annotations().get(ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(IDLE);
    let all = workers.into_iter().map(|pod| (pod, cost(pod)));
    all.filter(|(pod, cost)| before(pod) != *cost).collect()
}

/// Annotates the pods.
pub async fn write(api: &Api<Pod>, changes: &[(&Pod, i32)]) -> Result<(), ApplyError> {
    for (pod, cost) in changes {
        apply::annotate(api, pod, ANNOTATION, &cost.to_string()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, more: &str) -> Pod {
        let labels = "labels: {app.kubernetes.io/component: worker}";
        serde_yaml::from_str(&format!("metadata: {{name: {name}, {labels}, {more}}}")).unwrap()
    }

    fn beat(name: &str, at: i64, messages: u32) -> Heartbeat {
        let text = format!("{{name: {name}, at: {at}, messages: {messages}, rate: 0}}");
        serde_yaml::from_str(&text).unwrap()
    }

    #[test]
    fn busy_workers_are_kept_and_idle_ones_go_first() {
        let cost = |cost: &str| format!("annotations: {{{ANNOTATION}: '{cost}'}}");
        let pods = [
            pod("busy", ""),
            pod("busy-known", &cost("100")),
            pod("idle", ""),
            pod("idle-again", &cost("100")),
            pod("silent", &cost("100")),
            pod("ending", "deletionTimestamp: '2026-01-01T00:00:00Z'"),
        ];
        let now = 100_000;
        let beats = [
            beat("busy", now, 2),
            beat("busy-known", now - 29_000, 1),
            beat("idle", now, 0),
            beat("idle-again", now, 0),
            beat("silent", now - 30_000, 3),
            beat("ending", now, 1),
        ];
        let found = changes(&pods, &beats, now);
        let found: Vec<_> = found.iter().map(|(pod, cost)| (pod.name_any(), *cost)).collect();
        assert_eq!(found, [("busy".to_owned(), 100), ("idle-again".to_owned(), 0), ("silent".to_owned(), 0)]);
        assert!(changes(&pods[..1], &beats, now).is_empty(), "one alone has nobody to go before it");
    }
}
