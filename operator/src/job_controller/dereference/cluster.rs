//! The objects of a job in the cluster, as far as decisions and status need them. Labels only find objects; whose they are
//! is decided by their controller (see [`crate::job_controller::ownership`]).

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

mod jobs;
mod pods;
pub mod preflights;
pub mod refusals;

use crate::job_controller::context::Context;
use crate::job_controller::kubernetes::{self, RequestError};
use crate::job_controller::ownership::{Child, Owner, is_controlled_by, is_job_of};
use crate::names::{self, Component};
use jobs::observed_job;
pub use jobs::{JobState, ObservedJob, state, termination_message};
pub use pods::pod_problem;
use preflights::ObservedPreflight;

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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pod(yaml: &str) -> Pod {
        serde_yaml::from_str(yaml).unwrap()
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
