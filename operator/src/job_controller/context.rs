//! The context that all reconciliations share: the API server, the clock, and the resources that are watched.

use std::sync::{Arc, OnceLock};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::Recorder;
use kube::{Api, Client, Resource};
use migration_core::ports::Clock;
use migration_sqs_dynamodb::{Clients, Guard};
use tokio::sync::Mutex;
use tracing::warn;

use crate::event::JobEvent;
use crate::fence::Fence;
use crate::job_controller::keda;
use crate::job_controller::watched::{Watched, WatchedJob};
use crate::metrics::Metrics;
use crate::notify::{Courier, Means};
use crate::pod_defaults::PodDefaults;
use crate::policy::Policy;

/// The context that all reconciliations share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What applies to pods unless the resource says otherwise.
    pub pods: PodDefaults,
    /// The clients of queues and ledgers, which jobs share.
    pub clients: Arc<Clients>,
    /// Whether KEDA is installed.
    pub keda: keda::Discovery,
    /// Delivers notifications, beside reconciliations.
    pub courier: Courier,
    /// The metrics of jobs.
    pub metrics: Metrics,
    /// What authors of resources may do.
    pub policy: Policy,
    /// Whether this operator leads. The client of Kubernetes asks it before each write, and so do those that create,
    /// change and delete queues and tables. Before other writes to queue and ledger it is asked explicitly.
    pub fence: Fence,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    watched: OnceLock<Watched>,
    /// Held while a Job that configures buckets is created: two at a time must not configure one bucket.
    pub notifying: Mutex<()>,
}

impl Context {
    /// Creates the context of an operator.
    pub fn new(client: Client, recorder: Recorder, pods: PodDefaults, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            pods,
            clients: Arc::default(),
            keda: keda::Discovery::default(),
            courier: Courier::default(),
            metrics: Metrics::default(),
            policy: Policy::default(),
            fence: Fence::open(),
            recorder,
            clock,
            watched: OnceLock::new(),
            notifying: Mutex::default(),
        }
    }

    /// Uses these metrics instead of its own.
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Restricts what authors of resources may do.
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Lets only the leader write.
    pub fn with_fence(self, fence: Fence) -> Self {
        let asked = fence.clone();
        let clients = Arc::new(Clients::guarded(Guard::new(move || asked.check().is_ok())));
        Self { clients, fence, ..self }
    }

    /// Returns what deliveries of notifications need.
    pub fn means(&self) -> Means {
        let (client, clients) = (self.client.clone(), self.clients.clone());
        Means { client, clients, policy: self.policy.clone(), fence: self.fence.clone() }
    }

    /// Sets the stores of what is watched. Only the first call counts.
    pub fn set_watched(&self, watched: Watched) {
        // There is one controller, which calls this once.
        let _ = self.watched.set(watched);
    }

    /// Returns all watched resources as they were seen last.
    pub fn watched_jobs(&self) -> Vec<Arc<WatchedJob>> {
        self.watched.get().map(|watched| watched.jobs.state()).unwrap_or_default()
    }

    /// Returns a digest of the children of a resource as they were seen last, or none if nothing is watched.
    pub fn children_of(&self, namespace: &str, job: &str) -> Option<u64> {
        Some(self.watched.get()?.children_of(namespace, job))
    }

    /// Returns a random number in 0 … 1.
    pub fn random(&self) -> f64 {
        self.clock.random()
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

    /// Publishes an event about a resource that is removed, and logs it. A namespace that is being deleted takes no
    /// events any more: there the event is about the namespace, and in the namespace `default`, where Kubernetes keeps
    /// those about objects without one.
    pub async fn publish_last(&self, about: &ObjectReference, event: JobEvent) {
        let (name, namespace) = (about.name.as_deref().unwrap_or_default(), about.namespace.clone());
        warn!(reason = %event.reason, text = event.text, "something is left of a job");
        let Err(refused) = self.recorder.publish(&event.clone().event(), about).await else { return };
        let text = format!("MigrationJob {name}: {}", event.text);
        let place = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: namespace,
            ..ObjectReference::default()
        };
        if let Err(error) = self.recorder.publish(&JobEvent { text, ..event }.event(), &place).await {
            warn!(%refused, %error, "failed to publish event");
        }
    }
}
