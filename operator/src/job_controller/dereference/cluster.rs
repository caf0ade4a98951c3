//! The objects of a job in the cluster, as far as decisions and status need them. Labels only find objects; whose they are
//! is decided by their controller (see [`crate::job_controller::ownership`]).

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job, JobCondition};
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStateTerminated, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use migration_api::Reason;
use serde::Deserialize;

pub mod preflights;
pub mod refusals;

use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::ownership::{Child, Owner, is_controlled_by, is_job_of};
use crate::names::{self, Component};
use crate::problem::Problem;
use preflights::ObservedPreflight;
use refusals::without_random_name;

/// The objects of a job in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The Jobs of jobsenders, the newest one first.
    pub jobs: Vec<ObservedJob>,
    /// The Jobs that verify runs or write reports.
    pub followups: Vec<ObservedJob>,
    /// The Jobs that configure source buckets.
    pub notifiers: Vec<ObservedJob>,
    /// The Jobs that try the buckets.
    pub preflights: Vec<ObservedPreflight>,
    /// The pods.
    pub pods: Vec<Pod>,
    /// The configurations that have the job's labels.
    pub config_maps: Vec<ConfigMap>,
    /// The names of the configurations that something may still read.
    pub config_maps_used: BTreeSet<String>,
    /// The CronJob of jobsenders.
    pub cron_job: Child<CronJob>,
    /// The Deployment of workers.
    pub deployment: Child<Deployment>,
}

/// A Job of a jobsender, a verifier or a reporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resource version when it was read.
    pub version: Option<String>,
    /// When it was created, in milliseconds since 1970.
    pub created: i64,
    /// When it was created or resumed, in milliseconds since 1970.
    pub begun: i64,
    /// Its state.
    pub state: JobState,
    /// When it ended, in milliseconds since 1970.
    pub finished: Option<i64>,
    /// A pod of it exists and has not ended.
    pub active: bool,
    /// The pod that failed last was killed from outside.
    pub killed: bool,
    /// It is suspended.
    pub suspended: bool,
    /// The value of spec.trigger.manual that it answers, if it was created for one.
    pub manual: Option<String>,
}

/// The state of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It has not finished.
    Unfinished,
    /// Its pod succeeded.
    Succeeded,
    /// It failed for good.
    Failed {
        /// The message of the program, or of Kubernetes.
        message: String,
    },
}

impl ObservedJob {
    /// Returns what identifies the object that was read.
    pub fn object(&self) -> Job {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            uid: Some(self.uid.clone()),
            resource_version: self.version.clone(),
            ..ObjectMeta::default()
        };
        Job { metadata, ..Job::default() }
    }

    /// Returns true if the Job has not finished.
    pub fn is_unfinished(&self) -> bool {
        self.state == JobState::Unfinished
    }
}

/// Reads the objects. Those that have the labels and belong to somebody else are left out.
pub async fn read(context: &Context, namespace: &str, owner: &Owner) -> Result<Cluster, RequestError> {
    let name = &owner.name;
    let of_job = ListParams::default().labels(&names::of_job(name));
    let cron_job = kubernetes::get(&context.api(namespace), &names::cron_job(name)).await?;
    let cron_job = Child::of(cron_job, owner);
    let deployment = kubernetes::get(&context.api(namespace), &names::worker(name)).await?;
    let deployment = Child::of(deployment, owner);
    let of_configs = ListParams::default().labels(&names::of_component(name, Component::Config));
    let config_maps = kubernetes::list(&context.api(namespace), &of_configs).await?;
    let of_schedule = cron_job.ours().and_then(|cron_job: &CronJob| cron_job.metadata.uid.as_deref());
    let mut jobs = kubernetes::list::<Job>(&context.api(namespace), &of_job).await?;
    jobs.retain(|found| is_job_of(&found.metadata, owner, of_schedule));
    let pods = kubernetes::list::<Pod>(&context.api(namespace), &of_job).await?;
    let mut controllers: BTreeSet<String> = jobs.iter().filter_map(ResourceExt::uid).collect();
    controllers.extend(replica_sets(&context.api(namespace), &of_job, deployment.ours(), &pods).await?);
    let pods = own_pods(pods, &controllers);
    let config_maps_used = used(&pods, &jobs, cron_job.ours(), deployment.ours());
    let last = [names::abort(name), names::remove_notifications(name)];
    let own = jobs.iter().filter(|found| !last.contains(&found.name_any()));
    let is = |found: &Job, component| names::component_is(Some(found.labels()), component);
    let (preflights, own): (Vec<_>, Vec<_>) = own.partition(|found| is(found, Component::Preflight));
    let preflights = preflights.into_iter().filter_map(|found| preflights::observe(found, name, &pods)).collect();
    let (notifiers, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|found| is(found, Component::Notifier));
    let notifiers = notifiers.into_iter().map(|found| observed_job(found, &pods)).collect();
    let follows = |found: &&Job| is(found, Component::Verifier) || is(found, Component::Reporter);
    let (followups, jobs): (Vec<_>, Vec<_>) = own.into_iter().partition(follows);
    let followups = followups.into_iter().map(|found| observed_job(found, &pods)).collect();
    let mut jobs: Vec<_> = jobs.into_iter().map(|found| observed_job(found, &pods)).collect();
    jobs.sort_by(|a, b| (b.created, &b.name).cmp(&(a.created, &a.name)));
    Ok(Cluster { jobs, followups, notifiers, preflights, pods, config_maps, config_maps_used, cron_job, deployment })
}

