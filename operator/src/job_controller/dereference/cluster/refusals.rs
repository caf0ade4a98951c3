//! What Kubernetes refuses on behalf of a child, in its own words. Jobs and `CronJobs` have no condition for what their
//! controllers can't make, and pods none for what the kubelet can't set up; their events say it.
//!
//! Events are asked for only where something is missing that they may explain.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::ResourceExt;
use kube::api::ListParams;
use migration_api::Reason;
use tracing::warn;

use super::{Cluster, ObservedJob};
use crate::job_controller::context::Context;
use crate::job_controller::ownership::is_controlled_by;
use crate::names::{self, Component};
use crate::problem::Problem;

/// How long a pod may take to be set up before its events are read, in milliseconds.
const SETUP_MS: i64 = 10_000;
/// Reason of the events of controllers that could not make something.
/// Source: `FailedCreatePodReason` in Kubernetes' `pkg/controller`, and `pkg/controller/cronjob`.
const FAILED_CREATE: &str = "FailedCreate";

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Doubt {
    /// UID of what the events are about.
    uid: String,
    /// Reason of the events that count; with none the last event counts, if it is a warning.
    reason: Option<&'static str>,
    /// Only events after this say something, in milliseconds since 1970.
    since: i64,
    /// Reason of the problem.
    problem: Reason,
    /// What stands before Kubernetes' words.
    before: String,
    /// What stands after them.
    after: String,
}

/// Asks for the events of what is missing. Without the right to read them nothing is known, and nothing stops.
pub async fn read(context: &Context, namespace: &str, cluster: &Cluster) -> Vec<Problem> {
    let api = context.api::<Event>(namespace);
    let mut found = Vec::new();
    for doubt in doubts(cluster, context.now()) {
        let about = match doubt.reason {
            Some(reason) => format!("involvedObject.uid={},reason={reason}", doubt.uid),
            None => format!("involvedObject.uid={}", doubt.uid),
        };
        match api.list(&ListParams::default().fields(&about)).await {
            Ok(events) => found.extend(answer(&doubt, &events.items)),
            Err(error) => warn!(namespace, %error, "events can't be read: what Kubernetes refuses is not told"),
        }
    }
    found
}

/// What is missing: pods of a Job, a Job of the schedule, the containers of a pod.
fn doubts(cluster: &Cluster, now: i64) -> Vec<Doubt> {
    let jobs = cluster.jobs.iter().map(|job| (job, "spec.jobsender"));
    let jobs = jobs.chain(cluster.followups.iter().map(|job| (job, "spec.worker and spec.jobsender")));
    let jobs = jobs.filter_map(|(job, check)| without_pods(job, check, &cluster.pods));
    let pod = cluster.pods.iter().find_map(|pod| not_set_up(pod, now));
    jobs.chain(without_jobs(cluster)).chain(pod).collect()
}

fn without_pods(job: &ObservedJob, check: &str, pods: &[Pod]) -> Option<Doubt> {
    if !job.is_unfinished() || job.suspended || job.active {
        return None;
    }
    let own = pods.iter().filter(|pod| is_controlled_by(&pod.metadata, &job.uid));
    Some(Doubt {
        uid: job.uid.clone(),
        reason: Some(FAILED_CREATE),
        since: own.map(created).max().unwrap_or_default(),
        problem: Reason::Pod(FAILED_CREATE.to_owned()),
        before: format!("Kubernetes makes no pod of Job {}", job.name),
        after: format!("check {check}, and the namespace's quotas and policies; the job goes on by itself"),
    })
}

fn without_jobs(cluster: &Cluster) -> Option<Doubt> {
    let schedule = cluster.cron_job.ours().filter(|schedule| schedule.spec.suspend != Some(true))?;
    let last = schedule.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    Some(Doubt {
        uid: schedule.uid()?,
        reason: Some(FAILED_CREATE),
        since: last.map_or(0, |time| time.0.as_millisecond()),
        problem: Reason::JobFailedCreate,
        before: format!("Kubernetes makes no Job of CronJob {}", schedule.name_any()),
        after: "check the namespace's quotas and policies; the next run starts by the schedule".to_owned(),
    })
}

