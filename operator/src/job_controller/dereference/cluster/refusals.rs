//! Reads from events what Kubernetes refused to create for a child. Jobs and `CronJobs` have no condition for objects that
//! their controllers cannot create, and pods none for what the kubelet cannot set up.
//!
//! Events are read only if something is missing that they may explain.

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
/// The reason of the events of controllers that could not create an object.
/// Source: `FailedCreatePodReason` in Kubernetes' `pkg/controller`, and `pkg/controller/cronjob`.
const FAILED_CREATE: &str = "FailedCreate";

/// Something that is missing, and the events that may explain it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    /// UID of the object that the events are about.
    uid: String,
    /// The reason of the events that count; if none is given, the last event counts if it is a warning.
    reason: Option<&'static str>,
    /// Only events after this count, in milliseconds since 1970.
    since: i64,
    /// The reason of the problem.
    problem: Reason,
    /// The text before Kubernetes' message.
    before: String,
    /// The text after it.
    after: String,
}

/// Returns what Kubernetes refused to create. Without the permission to read events this is nothing.
pub async fn read(context: &Context, namespace: &str, cluster: &Cluster) -> Vec<Problem> {
    let api = context.api::<Event>(namespace);
    let mut found = Vec::new();
    for missing in missing(cluster, context.now()) {
        let about = match missing.reason {
            Some(reason) => format!("involvedObject.uid={},reason={reason}", missing.uid),
            None => format!("involvedObject.uid={}", missing.uid),
        };
        match api.list(&ListParams::default().fields(&about)).await {
            Ok(events) => found.extend(problem(&missing, &events.items)),
            Err(error) => {
                warn!(namespace, %error, "failed to list events: refusals of Kubernetes are not reported");
            }
        }
    }
    found
}

/// Returns what is missing: pods of a Job, a Job of the schedule, the containers of a pod.
fn missing(cluster: &Cluster, now: i64) -> Vec<Missing> {
    let jobs = cluster.jobs.iter().map(|job| (job, "spec.jobsender"));
    let jobs = jobs.chain(cluster.followups.iter().map(|job| (job, "spec.worker and spec.jobsender")));
    let of_worker = cluster.notifiers.iter().chain(cluster.preflights.iter().map(|preflight| &preflight.job));
    let jobs = jobs.chain(of_worker.map(|job| (job, "spec.worker")));
    let jobs = jobs.filter_map(|(job, check)| without_pods(job, check, &cluster.pods));
    let pod = cluster.pods.iter().find_map(|pod| not_set_up(pod, now));
    jobs.chain(without_jobs(cluster)).chain(pod).collect()
}

fn without_pods(job: &ObservedJob, check: &str, pods: &[Pod]) -> Option<Missing> {
    if !job.is_unfinished() || job.suspended || job.active {
        return None;
    }
    let own = pods.iter().filter(|pod| is_controlled_by(&pod.metadata, &job.uid));
    Some(Missing {
        uid: job.uid.clone(),
        reason: Some(FAILED_CREATE),
        since: own.map(created).max().unwrap_or_default(),
        problem: Reason::Pod(FAILED_CREATE.to_owned()),
        before: format!("Kubernetes cannot create a pod of Job {}", job.name),
        after: format!("check {check}, and the namespace's quotas and policies; the job then continues by itself"),
    })
}

fn without_jobs(cluster: &Cluster) -> Option<Missing> {
    let schedule = cluster.cron_job.ours().filter(|schedule| schedule.spec.suspend != Some(true))?;
    let last = schedule.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    Some(Missing {
        uid: schedule.uid()?,
        reason: Some(FAILED_CREATE),
        since: last.map_or(0, |time| time.0.as_millisecond()),
        problem: Reason::JobFailedCreate,
        before: format!("Kubernetes cannot create a Job of CronJob {}", schedule.name_any()),
        after: "check the namespace's quotas and policies; the next run starts on schedule".to_owned(),
    })
}

/// Returns a pod that has a node and whose containers are not created, without a reason in its status.
fn not_set_up(pod: &Pod, now: i64) -> Option<Missing> {
    let status = pod.status.as_ref().filter(|status| status.phase.as_deref() == Some("Pending"))?;
    let conditions = status.conditions.iter().flatten();
    let scheduled = conditions.into_iter().any(|found| found.type_ == "PodScheduled" && found.status == "True");
    let waiting = status.container_statuses.iter().flatten().filter_map(|found| found.state.as_ref()?.waiting.as_ref());
    let is_creating = waiting.into_iter().all(|found| found.reason.as_deref() == Some("ContainerCreating"));
    if !scheduled || !is_creating || pod.metadata.deletion_timestamp.is_some() || now - created(pod) < SETUP_MS {
        return None;
    }
    let is = |component| names::component_is(Some(pod.labels()), component);
    let of_worker = [Component::Worker, Component::Reporter, Component::Notifier, Component::Preflight];
    let check = if of_worker.into_iter().any(is) { "spec.worker" } else { "spec.jobsender" };
    Some(Missing {
        uid: pod.uid()?,
        reason: None,
        since: 0,
        problem: Reason::Pod("NotSetUp".to_owned()),
        before: format!("pod {} is not set up", pod.name_any()),
        after: format!("check {check} and the objects that the pod mounts"),
    })
}

