use hyper::Method;
use serde_json::{Value, json};

use super::*;
use crate::job_controller::tests::api_server::{ApiServer, Fault};
use crate::job_controller::tests::{foreign, stored};

#[test]
fn a_job_wakes_the_resource_of_its_label() {
    let job: PartialObjectMeta<Job> = serde_yaml::from_str(
        "metadata: {name: x, namespace: media, labels: {s3migration.dev/job: photos}, ownerReferences: [{kind: CronJob, \
         apiVersion: batch/v1, name: photos-jobsender, uid: u}]}",
    )
    .unwrap();
    let found = job_of(&job).unwrap();
    assert_eq!((found.name.as_str(), found.namespace.as_deref()), ("photos", Some("media")));
    assert!(job_of(&PartialObjectMeta::default()).is_none());
}

#[test]
fn an_event_of_a_cron_job_wakes_its_resource() {
    let event = |name: &str| -> CoreEvent {
        let about = json!({"kind": "CronJob", "namespace": "media", "name": name});
        serde_json::from_value(json!({"metadata": {}, "involvedObject": about})).unwrap()
    };
    let found = cron_job_of(&event("photos-jobsender")).unwrap();
    assert_eq!((found.name.as_str(), found.namespace.as_deref()), ("photos", Some("media")));
    assert!(cron_job_of(&event("backup")).is_none());
}

/// A deleted resource with its finalizer and children; its Secrets are gone.
struct Deleted {
    server: ApiServer,
    controller: Arc<JobController>,
}

impl Deleted {
    /// `ago`: when it was deleted.
    fn start(deleted_at: &str) -> Self {
        let server = ApiServer::start();
        let mut job = stored(|_| ());
        job["metadata"]["deletionTimestamp"] = json!(deleted_at);
        job["metadata"]["finalizers"] = json!([names::FINALIZER]);
        server.put(&job);
        for (version, kind, name) in [
            ("batch/v1", "Job", "photos-run-1"),
            ("batch/v1", "CronJob", "photos-jobsender"),
            ("apps/v1", "Deployment", "photos-worker"),
        ] {
            server.put(&child(version, kind, name));
        }
        let controller = Arc::new(JobController::new(server.context()));
        Self { server, controller }
    }

    fn watched(&self) -> Arc<WatchedJob> {
        Arc::new(serde_json::from_value(self.server.get("/migrationjobs/photos").unwrap()).unwrap())
    }

    async fn reconcile(&self) -> Result<Action, ControllerError> {
        reconcile(self.watched(), self.controller.clone()).await
    }

    fn is_gone(&self) -> bool {
        self.server.get("/migrationjobs/photos").is_none()
    }
}

fn child(version: &str, kind: &str, name: &str) -> Value {
    let mut object = foreign(version, kind, name);
    object["metadata"]["uid"] = Value::Null;
    object["metadata"]["labels"] =
        json!({"s3migration.dev/job": "photos", "app.kubernetes.io/managed-by": "s3-migration-operator"});
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJob", "name": "photos", "uid": "u-1", "controller": true,
    }]);
    if kind != "Job" {
        object["spec"] = json!({"schedule": "@daily", "jobTemplate": {}, "selector": {}, "template": {}});
    }
    object
}

const JUST_NOW: &str = "2026-01-01T00:00:00Z";
const LONG_AGO: &str = "2025-12-31T23:00:00Z";

#[tokio::test]
async fn a_new_resource_gets_its_finalizer_before_anything_is_made() {
    let server = ApiServer::start();
    server.put(&stored(|_| ()));
    let controller = Arc::new(JobController::new(server.context()));
    let watched = serde_json::from_value(server.get("/migrationjobs/photos").unwrap()).unwrap();
    reconcile(Arc::new(watched), controller).await.unwrap();
    assert_eq!(server.take_writes(), ["PATCH migrationjobs/photos"]);
    assert_eq!(server.get("/migrationjobs/photos").unwrap()["metadata"]["finalizers"], json!([names::FINALIZER]));
}

