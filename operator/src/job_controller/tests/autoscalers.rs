//! The drivers of `spec.scaling` that leave the number of workers to somebody else, and the changes between drivers.

mod changes;

use hyper::Method;
use k8s_openapi::api::apps::v1::Deployment;
use migration_api::Reason;
use migration_api::status::{MigrationJobStatus, QueueDepth, Resources, Workers};
use migration_core::error::{Blocked, Service, ServiceFault};
use migration_core::records::Heartbeat;
use migration_testkit::ApiRequest;
use serde_json::{Value, json};

use super::api_server::{ApiServer, Fault, NOW};
use super::*;
use crate::job_controller::apply::{Applied, ApplyCache, replicas};
use crate::job_controller::build::autoscaler::tests::job as of_scaling;
use crate::job_controller::events::EventsOutcome;
use crate::job_controller::runs::RunsOutcome;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::scale::{ScaleCache, Scaled, scale};
use crate::metrics::Metrics;

const WORKERS: &str = "/deployments/photos-worker";
const SCALED_OBJECT: &str = "/scaledobjects/photos-worker";
const AUTHENTICATION: &str = "/triggerauthentications/photos-worker";
const HPA: &str = "/horizontalpodautoscalers/photos-worker";
const MINUTE: i64 = 60_000;

/// A server, and what a test changes between looks.
struct Bed {
    server: ApiServer,
    job: MigrationJob,
    ledger: LedgerView,
    cluster: Cluster,
    cache: ScaleCache,
    metrics: Metrics,
}

impl Bed {
    /// A cluster with KEDA and a Deployment of this many workers.
    fn start(scaling: &str, workers: u32) -> Self {
        let server = ApiServer::start();
        server.install_keda();
        let mut deployment = foreign("apps/v1", "Deployment", "photos-worker");
        deployment["spec"] = json!({"replicas": workers, "selector": {}, "template": {}});
        server.put(&deployment);
        let mut bed = Self {
            server,
            job: of_scaling(scaling),
            ledger: LedgerView::default(),
            cluster: Cluster::default(),
            cache: ScaleCache::default(),
            metrics: Metrics::default(),
        };
        let queue_url = Some("http://sqs/000000000000/q".to_owned());
        let resources = Some(Resources { queue_url, ..Resources::default() });
        bed.job.status = Some(MigrationJobStatus { resources, ..MigrationJobStatus::default() });
        bed
    }

    /// Changes `spec.scaling`, as a person does.
    fn edit(&mut self, scaling: &str) {
        self.job.spec.scaling = of_scaling(scaling).spec.scaling;
        self.job.metadata.generation = self.job.metadata.generation.map(|generation| generation + 1);
    }

    fn suspend(&mut self, suspend: bool) {
        self.job.spec.suspend = suspend;
        self.job.metadata.generation = self.job.metadata.generation.map(|generation| generation + 1);
    }

    /// Takes the step for nine messages, so many milliseconds after the start.
    async fn look(&mut self, after: i64) -> Scaled {
        let deployment: Deployment = serde_json::from_value(self.server.get(WORKERS).unwrap()).unwrap();
        let depth = Some(QueueDepth { visible: 9, in_flight: 0, dead_letters: 0 });
        let observed = Observed { depth, ..observed(self.cluster.clone()) };
        let applied = Applied {
            deployment: Some(deployment),
            problems: Vec::new(),
            is_changed: false,
            cache: ApplyCache::default(),
        };
        let runs = RunsOutcome {
            ledger: Some(Arc::new(self.ledger.clone())),
            runs_started: 0,
            is_number_skipped: false,
            last_manual_run: None,
            start_pending: false,
            verification: FollowupState::None,
            report: FollowupState::None,
            problems: Vec::new(),
            last_drain: None,
            next_removal: None,
        };
        let context = self.server.context_at(NOW + after).with_metrics(self.metrics.clone());
        let scaled =
            scale(&self.job, &applied, &observed, (&runs, &EventsOutcome::default()), self.cache.clone(), &context)
                .await
                .unwrap();
        self.cache = scaled.cache.clone();
        scaled
    }

    /// Sets a field of the status of an object that is there.
    fn report(&self, path_end: &str, status: &Value) {
        let mut object = self.server.get(path_end).unwrap();
        object["status"] = status.clone();
        self.server.put(&object);
    }

    /// Removes KEDA's finalizer from an object, and lets its deletion end.
    fn release(&self, path_end: &str) {
        let mut object = self.server.get(path_end).unwrap();
        object["metadata"]["finalizers"] = json!([]);
        self.server.put(&object);
        self.server.finish_deletions();
    }

