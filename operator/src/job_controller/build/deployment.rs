//! The Deployment of workers. Their number is not part of it: see [`crate::job_controller::scale`].

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::metadata;
use super::pod::{self, Program};
use crate::job_controller::validate::ValidatedJob;
use crate::names::{self, Component};

/// Builds the Deployment.
pub fn build(job: &ValidatedJob) -> Deployment {
    Deployment {
        metadata: metadata(job, names::worker(&job.name), Component::Worker),
        spec: DeploymentSpec {
            selector: LabelSelector {
                match_labels: Some(names::selector(&job.name, Component::Worker)),
                match_expressions: None,
            },
            revision_history_limit: Some(2),
            template: pod::template(job, Program::Worker, names::config_map(&job.name, &job.config_hash)),
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;

    #[test]
    fn the_selector_fits_the_pods_and_no_number_is_given() {
        let spec = build(&validated(|job| job.spec.scaling.min_replicas = 2)).spec;
        assert_eq!(spec.replicas, None);
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        let selector = spec.selector.match_labels.unwrap();
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
        assert!(selector.contains_key(names::JOB_LABEL));
    }
}
