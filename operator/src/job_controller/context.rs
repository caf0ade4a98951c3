//! The context that all reconciliations share: the API server, the clock, and the resources that are watched.

use std::sync::{Arc, OnceLock};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::core::DeserializeGuard;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use kube::{Api, Client, Resource};
use migration_api::MigrationJob;
use migration_core::ports::Clock;
use tracing::warn;

use crate::event::JobEvent;
use crate::job_controller::keda;
use crate::metrics::Metrics;

/// A `MigrationJob` that is watched, or the error where it does not match the schema.
pub type WatchedJob = DeserializeGuard<MigrationJob>;

/// The context that all reconciliations share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Image of workers and jobsenders, unless the resource names one.
    pub worker_image: String,
    /// Whether KEDA is installed.
    pub keda: keda::Discovery,
    /// The metrics of jobs.
    pub metrics: Metrics,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    watched: OnceLock<Store<WatchedJob>>,
}

impl Context {
    /// Creates the context of an operator.
    pub fn new(client: Client, recorder: Recorder, worker_image: String, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            worker_image,
            keda: keda::Discovery::default(),
            metrics: Metrics::default(),
            recorder,
            clock,
            watched: OnceLock::new(),
        }
    }

    /// Uses these metrics instead of its own.
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Sets the store of the resources that are watched. Only the first call counts.
    pub fn set_watched(&self, jobs: Store<WatchedJob>) {
        // There is one controller, which calls this once.
        let _ = self.watched.set(jobs);
    }

    /// Returns all watched resources as they were seen last.
    pub fn watched_jobs(&self) -> Vec<Arc<WatchedJob>> {
        self.watched.get().map(Store::state).unwrap_or_default()
    }

    /// Returns the time in milliseconds since 1970.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Returns the API of a kind in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Publishes an event. A failure is only logged: nothing depends on events.
    pub async fn publish(&self, about: &ObjectReference, event: JobEvent) {
        let (reason, text) = (event.reason.to_string(), event.text.clone());
        if let Err(error) = self.recorder.publish(&event.event(), about).await {
            warn!(%error, reason, text, "failed to publish event");
        }
    }
}
