//! The stores of what is watched: the resources, and the metadata of their children.
//!
//! A store may lag behind the API server. So it decides only whether something changed since it was read; what is
//! written is decided by what is read directly.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Event as CoreEvent};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};
use migration_api::MigrationJob;

use crate::names;

/// A `MigrationJob` that is watched, or the error where it does not match the schema.
pub type WatchedJob = DeserializeGuard<MigrationJob>;
/// Metadata of the children of a kind.
pub type Children<K> = Store<PartialObjectMeta<K>>;

/// The stores of one operator.
pub struct Watched {
    /// The resources.
    pub jobs: Store<WatchedJob>,
    /// The configurations.
    pub config_maps: Children<ConfigMap>,
    /// The schedules.
    pub cron_jobs: Children<CronJob>,
    /// The workers.
    pub deployments: Children<Deployment>,
    /// The Jobs of runs and of what follows them.
    pub runs: Children<Job>,
    /// The events about Jobs that a schedule could not create.
    pub refused: Store<CoreEvent>,
}

/// Identifies a state of an object: its kind, name, UID and resource version.
type Version = (&'static str, String, Option<String>, Option<String>);

impl Watched {
    /// Returns a digest of the versions of a resource's children, as they were seen last.
    pub fn children_of(&self, namespace: &str, job: &str) -> u64 {
        let mut all = Vec::new();
        collect(&mut all, "ConfigMap", &self.config_maps, namespace, job);
        collect(&mut all, "CronJob", &self.cron_jobs, namespace, job);
        collect(&mut all, "Deployment", &self.deployments, namespace, job);
        collect(&mut all, "Job", &self.runs, namespace, job);
        let cron_job = names::cron_job(job);
        let events = self.refused.state().into_iter().filter(|event| {
            let about = &event.involved_object;
            about.namespace.as_deref() == Some(namespace) && about.name.as_deref() == Some(&cron_job)
        });
        all.extend(events.map(|event| version("Event", &*event)));
        all.sort();
        let mut hasher = DefaultHasher::new();
        all.hash(&mut hasher);
        hasher.finish()
    }
}

fn collect<K>(all: &mut Vec<Version>, kind: &'static str, store: &Children<K>, namespace: &str, job: &str)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let is_child = |child: &Arc<PartialObjectMeta<K>>| {
        child.metadata.namespace.as_deref() == Some(namespace)
            && child.labels().get(names::JOB_LABEL).is_some_and(|name| name == job)
    };
    all.extend(store.state().into_iter().filter(is_child).map(|child| version(kind, &*child)));
}

fn version<K: Resource>(kind: &'static str, object: &K) -> Version {
    let meta = object.meta();
    (kind, meta.name.clone().unwrap_or_default(), meta.uid.clone(), meta.resource_version.clone())
}