/// Returns the names of the configurations of pods that exist or may still be created.
fn used(pods: &[Pod], jobs: &[Job], cron_job: Option<&CronJob>, deployment: Option<&Deployment>) -> BTreeSet<String> {
    let open = jobs.iter().filter(|job| state(job, || None) == JobState::Unfinished);
    let jobs = open.filter_map(|job| job.spec.as_ref());
    let jobs = jobs.chain(cron_job.and_then(|cron_job| cron_job.spec.job_template.spec.as_ref()));
    let specs = pods.iter().map(|pod| pod.spec.as_ref()).chain(jobs.map(|job| job.template.spec.as_ref()));
    specs.chain(deployment.map(|workers| workers.spec.template.spec.as_ref())).flat_map(mounted).collect()
}

/// Returns the names of the `ConfigMap`s that a pod mounts.
fn mounted(spec: Option<&PodSpec>) -> impl Iterator<Item = String> + '_ {
    let volumes = spec.into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()))
}

/// Returns the UIDs of the `ReplicaSets` of the job's Deployment. They are listed only if a pod has one.
async fn replica_sets(
    api: &Api<ReplicaSet>,
    of_job: &ListParams,
    deployment: Option<&Deployment>,
    pods: &[Pod],
) -> Result<Vec<String>, RequestError> {
    let Some(uid) = deployment.and_then(ResourceExt::uid) else { return Ok(Vec::new()) };
    let has_one = |pod: &Pod| pod.owner_references().iter().any(|found| found.kind == "ReplicaSet");
    if !pods.iter().any(has_one) {
        return Ok(Vec::new());
    }
    let sets = kubernetes::list_metadata(api, of_job).await?;
    Ok(sets.into_iter().filter(|found| is_controlled_by(found, &uid)).filter_map(|found| found.uid).collect())
}

/// Returns the pods that one of these UIDs controls.
pub fn own_pods(pods: Vec<Pod>, controllers: &BTreeSet<String>) -> Vec<Pod> {
    let own = |pod: &Pod| controllers.iter().any(|uid| is_controlled_by(&pod.metadata, uid));
    pods.into_iter().filter(own).collect()
}

fn observed_job(job: &Job, pods: &[Pod]) -> ObservedJob {
    let name = job.name_any();
    let created = job.creation_timestamp().map_or(0, |time| time.0.as_millisecond());
    // Kubernetes sets the start again when it resumes a Job.
    let started = job.status.as_ref().and_then(|status| status.start_time.as_ref());
    ObservedJob {
        uid: job.uid().unwrap_or_default(),
        version: job.resource_version(),
        created,
        begun: started.map_or(created, |time| time.0.as_millisecond().max(created)),
        state: state(job, || termination_message(pods, &name)),
        killed: was_killed(job, pods, &name),
        finished: finished(job),
        active: job.status.as_ref().and_then(|status| status.active).unwrap_or_default() > 0,
        suspended: job.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or(false),
        manual: job.annotations().get(names::MANUAL_ANNOTATION).cloned(),
        name,
    }
}