    /// Puts KEDA's finalizer on an object, as KEDA does.
    fn hold(&self, path_end: &str) {
        let mut object = self.server.get(path_end).unwrap();
        object["metadata"]["finalizers"] = json!(["finalizer.keda.sh"]);
        self.server.put(&object);
    }
}

fn reason(scaled: &Scaled) -> Option<(bool, String)> {
    scaled.condition.as_ref().map(|condition| (condition.holds, condition.reason.to_string()))
}

#[allow(clippy::unnecessary_wraps, reason = "it is compared with what may be none")]
fn said(holds: bool, reason: &str) -> Option<(bool, String)> {
    Some((holds, reason.to_owned()))
}

/// KEDA's word that all is well.
fn ready() -> Value {
    json!({"conditions": [{"type": "Ready", "status": "True", "message": "fine"}]})
}

fn body_of<'a>(sent: &'a [ApiRequest], path_end: &str) -> &'a Value {
    &sent.iter().rfind(|sent| sent.method != Method::GET && sent.path.ends_with(path_end)).unwrap().body
}

#[tokio::test]
async fn keda_gets_its_objects_once_and_the_number_is_left_to_it() {
    let mut bed = Bed::start("driver: Keda", 2);
    let scaled = bed.look(0).await;
    let (made, others): (Vec<_>, Vec<_>) =
        bed.server.take_writes().into_iter().partition(|line| line.starts_with("POST"));
    assert_eq!(made, ["POST triggerauthentications", "POST scaledobjects"]);
    assert!(!others.iter().any(|line| line.ends_with("/scale")), "{others:?}");
    assert_eq!(scaled.workers, Workers { desired: 2, ready: 0 });
    assert_eq!(reason(&scaled), said(false, "AutoscalerInactive"), "KEDA has not answered yet");
    assert!(scaled.problems.is_empty() && scaled.again.is_some());
    bed.report(SCALED_OBJECT, &ready());
    let scaled = bed.look(0).await;
    assert_eq!((reason(&scaled), scaled.again), (said(true, "AutoscalerActive"), None));
    assert!(bed.server.take_writes().is_empty(), "the second time nothing is written");
    // An operator that restarted applies them once.
    bed.cache = ScaleCache::default();
    bed.look(0).await;
    assert!(bed.server.take_writes().iter().all(|line| line.starts_with("PATCH")));
    bed.look(0).await;
    assert!(bed.server.take_writes().is_empty());
}

#[tokio::test]
async fn a_keda_that_does_not_answer_degrades_the_job_after_a_while() {
    let mut bed = Bed::start("driver: Keda", 0);
    bed.look(0).await;
    assert!(bed.look(29_999).await.problems.is_empty());
    let scaled = bed.look(30_000).await;
    assert_eq!(scaled.problems[0].reason, Reason::AutoscalerInactive);
    assert!(scaled.problems[0].message.contains("is its operator running?"), "{:?}", scaled.problems);
    bed.report(SCALED_OBJECT, &ready());
    assert!(bed.look(40_000).await.problems.is_empty());
}

#[tokio::test]
async fn a_keda_that_is_missing_is_asked_for_and_one_that_appears_is_used() {
    let mut bed = Bed::start("driver: Keda", 3);
    bed.server = ApiServer::start();
    let mut deployment = foreign("apps/v1", "Deployment", "photos-worker");
    deployment["spec"] = json!({"replicas": 3, "selector": {}, "template": {}});
    bed.server.put(&deployment);
    let scaled = bed.look(0).await;
    assert_eq!((reason(&scaled), scaled.problems[0].reason.clone()), (said(false, "KedaMissing"), Reason::KedaMissing));
    assert_eq!((scaled.workers.desired, scaled.again.is_some()), (3, true));
    assert!(bed.server.take_writes().is_empty());
    // Without KEDA, nobody else stops the workers.
    bed.suspend(true);
    assert_eq!(bed.look(0).await.workers.desired, 0);
    bed.suspend(false);
    bed.server.install_keda();
    bed.look(0).await;
    assert!(bed.server.get(SCALED_OBJECT).is_some());
}