/// A pod that has a node, and whose containers are not even waited for with a reason.
fn not_set_up(pod: &Pod, now: i64) -> Option<Doubt> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Pending"))?;
    let conditions = status.conditions.iter().flatten();
    let scheduled = conditions.into_iter().any(|found| found.type_ == "PodScheduled" && found.status == "True");
    let waiting = status.container_statuses.iter().flatten().filter_map(|found| found.state.as_ref()?.waiting.as_ref());
    let is_creating = waiting.into_iter().all(|found| found.reason.as_deref() == Some("ContainerCreating"));
    if !scheduled || !is_creating || pod.metadata.deletion_timestamp.is_some() || now - created(pod) < SETUP_MS {
        return None;
    }
    let is = |component| names::component_is(Some(pod.labels()), component);
    let check = if is(Component::Worker) || is(Component::Reporter) { "spec.worker" } else { "spec.jobsender" };
    Some(Doubt {
        uid: pod.uid()?,
        reason: None,
        since: 0,
        problem: Reason::Pod("NotSetUp".to_owned()),
        before: format!("pod {} is not set up", pod.name_any()),
        after: format!("check {check}, and what the pod mounts"),
    })
}

fn created(pod: &Pod) -> i64 {
    pod.creation_timestamp().map_or(0, |time| time.0.as_millisecond())
}

/// What the last of the events says of what is missing.
fn answer(doubt: &Doubt, events: &[Event]) -> Option<Problem> {
    let last = events.iter().max_by_key(|event| time(event))?;
    let counts = last.type_.as_deref() == Some("Warning")
        && time(last).as_millisecond() >= doubt.since
        && doubt.reason.is_none_or(|reason| last.reason.as_deref() == Some(reason));
    let words = last.message.as_deref().unwrap_or_default();
    let reason = last.reason.as_deref().unwrap_or_default();
    let said = if doubt.reason.is_none() { format!("{reason}: {words}") } else { without_random_name(words) };
    let Doubt { problem, before, after, .. } = doubt;
    counts.then(|| Problem::new(problem.clone(), format!("{before}: {said}; {after}")))
}

/// When an event was seen last.
fn time(event: &Event) -> Timestamp {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.or(last).or(first).unwrap_or_default()
}