#[tokio::test]
async fn a_deleted_resource_waits_for_its_jobs_and_then_goes() {
    let deleted = Deleted::start(JUST_NOW);
    let error = deleted.reconcile().await.unwrap_err();
    let expected = ["PATCH cronjobs/photos-jobsender", "DELETE jobs/photos-run-1", "DELETE deployments/photos-worker"];
    assert_eq!(deleted.server.take_writes(), expected, "the CronJob is suspended first");
    let requeue = error_policy(deleted.watched(), &error, deleted.controller.clone());
    assert_eq!(requeue, Action::requeue(Duration::from_secs(1)));
    // While pods still end nothing is sent again.
    let error = deleted.reconcile().await.unwrap_err();
    assert!(chain(&error).contains("Job photos-run-1, Deployment photos-worker"), "{}", chain(&error));
    assert_eq!(deleted.server.take_writes(), Vec::<String>::new());
    deleted.server.finish_deletions();
    deleted.reconcile().await.unwrap_err();
    assert_eq!(
        deleted.server.take_writes(),
        ["DELETE cronjobs/photos-jobsender"],
        "last, since its UID names its Jobs"
    );
    deleted.server.finish_deletions();
    deleted.reconcile().await.unwrap();
    let events = deleted.server.events();
    assert!(events.iter().any(|(reason, note)| reason == "ResourcesLeft" && note.contains("Secret")), "{events:?}");
    assert_eq!(deleted.server.take_writes(), ["PATCH migrationjobs/photos"], "only the finalizer is left to remove");
    assert!(deleted.is_gone());
}

#[tokio::test]
async fn children_are_deleted_by_uid_and_in_the_foreground_and_those_of_others_stay() {
    let deleted = Deleted::start(JUST_NOW);
    deleted.server.put(&foreign("apps/v1", "Deployment", "photos-worker"));
    let before = deleted.server.get("/deployments/photos-worker");
    deleted.reconcile().await.unwrap_err();
    let sent = deleted.server.take_sent();
    let deletions: Vec<_> = sent.iter().filter(|sent| sent.method == Method::DELETE).collect();
    assert_eq!(deletions.len(), 1);
    assert_eq!(deletions[0].body["preconditions"]["uid"], "uid-of-photos-run-1");
    assert_eq!(deletions[0].body["propagationPolicy"], "Foreground");
    assert_eq!(deleted.server.get("/deployments/photos-worker"), before);
}

#[tokio::test]
async fn a_child_that_is_replaced_between_read_and_deletion_stays() {
    let deleted = Deleted::start(JUST_NOW);
    let other = foreign("batch/v1", "Job", "photos-run-1");
    deleted.server.before(Method::DELETE, "/jobs/photos-run-1", move |objects| objects.put(&other));
    let error = deleted.reconcile().await.unwrap_err();
    assert!(
        chain(&error).contains("failed to delete Job photos-run-1: the UID in the precondition does not match"),
        "{}",
        chain(&error)
    );
    let retry = error_policy(deleted.watched(), &error, deleted.controller.clone());
    assert_eq!(retry, Action::requeue(Duration::from_secs(1)));
    assert!(!deleted.is_gone());
    let status = &deleted.server.get("/migrationjobs/photos").unwrap()["status"];
    assert!(status.is_null(), "the next time it is read again: nothing to report in {status}");
}

#[tokio::test]
async fn a_refused_deletion_becomes_a_condition_and_holds_the_resource() {
    for (code, message) in [(403, "jobs.batch is forbidden"), (500, "etcdserver: request timed out")] {
        let deleted = Deleted::start(LONG_AGO);
        deleted.server.fail(Method::DELETE, "/jobs/photos-run-1", Fault::Refused(code, message), 1);
        deleted.reconcile().await.unwrap_err();
        assert!(!deleted.is_gone());
        let status = deleted.server.get("/migrationjobs/photos").unwrap()["status"].clone();
        let text = format!("failed to delete Job photos-run-1: {message}");
        assert!(status.to_string().contains(&text), "{status}");
    }
}