/// Returns the state of a Job. If it failed, `message` is asked for the message of its program.
pub fn state(job: &Job, message: impl FnOnce() -> Option<String>) -> JobState {
    if condition(job, "Complete").is_some() {
        return JobState::Succeeded;
    }
    let Some(failed) = condition(job, "Failed") else { return JobState::Unfinished };
    let kubernetes = || failed.message.clone().unwrap_or_else(|| "the Job failed".to_owned());
    JobState::Failed { message: message().unwrap_or_else(kubernetes) }
}

/// Returns a condition of a Job if it holds.
fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == kind && c.status == "True")
}

/// Returns when a Job ended, in milliseconds since 1970.
fn finished(job: &Job) -> Option<i64> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = conditions.iter().find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    Some(ended.last_transition_time.as_ref()?.0.as_millisecond())
}

/// The termination message of our programs.
#[derive(Deserialize)]
struct TerminationMessage {
    reason: String,
    message: String,
}

fn readable(text: &str) -> String {
    serde_json::from_str::<TerminationMessage>(text).map_or_else(
        |_| text.trim().chars().take(500).collect(),
        |TerminationMessage { reason, message }| format!("{reason}: {message}"),
    )
}

/// Exit code of a process that SIGKILL ended (128 + 9).
const KILLED: i32 = 137;
/// The reason of a container that the kernel killed, since it used more memory than its limit allows.
/// Source: `pkg/kubelet/kuberuntime` in Kubernetes.
const OUT_OF_MEMORY: &str = "OOMKilled";

/// The reason of a Job that failed since too many of its pods did.
/// Source: `JobReasonBackoffLimitExceeded` in the batch API.
const TOO_MANY_FAILED: &str = "BackoffLimitExceeded";

/// Returns true if the pod of a Job that failed last was killed by somebody, and not for its own use of memory. A drain
/// also removes pods that have ended; without any it is not known why they failed, and another Job will show it.
fn was_killed(job: &Job, pods: &[Pod], name: &str) -> bool {
    let is_kill =
        |end: ContainerStateTerminated| end.exit_code == KILLED && end.reason.as_deref() != Some(OUT_OF_MEMORY);
    match last_failure(pods, name) {
        Some(end) => is_kill(end),
        None => condition(job, "Failed").is_some_and(|failed| failed.reason.as_deref() == Some(TOO_MANY_FAILED)),
    }
}

/// Returns how the pod of a Job ended that failed last.
fn last_failure(pods: &[Pod], job: &str) -> Option<ContainerStateTerminated> {
    last_ended(pods, job, |end| end.exit_code != 0)
}

/// Returns the termination message of the pod of a Job that failed last.
pub fn termination_message(pods: &[Pod], job: &str) -> Option<String> {
    let last = last_failure(pods, job)?;
    let words = last.message.filter(|words| !words.trim().is_empty());
    Some(words.map_or_else(
        || format!("exit code {}, {}", last.exit_code, last.reason.unwrap_or_else(|| "no reason given".to_owned())),
        |words| readable(&words),
    ))
}

/// Returns the termination message of the pod of a Job that ended last, as the program wrote it.
fn last_message(pods: &[Pod], job: &str) -> Option<String> {
    last_ended(pods, job, |_| true)?.message
}

