//! The Jobs of jobsenders.

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};

use super::metadata;
use super::pod::{self, Program};
use crate::job_controller::validate::ValidatedJob;
use crate::names::{self, Component};

/// The exit code of the programs for a configuration that cannot be used: another attempt would end the same way.
pub const CONFIG_INVALID: i32 = 2;
/// The exit code of the programs if they were stopped before they were done (128 + SIGTERM). Never 0, which Kubernetes would
/// take for success.
pub const INTERRUPTED: i32 = 143;
/// The number of pods that may fail before the Job fails. Pods that were disrupted or stopped do not count.
const BACKOFF_LIMIT: i32 = 3;

/// Builds the specification of Jobs, both of the schedule and of the operator.
pub fn spec(job: &ValidatedJob) -> JobSpec {
    spec_of(job, Program::Send, &[CONFIG_INVALID])
}

/// Builds the specification of a Job of a program. After one of the final exit codes it is not retried.
pub fn spec_of(job: &ValidatedJob, program: Program, final_codes: &[i32]) -> JobSpec {
    JobSpec {
        template: pod::template(job, program, names::config_map(&job.name, &job.config_hash)),
        backoff_limit: Some(BACKOFF_LIMIT),
        pod_failure_policy: Some(failure_policy(program, final_codes)),
        ..JobSpec::default()
    }
}

/// Builds the policy for pods that end. The first rule that matches counts; if none does, the pod has failed.
///
/// | pod | means |
/// |---|---|
/// | drained, evicted, preempted, its node gone (`DisruptionTarget`) | nothing: another pod continues |
/// | stopped by somebody, as by `kubectl delete pod` (exit code 143) | nothing: another pod continues |
/// | ended with a final code | the Job has failed |
///
/// Source: "Pod failure policy" in the Kubernetes documentation of Jobs.
pub fn failure_policy(program: Program, final_codes: &[i32]) -> PodFailurePolicy {
    let on_codes = |action: &str, codes: &[i32]| PodFailurePolicyRule {
        action: action.to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(program.component().as_str().to_owned()),
            operator: "In".to_owned(),
            values: codes.to_vec(),
        }),
        on_pod_conditions: None,
    };
    let disrupted = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: Some("True".to_owned()),
        }]),
    };
    let mut rules = vec![disrupted, on_codes("Ignore", &[INTERRUPTED])];
    if !final_codes.is_empty() {
        rules.push(on_codes("FailJob", final_codes));
    }
    PodFailurePolicy { rules }
}

/// Builds the Job of a run that the operator starts. `manual` is the value of spec.trigger.manual that it answers.
pub fn build(job: &ValidatedJob, number: u32, manual: Option<&str>) -> Job {
    let mut metadata = metadata(job, names::run(&job.name, number), Component::Jobsender);
    metadata.annotations = manual.map(|manual| [(names::MANUAL_ANNOTATION.to_owned(), manual.to_owned())].into());
    Job { metadata, spec: Some(spec(job)), status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;

    #[test]
    fn a_configuration_that_can_not_be_used_is_not_tried_again() {
        let spec = spec(&validated(|_| ()));
        let rule = &spec.pod_failure_policy.unwrap().rules[2];
        assert_eq!(rule.action, "FailJob");
        let codes = rule.on_exit_codes.as_ref().unwrap();
        assert_eq!((codes.operator.as_str(), codes.values.as_slice()), ("In", &[2][..]));
        let pod = spec.template.spec.unwrap();
        assert_eq!(codes.container_name.as_deref(), Some(pod.containers[0].name.as_str()));
        // A pod failure policy asks for it.
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
        assert_eq!(spec.ttl_seconds_after_finished, None);
    }

    #[test]
    fn a_pod_that_was_evicted_or_told_to_end_has_not_failed() {
        let spec = spec(&validated(|_| ()));
        let rules = serde_json::to_value(spec.pod_failure_policy.unwrap().rules).unwrap();
        let disrupted = serde_json::json!({
            "action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        });
        assert_eq!(rules[0], disrupted);
        assert_eq!((&rules[1]["action"], &rules[1]["onExitCodes"]["values"]), (&"Ignore".into(), &vec![143].into()));
        // Time spent waiting for a node is no reason to give up.
        assert_eq!(spec.active_deadline_seconds, None);
    }

    #[test]
    fn a_run_says_what_asked_for_it() {
        let annotation = |manual| build(&validated(|_| ()), 2, manual).metadata.annotations;
        assert_eq!(annotation(None), None);
        assert_eq!(annotation(Some("again")).unwrap()[names::MANUAL_ANNOTATION], "again");
        assert_eq!(build(&validated(|_| ()), 2, None).metadata.name.as_deref(), Some("photos-run-2"));
    }
}