#[tokio::test]
async fn a_paused_side_leaves_one_worker_to_both_drivers() {
    let blocked = Blocked {
        side: Service::Source,
        resource: "a".into(),
        fault: ServiceFault::CredentialsInvalid,
        message: "no".into(),
        since: 0,
    };
    let beat = json!({"name": "w", "at": NOW, "messages": 1, "rate": 0, "blocked": [blocked]});
    for (scaling, path, least, most) in [
        ("driver: Keda, minReplicas: 2", SCALED_OBJECT, "minReplicaCount", "maxReplicaCount"),
        ("driver: Hpa, minReplicas: 2, metric: {name: m}", HPA, "minReplicas", "maxReplicas"),
    ] {
        let mut bed = Bed::start(scaling, 4);
        bed.look(0).await;
        let limits = |bed: &Bed| {
            let spec = &bed.server.get(path).unwrap()["spec"];
            (spec[least].as_u64().unwrap(), spec[most].as_u64().unwrap())
        };
        assert_eq!(limits(&bed), (2, 10));
        bed.ledger.heartbeats = vec![serde_json::from_value::<Heartbeat>(beat.clone()).unwrap()];
        bed.look(0).await;
        assert_eq!(limits(&bed), (1, 1));
        bed.ledger.heartbeats.clear();
        bed.look(0).await;
        assert_eq!(limits(&bed), (2, 10));
        assert!(!bed.server.take_writes().iter().any(|line| line.ends_with("/scale")));
    }
}

#[tokio::test]
async fn keda_stops_the_workers_and_where_it_does_not_the_operator_does() {
    let mut bed = Bed::start("driver: Keda", 2);
    bed.look(0).await;
    bed.report(SCALED_OBJECT, &ready());
    bed.suspend(true);
    bed.server.take_sent();
    let scaled = bed.look(0).await;
    assert_eq!(bed.server.take_writes(), ["PATCH scaledobjects/photos-worker"]);
    let paused = &bed.server.get(SCALED_OBJECT).unwrap()["metadata"]["annotations"];
    assert_eq!(paused["autoscaling.keda.sh/paused-replicas"], "0");
    assert_eq!((reason(&scaled), scaled.again.is_some()), (said(false, "SuspendedByUser"), true));
    assert_eq!(bed.look(MINUTE - 1).await.workers.desired, 2);
    assert!(bed.server.take_writes().is_empty());
    let scaled = bed.look(MINUTE).await;
    assert_eq!((scaled.workers.desired, scaled.problems), (0, Vec::new()));
    assert_eq!(bed.server.take_writes(), ["PATCH deployments/photos-worker/scale"]);
    assert_eq!(bed.look(MINUTE).await.again, None);
    // The annotation goes when the job goes on.
    bed.suspend(false);
    bed.look(2 * MINUTE).await;
    let sent = bed.server.take_sent();
    assert!(body_of(&sent, SCALED_OBJECT)["metadata"]["annotations"].is_null());
}

#[tokio::test]
async fn what_somebody_changes_of_the_scaled_object_is_put_right() {
    let mut bed = Bed::start("driver: Keda", 2);
    bed.suspend(true);
    bed.look(0).await;
    let mut edited = bed.server.get(SCALED_OBJECT).unwrap();
    edited["metadata"]["annotations"] = json!({});
    bed.server.put(&edited);
    bed.server.take_sent();
    bed.look(0).await;
    assert_eq!(bed.server.take_writes(), ["PATCH scaledobjects/photos-worker"]);
}

#[tokio::test]
async fn a_horizontal_pod_autoscaler_starts_with_a_worker() {
    let mut bed = Bed::start("driver: Hpa, metric: {name: m}", 0);
    let scaled = bed.look(0).await;
    assert_eq!(scaled.workers.desired, 1);
    let writes = bed.server.take_writes();
    let scaled_first = ["PATCH deployments/photos-worker/scale", "POST horizontalpodautoscalers"];
    assert_eq!(
        writes.iter().filter(|line| scaled_first.contains(&line.as_str())).count(),
        3,
        "with a dry run: {writes:?}"
    );
    assert_eq!(writes[0], scaled_first[0], "it does nothing where there are no workers");
    assert_eq!(bed.server.get(HPA).unwrap()["spec"]["minReplicas"], 0);
    // It scaled to zero by itself, and would scale up again.
    let condition = |reason: &str, status: &str| json!({"type": "ScalingActive", "status": status, "reason": reason});
    let able = json!({"type": "AbleToScale", "status": "True"});
    let report = |bed: &Bed, scaling: Value| {
        bed.report(HPA, &json!({"desiredReplicas": 0, "conditions": [able.clone(), scaling]}));
    };
    let mut workers = bed.server.get(WORKERS).unwrap();
    workers["spec"]["replicas"] = json!(0);
    bed.server.put(&workers);
    report(&bed, condition("ValidMetricFound", "True"));
    let scaled = bed.look(0).await;
    assert_eq!((scaled.workers.desired, reason(&scaled)), (0, said(true, "AutoscalerActive")));
    assert!(bed.server.take_writes().is_empty());
    // Somebody else scaled to zero, by which Kubernetes turns it off.
    report(&bed, condition("ScalingDisabled", "False"));
    assert_eq!(bed.look(0).await.workers.desired, 1);
}