fn created(pod: &Pod) -> i64 {
    pod.creation_timestamp().map_or(0, |time| time.0.as_millisecond())
}

/// Returns the problem to report if the last of the events explains what is missing.
fn problem(missing: &Missing, events: &[Event]) -> Option<Problem> {
    let last = events.iter().max_by_key(|event| time(event))?;
    let counts = last.type_.as_deref() == Some("Warning")
        && time(last).as_millisecond() >= missing.since
        && missing.reason.is_none_or(|reason| last.reason.as_deref() == Some(reason));
    let message = last.message.as_deref().unwrap_or_default();
    let reason = last.reason.as_deref().unwrap_or_default();
    let said = if missing.reason.is_none() { format!("{reason}: {message}") } else { without_random_name(message) };
    let Missing { problem, before, after, .. } = missing;
    counts.then(|| Problem::new(problem.clone(), format!("{before}: {said}; {after}")))
}

/// Returns when an event was observed last.
fn time(event: &Event) -> Timestamp {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.or(last).or(first).unwrap_or_default()
}

/// Removes the random end of a pod's name from a message: it differs each time, and would change the status each time.
pub fn without_random_name(message: &str) -> String {
    let named = message.split_once("pods \"").and_then(|(before, rest)| {
        let (name, after) = rest.split_once('"')?;
        let (base, random) = name.rsplit_once('-')?;
        (random.len() == 5).then(|| format!("{before}pods \"{base}-\"{after}"))
    });
    named.unwrap_or_else(|| message.to_owned())
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

    fn reported(cluster: &Cluster, events: &[Event]) -> Vec<(String, String)> {
        let found = missing(cluster, NOW);
        let found = found.iter().filter_map(|missing| problem(missing, events));
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
        let found = reported(&one(unfinished.clone()), &refused);
        assert_eq!(found[0].0, "PodFailedCreate");
        let words = "Kubernetes cannot create a pod of Job photos-run-1: Error creating: pods \"photos-run-1-\" is forbidden: exceeded quota; check spec.jobsender";
        assert!(found[0].1.starts_with(words), "{}", found[0].1);
        let at_work = ObservedJob { active: true, ..unfinished.clone() };
        let held = ObservedJob { suspended: true, ..unfinished.clone() };
        let over = ObservedJob { state: JobState::Succeeded, ..unfinished.clone() };
        for quiet in [at_work, held, over] {
            assert_eq!(reported(&one(quiet.clone()), &refused), [], "{quiet:?}");
        }
        assert_eq!(reported(&one(unfinished.clone()), &[]), []);
        // A pod was created after that.
        let later = pod(
            "metadata: {name: p, creationTimestamp: '2026-01-01T00:00:03Z', ownerReferences: [{apiVersion: batch/v1, kind: Job, \
             name: photos-run-1, uid: uid-photos-run-1, controller: true}]}\nstatus: {phase: Failed}",
        );
        assert_eq!(reported(&Cluster { pods: vec![later], ..one(unfinished) }, &refused), []);
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
        let found = reported(&schedule(false, "2026-01-01T00:00:00Z"), &refused);
        assert_eq!(found[0].0, "JobFailedCreate");
        assert!(found[0].1.contains("CronJob photos-jobsender: Error creating job: exceeded quota"), "{}", found[0].1);
        assert_eq!(reported(&schedule(true, "2026-01-01T00:00:00Z"), &refused), []);
        assert_eq!(reported(&schedule(false, "2026-01-01T00:00:09Z"), &refused), [], "it was made since");
    }

    #[test]
    fn a_pod_that_cannot_be_set_up_says_why() {
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
        let found = reported(&pending(old, "ContainerCreating"), std::slice::from_ref(&failed));
        assert_eq!(found[0].0, "PodNotSetUp");
        assert!(found[0].1.contains("pod p is not set up: FailedMount: secret \"x\" not found"), "{}", found[0].1);
        assert_eq!(
            reported(&pending(new, "ContainerCreating"), std::slice::from_ref(&failed)),
            [],
            "it has just been made"
        );
        assert_eq!(
            reported(&pending(old, "ImagePullBackOff"), std::slice::from_ref(&failed)),
            [],
            "that is reported elsewhere"
        );
        let goes_on = [failed, event("Normal", "Pulling", 2, "Pulling image")];
        assert_eq!(reported(&pending(old, "ContainerCreating"), &goes_on), []);
    }

    #[test]
    fn messages_stay_the_same_from_one_attempt_to_the_next() {
        assert_eq!(without_random_name("x pods \"a-b-12345\" y"), "x pods \"a-b-\" y");
        assert_eq!(without_random_name("x pods \"a-b-\" y"), "x pods \"a-b-\" y");
        assert_eq!(without_random_name("nothing"), "nothing");
    }
}