/// A message without the random end of a pod's name: each try has another one, and each look would change the status.
pub fn without_random_name(words: &str) -> String {
    let named = words.split_once("pods \"").and_then(|(before, rest)| {
        let (name, after) = rest.split_once('"')?;
        let (base, random) = name.rsplit_once('-')?;
        (random.len() == 5).then(|| format!("{before}pods \"{base}-\"{after}"))
    });
    named.unwrap_or_else(|| words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::dereference::cluster::JobState;
    use crate::job_controller::dereference::cluster::tests::pod;
    use crate::job_controller::ownership::Child;
    use crate::job_controller::runs::lifecycle::tests::job;

    const NOW: i64 = 1_767_225_600_000;

    fn event(kind: &str, reason: &str, second: u8, message: &str) -> Event {
        let text = serde_json::json!({
            "metadata": {}, "involvedObject": {}, "type": kind, "reason": reason, "message": message,
            "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
        });
        serde_json::from_value(text).unwrap()
    }

    fn told(cluster: &Cluster, events: &[Event]) -> Vec<(String, String)> {
        let found = doubts(cluster, NOW);
        let found = found.iter().filter_map(|doubt| answer(doubt, events));
        found.map(|problem| (problem.reason.to_string(), problem.message)).collect()
    }

    #[test]
    fn a_job_whose_pods_are_refused_says_why() {
        let one = |job: ObservedJob| Cluster { jobs: vec![job], ..Cluster::default() };
        let unfinished = job("photos-run-1", JobState::Unfinished);
        let refused = [
            event("Warning", "FailedCreate", 1, "Error creating: old"),
            event(
                "Warning",
                "FailedCreate",
                2,
                "Error creating: pods \"photos-run-1-x7k2p\" is forbidden: exceeded quota",
            ),
        ];
        let found = told(&one(unfinished.clone()), &refused);
        assert_eq!(found[0].0, "PodFailedCreate");
        let words = "Kubernetes makes no pod of Job photos-run-1: Error creating: pods \"photos-run-1-\" is forbidden: exceeded quota; check spec.jobsender";
        assert!(found[0].1.starts_with(words), "{}", found[0].1);
        let at_work = ObservedJob { active: true, ..unfinished.clone() };
        let held = ObservedJob { suspended: true, ..unfinished.clone() };
        let over = ObservedJob { state: JobState::Succeeded, ..unfinished.clone() };
        for quiet in [at_work, held, over] {
            assert_eq!(told(&one(quiet.clone()), &refused), [], "{quiet:?}");
        }
        assert_eq!(told(&one(unfinished.clone()), &[]), []);
        // A pod was made after that.
        let later = pod(
            "metadata: {name: p, creationTimestamp: '2026-01-01T00:00:03Z', ownerReferences: [{apiVersion: batch/v1, kind: Job, \
             name: photos-run-1, uid: uid-photos-run-1, controller: true}]}\nstatus: {phase: Failed}",
        );
        assert_eq!(told(&Cluster { pods: vec![later], ..one(unfinished) }, &refused), []);
    }

    #[test]
    fn a_schedule_whose_jobs_are_refused_says_why() {
        let schedule = |suspend: bool, last: &str| {
            let text = format!(
                "metadata: {{name: photos-jobsender, uid: c}}\nspec: {{schedule: '@daily', suspend: {suspend}, jobTemplate: \
                 {{}}}}\nstatus: {{lastScheduleTime: '{last}'}}"
            );
            Cluster { cron_job: Child::Ours(serde_yaml::from_str(&text).unwrap()), ..Cluster::default() }
        };
        let refused = [event("Warning", "FailedCreate", 5, "Error creating job: exceeded quota")];
        let found = told(&schedule(false, "2026-01-01T00:00:00Z"), &refused);
        assert_eq!(found[0].0, "JobFailedCreate");
        assert!(found[0].1.contains("CronJob photos-jobsender: Error creating job: exceeded quota"), "{}", found[0].1);
        assert_eq!(told(&schedule(true, "2026-01-01T00:00:00Z"), &refused), []);
        assert_eq!(told(&schedule(false, "2026-01-01T00:00:09Z"), &refused), [], "it was made since");
    }

    #[test]
    fn a_pod_that_can_not_be_set_up_says_why() {
        let pending = |created: &str, reason: &str| {
            let one = pod(&format!(
                "metadata: {{name: p, uid: u, creationTimestamp: '{created}'}}\nstatus: {{phase: Pending, conditions: [{{type: \
                 PodScheduled, status: 'True'}}], containerStatuses: [{{name: c, image: i, imageID: '', ready: false, \
                 restartCount: 0, state: {{waiting: {{reason: {reason}}}}}}}]}}"
            ));
            Cluster { pods: vec![one], ..Cluster::default() }
        };
        let (old, new) = ("2025-12-31T23:59:00Z", "2025-12-31T23:59:58Z");
        let failed = event("Warning", "FailedMount", 1, "secret \"x\" not found");
        let found = told(&pending(old, "ContainerCreating"), std::slice::from_ref(&failed));
        assert_eq!(found[0].0, "PodNotSetUp");
        assert!(found[0].1.contains("pod p is not set up: FailedMount: secret \"x\" not found"), "{}", found[0].1);
        assert_eq!(
            told(&pending(new, "ContainerCreating"), std::slice::from_ref(&failed)),
            [],
            "it has just been made"
        );
        assert_eq!(
            told(&pending(old, "ImagePullBackOff"), std::slice::from_ref(&failed)),
            [],
            "that is told elsewhere"
        );
        let goes_on = [failed, event("Normal", "Pulling", 2, "Pulling image")];
        assert_eq!(told(&pending(old, "ContainerCreating"), &goes_on), []);
    }

    #[test]
    fn words_stay_the_same_from_try_to_try() {
        assert_eq!(without_random_name("x pods \"a-b-12345\" y"), "x pods \"a-b-\" y");
        assert_eq!(without_random_name("x pods \"a-b-\" y"), "x pods \"a-b-\" y");
        assert_eq!(without_random_name("nothing"), "nothing");
    }
}