/// Returns how the last of those containers of a Job ended that ended so.
fn last_ended(
    pods: &[Pod],
    job: &str,
    so: impl Fn(&ContainerStateTerminated) -> bool,
) -> Option<ContainerStateTerminated> {
    let of_job = pods.iter().filter(|pod| pod.labels().get(names::JOB_NAME_LABEL).is_some_and(|name| name == job));
    let ended = of_job.flat_map(statuses).filter_map(|status| status.state.as_ref()?.terminated.clone());
    ended.filter(so).max_by_key(|end| end.finished_at.as_ref().map(|time| time.0))
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
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
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pod(yaml: &str) -> Pod {
        serde_yaml::from_str(yaml).unwrap()
    }

    const FAILED: &str = r#"
metadata: {name: p1, labels: {batch.kubernetes.io/job-name: photos-run-1}}
status:
  containerStatuses:
  - {name: jobsender, image: i, imageID: i, ready: false, restartCount: 0, state: {terminated: {exitCode: 2, finishedAt: '2026-01-01T00:00:01Z', message: '{"reason":"ConfigInvalid","message":"no"}'}}}
"#;

    #[test]
    fn a_failed_job_speaks_with_the_words_of_its_last_pod() {
        let later = FAILED.replace("00:00:01Z", "00:00:02Z").replace("no\"", "bad\"");
        let pods = [pod(FAILED), pod(&later), pod(&FAILED.replace("run-1", "run-2"))];
        assert_eq!(termination_message(&pods, "photos-run-1").as_deref(), Some("ConfigInvalid: bad"));
        assert_eq!(termination_message(&pods, "photos-run-3"), None);
        let silent =
            FAILED.replace("message: '{\"reason\":\"ConfigInvalid\",\"message\":\"no\"}'", "reason: OOMKilled");
        assert_eq!(termination_message(&[pod(&silent)], "photos-run-1").as_deref(), Some("exit code 2, OOMKilled"));
    }

    #[test]
    fn a_pod_was_killed_unless_its_memory_was_the_reason_or_another_failed_later() {
        let ended = |code: u8, reason: &str, second: u8| {
            let (code, second) = (format!("exitCode: {code}, reason: {reason}"), format!("00:00:0{second}Z"));
            pod(&FAILED.replace("exitCode: 2", &code).replace("00:00:01Z", &second))
        };
        let job = |reason: &str| -> Job {
            let failed = format!("{{type: Failed, status: 'True', reason: {reason}}}");
            serde_yaml::from_str(&format!("status: {{conditions: [{failed}]}}")).unwrap()
        };
        let (too_many, policy) = ("BackoffLimitExceeded", "PodFailurePolicy");
        for (pods, reason, expected) in [
            (vec![ended(137, "Error", 1)], too_many, true),
            (vec![ended(137, "OOMKilled", 1)], too_many, false),
            (vec![ended(137, "Error", 1), ended(1, "Error", 2)], too_many, false),
            (vec![ended(1, "Error", 1), ended(137, "Error", 2)], too_many, true),
            (vec![], too_many, true),
            (vec![], policy, false),
        ] {
            assert_eq!(was_killed(&job(reason), &pods, "photos-run-1"), expected, "{pods:?} {reason}");
        }
    }

    #[test]
    fn the_time_of_a_suspension_is_none_of_a_job() {
        let job = |status: &str| -> Job {
            let metadata = "metadata: {name: photos-run-1, creationTimestamp: '2026-01-01T00:00:00Z'}";
            serde_yaml::from_str(&format!("{metadata}\nstatus: {{{status}}}")).unwrap()
        };
        let begun = |status: &str| {
            let found = observed_job(&job(status), &[]);
            found.begun - found.created
        };
        assert_eq!(begun(""), 0);
        assert_eq!(begun("startTime: '2026-01-01T00:00:05Z'"), 5_000);
    }

    #[test]
    fn a_job_is_over_when_a_condition_says_so() {
        let job = |condition: &str| -> Job {
            serde_yaml::from_str(&format!("status: {{conditions: [{condition}], failed: 2}}")).unwrap()
        };
        let state = |condition, words: Option<&str>| state(&job(condition), || words.map(ToOwned::to_owned));
        assert_eq!(state("", None), JobState::Unfinished);
        assert_eq!(state("{type: Complete, status: 'True'}", None), JobState::Succeeded);
        let failed = "{type: Failed, status: 'True', message: backoff}";
        assert_eq!(state(failed, None), JobState::Failed { message: "backoff".into() });
        assert_eq!(state(failed, Some("own")), JobState::Failed { message: "own".into() });
        assert_eq!(state("{type: Failed, status: 'False'}", None), JobState::Unfinished);
    }

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

    #[test]
    fn pods_count_by_their_controller_and_not_by_their_labels() {
        let of = |name: &str, uid: &str| {
            pod(&format!(
                "metadata: {{name: {name}, labels: {{s3migration.dev/job: photos}}, ownerReferences: [{{apiVersion: \
                 apps/v1, kind: ReplicaSet, name: r, uid: {uid}, controller: true}}]}}"
            ))
        };
        let labelled = pod("metadata: {name: mine, labels: {s3migration.dev/job: photos}}");
        let found = own_pods(vec![of("a", "r-1"), of("b", "r-2"), labelled], &["r-1".to_owned()].into());
        assert_eq!(found.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_pods_show_is_used() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [],
            "volumes": [{"name": "config", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "k"}}],
        }))
        .unwrap();
        assert_eq!(mounted(Some(&spec)).collect::<Vec<_>>(), ["c"]);
        assert_eq!(mounted(None).count(), 0);
    }
}
