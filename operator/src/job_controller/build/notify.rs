//! The Jobs that configure the source buckets to send their events to the queue, and that remove what was configured.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::ConfigMap;

use super::job::{CONFIG_INVALID, failure_policy, spec_of};
use super::pod::{self, Program};
use super::{config_map, metadata, outlasting};
use crate::job_controller::validate::ValidatedJob;
use crate::names::{self, Component};

/// The deadline of a Job, in seconds: time for an image to be pulled, and for a few requests to each of 50 buckets.
pub const DEADLINE_SECONDS: i64 = 300;
/// How long an ended Job stays for its log, in seconds. One that failed is created again then.
pub const KEEP_SECONDS: i32 = 600;
/// The number of pods that may fail before the Job fails.
const BACKOFF_LIMIT: i32 = 2;

/// Builds the Job that makes the notification entries what the configuration says.
pub fn build(job: &ValidatedJob, name: String, buckets: &[String]) -> Job {
    let mut metadata = metadata(job, name, Component::Notifier);
    metadata.annotations = Some([(names::BUCKETS_ANNOTATION.to_owned(), buckets.join(","))].into());
    let spec = JobSpec {
        backoff_limit: Some(BACKOFF_LIMIT),
        active_deadline_seconds: Some(DEADLINE_SECONDS),
        ttl_seconds_after_finished: Some(KEEP_SECONDS),
        ..spec_of(job, Program::Notify, &[CONFIG_INVALID])
    };
    Job { metadata, spec: Some(spec), status: None }
}

/// Builds the Job that removes all entries when the resource is deleted, and the `ConfigMap` that it reads. Both outlast the
/// other children.
pub fn removal(job: &ValidatedJob) -> (ConfigMap, Job) {
    let name = names::remove_notifications(&job.name);
    let config = ConfigMap {
        metadata: outlasting(metadata(job, name.clone(), Component::Config)),
        immutable: None,
        ..config_map::build(job)
    };
    let spec = JobSpec {
        template: pod::template(job, Program::RemoveNotifications, name.clone()),
        backoff_limit: Some(BACKOFF_LIMIT),
        pod_failure_policy: Some(failure_policy(Program::RemoveNotifications, &[CONFIG_INVALID])),
        active_deadline_seconds: Some(DEADLINE_SECONDS),
        ..JobSpec::default()
    };
    let job = Job { metadata: outlasting(metadata(job, name, Component::Notifier)), spec: Some(spec), status: None };
    (config, job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;

    #[test]
    fn buckets_are_configured_with_the_rights_of_workers() {
        let job = validated(|job| {
            job.spec.worker.service_account_name = Some("mover".into());
            job.spec.jobsender.service_account_name = Some("lister".into());
        });
        let apply = build(&job, "photos-notify-1".into(), &["a".into(), "b".into()]);
        assert_eq!(apply.metadata.annotations.as_ref().unwrap()[names::BUCKETS_ANNOTATION], "a,b");
        let (config, remove) = removal(&job);
        let owner = &remove.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!(owner.block_owner_deletion, Some(false), "it outlives the children of its resource");
        assert_eq!(config.metadata.name, remove.metadata.name);
        for (job, arguments) in [(apply, &["notify"][..]), (remove, &["notify", "--remove"])] {
            let spec = job.spec.unwrap();
            assert_eq!(spec.active_deadline_seconds, Some(300));
            let pod = spec.template.spec.unwrap();
            assert_eq!(pod.service_account_name.as_deref(), Some("mover"));
            assert_eq!(pod.containers[0].args.as_ref().unwrap()[2..], *arguments);
        }
    }
}