#[tokio::test]
async fn pods_that_never_end_hold_the_resource_for_five_minutes_only() {
    let deleted = Deleted::start(LONG_AGO);
    deleted.reconcile().await.unwrap();
    let events = deleted.server.events();
    let left = "Job photos-run-1, Deployment photos-worker";
    assert!(events.iter().any(|(reason, note)| reason == "PodsLeft" && note.ends_with(left)), "{events:?}");
    assert!(deleted.is_gone());
}

#[tokio::test]
async fn an_api_server_that_fails_while_the_finalizer_goes_keeps_it() {
    let deleted = Deleted::start(LONG_AGO);
    deleted.server.fail(Method::PATCH, "/migrationjobs/photos", Fault::Refused(500, "boom"), 1);
    let error = deleted.reconcile().await.unwrap_err();
    let retry = error_policy(deleted.watched(), &error, deleted.controller.clone());
    assert_eq!(retry, Action::requeue(Duration::from_secs(1)));
    assert!(!deleted.is_gone());
    deleted.reconcile().await.unwrap();
    assert!(deleted.is_gone());
}

#[tokio::test]
async fn a_resource_that_does_not_match_the_schema_goes_without_a_cleanup_and_keeps_the_finalizers_of_others() {
    let server = ApiServer::start();
    let mut job = stored(|_| ());
    job["spec"] = json!({"buckets": "none"});
    job["metadata"]["deletionTimestamp"] = json!(JUST_NOW);
    job["metadata"]["finalizers"] = json!(["other/finalizer", names::FINALIZER]);
    server.put(&job);
    let watched: WatchedJob = serde_json::from_value(server.get("/migrationjobs/photos").unwrap()).unwrap();
    assert!(watched.0.is_err());
    let metrics = Metrics::default();
    metrics.set("media", "photos", Some((7, 2)));
    let controller = JobController::new(server.context().with_metrics(metrics.clone()));
    reconcile(Arc::new(watched), Arc::new(controller)).await.unwrap();
    assert!(!metrics.text().unwrap().contains("photos"));
    let reasons: Vec<_> = server.events().into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, ["SpecInvalid", "ResourcesLeft"]);
    assert_eq!(server.take_writes(), ["PATCH migrationjobs/photos"]);
    let left = &server.get("/migrationjobs/photos").unwrap()["metadata"]["finalizers"];
    assert_eq!(*left, json!(["other/finalizer"]));
}

#[tokio::test]
async fn what_fails_is_tried_less_and_less_often_until_it_succeeds() {
    let deleted = Deleted::start(LONG_AGO);
    let retry = async || {
        let error = deleted.reconcile().await.unwrap_err();
        error_policy(deleted.watched(), &error, deleted.controller.clone())
    };
    deleted.server.fail(Method::GET, "/cronjobs/photos-jobsender", Fault::Lost, 12);
    // The random number of the tests is in the middle.
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 150, 150, 150, 150] {
        assert_eq!(retry().await, Action::requeue(Duration::from_secs(seconds)));
    }
    deleted.reconcile().await.unwrap();
    assert_eq!(deleted.controller.failures.add("u-1"), 1, "it counts anew after a success");
}

#[tokio::test]
async fn what_is_left_in_a_namespace_that_is_deleted_is_told_where_events_are_still_taken() {
    let deleted = Deleted::start(LONG_AGO);
    let message = "unable to create new content in namespace media because it is being terminated";
    deleted.server.fail(Method::POST, "/namespaces/media/events", Fault::Refused(403, message), 9);
    deleted.reconcile().await.unwrap();
    assert!(deleted.is_gone());
    let sent = deleted.server.take_sent();
    let told = sent.iter().filter(|sent| sent.path.ends_with("/namespaces/default/events"));
    let told: Vec<_> = told.filter(|sent| sent.body["reason"] == "ResourcesLeft").collect();
    assert_eq!(told.len(), 1);
    let body = &told[0].body;
    assert_eq!((&body["regarding"]["kind"], &body["regarding"]["name"]), (&json!("Namespace"), &json!("media")));
    let note = body["note"].as_str().unwrap();
    assert!(note.starts_with("MigrationJob photos: ") && note.contains("s3-migration-photos-u-1"), "{note}");
}
