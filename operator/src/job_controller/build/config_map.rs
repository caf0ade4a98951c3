//! The configuration of a job's programs. It is immutable: another configuration has another hash and so another name, and
//! pods keep the one that they were created with.

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::job_controller::validate::ValidatedJob;
use crate::names::{self, Component};

/// The key of the document.
pub const KEY: &str = "job.yaml";

/// Builds the `ConfigMap`.
pub fn build(job: &ValidatedJob) -> ConfigMap {
    ConfigMap {
        metadata: metadata(job, names::config_map(&job.name, &job.config_hash), Component::Config),
        immutable: Some(true),
        data: Some([(KEY.to_owned(), job.config.clone())].into()),
        ..ConfigMap::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::validated;
    use migration_core::config::JobConfig;

    #[test]
    fn the_document_is_one_that_the_programs_read() {
        let map = build(&validated(|_| ()));
        let config: JobConfig = serde_yaml::from_str(&map.data.unwrap()[KEY]).unwrap();
        assert!(config.validate().is_ok());
        let owner = &map.metadata.owner_references.unwrap()[0];
        assert_eq!((owner.uid.as_str(), owner.controller), ("u-1", Some(true)));
        let other = build(&validated(|job| job.spec.transfer.max_attempts = 3));
        assert!(map.metadata.name.as_deref().unwrap().starts_with("photos-config-"));
        assert_ne!(map.metadata.name, other.metadata.name, "another content has another name");
        assert_eq!((map.immutable, other.immutable), (Some(true), Some(true)));
    }
}
