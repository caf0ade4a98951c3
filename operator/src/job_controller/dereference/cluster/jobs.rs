//! Jobs, and how their pods ended.

use k8s_openapi::api::batch::v1::{Job, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::pods::{readable, statuses};
use crate::names;

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

/// Returns the state of a Job with these pods.
pub fn observed_job(job: &Job, pods: &[Pod]) -> ObservedJob {
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
pub fn last_message(pods: &[Pod], job: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::dereference::cluster::tests::pod;

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
}
