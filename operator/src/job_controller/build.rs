//! Builds the objects of a job in the cluster: pure functions of a [`ValidatedJob`].

pub mod abort;
pub mod autoscaler;
pub mod config_map;
pub mod cron_job;
pub mod deployment;
pub mod followup;
pub mod job;
pub mod notify;
pub mod pod;
pub mod preflight;
pub mod scaled_object;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::job_controller::validate::ValidatedJob;
use crate::job_controller::validate::run_configs::RunConfigs;
use crate::names::{self, Component};

/// The objects that are applied for a job. Jobs are not among them: they are created once and never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// The configurations of all programs, each once.
    pub config_maps: Vec<ConfigMap>,
    /// The CronJob of jobsenders: on schedule, and by hand with `kubectl create job --from`.
    pub cron_job: CronJob,
    /// The Deployment of workers, without their number.
    pub deployment: Deployment,
}

/// Builds the objects that are applied.
pub fn resources(configs: &RunConfigs) -> Resources {
    let mut config_maps = vec![config_map::build(&configs.next), config_map::build(&configs.last)];
    config_maps.dedup();
    let (cron_job, deployment) = (cron_job::build(&configs.next), deployment::build(configs.workers()));
    Resources { config_maps, cron_job, deployment }
}

fn metadata(job: &ValidatedJob, name: String, component: Component) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(job.namespace.clone()),
        labels: Some(names::labels(&job.name, component)),
        owner_references: Some(vec![job.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// Makes a child outlast the finalizers of its owner. If the owner is deleted in the foreground, the garbage collector deletes
/// only children that block its deletion before the finalizers have run. Source:
/// `attemptToDeleteItem` and `classifyReferences` in Kubernetes' `pkg/controller/garbagecollector`.
fn outlasting(mut metadata: ObjectMeta) -> ObjectMeta {
    for owner in metadata.owner_references.iter_mut().flatten() {
        owner.block_owner_deletion = Some(false);
    }
    metadata
}