#[tokio::test]
async fn where_the_cluster_does_not_scale_to_zero_one_worker_stays_and_the_condition_says_so() {
    let mut bed = Bed::start("driver: Hpa, metric: {name: m}", 1);
    bed.server.fail(Method::POST, "/horizontalpodautoscalers", Fault::Invalid("spec.minReplicas"), 1);
    bed.look(0).await;
    assert_eq!(bed.server.get(HPA).unwrap()["spec"]["minReplicas"], 1);
    bed.report(HPA, &json!({"desiredReplicas": 1, "conditions": [{"type": "ScalingActive", "status": "True"}]}));
    bed.server.take_sent();
    let scaled = bed.look(0).await;
    assert_eq!((reason(&scaled), scaled.least), (said(true, "MinReplicasRaised"), 1));
    assert!(bed.server.take_writes().is_empty(), "it is tried once");
}

#[tokio::test]
async fn a_suspended_job_has_no_horizontal_pod_autoscaler() {
    let mut bed = Bed::start("driver: Hpa, metric: {name: m}", 3);
    bed.look(0).await;
    bed.suspend(true);
    let scaled = bed.look(0).await;
    assert_eq!((scaled.workers.desired, reason(&scaled)), (3, said(false, "DriverChanging")));
    bed.server.finish_deletions();
    let scaled = bed.look(0).await;
    assert_eq!((scaled.workers.desired, reason(&scaled)), (0, said(false, "SuspendedByUser")));
    bed.suspend(false);
    bed.look(0).await;
    assert!(bed.server.get(HPA).is_some());
}

#[tokio::test]
async fn claiming_the_number_keeps_what_an_autoscaler_writes_meanwhile() {
    let bed = Bed::start("driver: Keda", 1);
    let read: Deployment = serde_json::from_value(bed.server.get(WORKERS).unwrap()).unwrap();
    let mut scaled = bed.server.get(WORKERS).unwrap();
    scaled["spec"]["replicas"] = json!(5);
    bed.server.put(&scaled);
    replicas::claim(&bed.server.context().api("media"), &read).await.unwrap();
    assert_eq!(bed.server.get(WORKERS).unwrap()["spec"]["replicas"], 5);
    assert_eq!(bed.server.take_writes().len(), 2, "once more with the number of now");
}

#[tokio::test]
async fn busy_workers_are_marked_where_some_may_go() {
    let pod = |name: &str| {
        let labels = json!({"app.kubernetes.io/component": "worker"});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "media", "uid": name, "labels": labels}})
    };
    for scaling in ["driver: Keda", "driver: Operator, scaleDownDelaySeconds: 0, targetBatchesPerWorker: 9"] {
        let mut bed = Bed::start(scaling, 2);
        for name in ["a", "b"] {
            bed.server.put(&pod(name));
            bed.cluster.pods.push(serde_json::from_value(pod(name)).unwrap());
        }
        let beat = json!({"name": "b", "at": NOW, "messages": 3, "rate": 0});
        bed.ledger.heartbeats = vec![serde_json::from_value(beat).unwrap()];
        bed.look(0).await;
        assert_eq!(bed.server.take_writes()[0], "PATCH pods/b", "{scaling}: before any number");
        let marked = bed.server.get("/pods/b").unwrap();
        assert_eq!(marked["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"], "100");
    }
}

#[tokio::test]
async fn what_others_may_scale_by_is_published_for_each_driver() {
    for scaling in ["driver: Hpa, targetBatchesPerWorker: 2, metric: {name: m}", "targetBatchesPerWorker: 2"] {
        let mut bed = Bed::start(scaling, 1);
        bed.look(0).await;
        let text = bed.metrics.text().unwrap();
        for (name, value) in [("queue_backlog_messages", 9), ("workers_wanted", 5)] {
            let line = format!("s3migration_{name}{{job_namespace=\"media\",job_name=\"photos\"}} {value}");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}
