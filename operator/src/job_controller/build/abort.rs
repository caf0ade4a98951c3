//! The Job that aborts unfinished uploads when the resource is deleted. It is a child that does not block the deletion:
//! Kubernetes deletes those that do before the finalizer has run, if the deletion is in the foreground.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::ConfigMap;

use super::job::failure_policy;
use super::pod::{self, Program};
use super::{config_map, metadata, outlasting};
use crate::job_controller::validate::ValidatedJob;
use crate::names::{self, Component};

/// The deadline of the Job, in seconds.
pub const DEADLINE_SECONDS: i64 = 120;

/// Builds the Job and the `ConfigMap` that it reads.
pub fn build(job: &ValidatedJob) -> (ConfigMap, Job) {
    let name = names::abort(&job.name);
    let config = ConfigMap {
        metadata: outlasting(metadata(job, name.clone(), Component::Config)),
        immutable: None,
        ..config_map::build(job)
    };
    let spec = JobSpec {
        template: pod::template(job, Program::AbortUploads, name.clone()),
        backoff_limit: Some(1),
        pod_failure_policy: Some(failure_policy(Program::AbortUploads, &[])),
        active_deadline_seconds: Some(DEADLINE_SECONDS),
        ..JobSpec::default()
    };
    let job = Job { metadata: outlasting(metadata(job, name, Component::Jobsender)), spec: Some(spec), status: None };
    (config, job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;

    #[test]
    fn it_outlives_the_children_of_its_resource_and_ends() {
        let job = validated(|job| job.spec.worker.service_account_name = Some("mover".into()));
        let (config, job) = build(&job);
        for metadata in [&config.metadata, &job.metadata] {
            let owner = &metadata.owner_references.as_ref().unwrap()[0];
            assert_eq!(
                (owner.uid.as_str(), owner.controller, owner.block_owner_deletion),
                ("u-1", Some(true), Some(false))
            );
        }
        let spec = job.spec.unwrap();
        assert_eq!((spec.active_deadline_seconds, spec.backoff_limit), (Some(120), Some(1)));
        let pod = spec.template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some("mover"));
        let volume = pod.volumes.unwrap()[0].config_map.clone().unwrap();
        assert_eq!(Some(volume.name), config.metadata.name);
    }
}
