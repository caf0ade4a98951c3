//! The Jobs that try the buckets before objects are moved.

use k8s_openapi::api::batch::v1::{Job, JobSpec};

use super::job::{CONFIG_INVALID, spec_of};
use super::metadata;
use super::pod::Program;
use crate::job_controller::validate::ValidatedJob;
use crate::names::{self, Component};

/// The deadline of a Job, in seconds: time for a node and an image, and four minutes for the requests.
const DEADLINE_SECONDS: i64 = 600;
/// How long an ended Job stays for its log, in seconds. Its result is in the status.
const KEEP_SECONDS: i32 = 600;

/// Builds the Job of a preflight. `checked` identifies what it checks.
pub fn build(job: &ValidatedJob, number: u32, checked: &str) -> Job {
    let mut metadata = metadata(job, names::preflight(&job.name, number), Component::Preflight);
    metadata.annotations = Some([(names::CHECKED_ANNOTATION.to_owned(), checked.to_owned())].into());
    let spec = JobSpec {
        // The operator repeats it, with growing delays.
        backoff_limit: Some(0),
        active_deadline_seconds: Some(DEADLINE_SECONDS),
        ttl_seconds_after_finished: Some(KEEP_SECONDS),
        ..spec_of(job, Program::Preflight, &[CONFIG_INVALID])
    };
    Job { metadata, spec: Some(spec), status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;

    #[test]
    fn buckets_are_tried_with_the_rights_of_workers() {
        let job = validated(|job| {
            job.spec.worker.service_account_name = Some("mover".into());
            job.spec.jobsender.service_account_name = Some("lister".into());
        });
        let built = build(&job, 2, "k");
        assert_eq!(built.metadata.name.as_deref(), Some("photos-preflight-2"));
        assert_eq!(built.metadata.annotations.unwrap()[names::CHECKED_ANNOTATION], "k");
        let spec = built.spec.unwrap();
        assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(600)));
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some("mover"));
        assert_eq!(pod.containers[0].args.as_ref().unwrap()[2..], ["preflight"]);
    }
}
