use hyper::Method;
use migration_api::ConditionType;
use serde_json::json;

use super::api_server::{ApiServer, Fault};
use super::*;
use crate::job_controller::JobController;

/// A controller and the resource, whose Secrets do not exist: so queue and ledger are not called.
fn start(change: impl FnOnce(&mut MigrationJob)) -> (ApiServer, JobController) {
    let server = ApiServer::start();
    server.put(&stored(change));
    let controller = JobController::new(server.context());
    (server, controller)
}

fn job(server: &ApiServer) -> MigrationJob {
    serde_json::from_value(server.get("/migrationjobs/photos").unwrap()).unwrap()
}

fn degraded(server: &ApiServer) -> (String, String) {
    let status = job(server).status.unwrap();
    let (holds, condition) = status.condition(ConditionType::Degraded).unwrap();
    assert!(holds);
    (condition.reason.clone(), condition.message.clone())
}

#[tokio::test]
async fn a_missing_secret_becomes_a_condition_once() {
    let (server, controller) = start(|_| ());
    controller.reconcile(&job(&server)).await.unwrap();
    let (reason, message) = degraded(&server);
    assert_eq!(reason, "SecretMissing");
    assert!(message.starts_with("Secret from of spec.source.credentials"), "{message}");
    assert!(server.events().iter().any(|(reason, _)| reason == "SecretMissing"), "{:?}", server.events());
    assert_eq!(server.take_writes(), ["PATCH migrationjobs/photos/status"]);
    controller.reconcile(&job(&server)).await.unwrap();
    assert!(server.events().is_empty() && server.take_writes().is_empty(), "the second time nothing is written");
}

#[tokio::test]
async fn a_kind_that_may_not_be_listed_is_named_in_the_condition() {
    for (code, message) in [(403, "pods is forbidden"), (500, "etcdserver: leader changed")] {
        let (server, controller) = start(|_| ());
        server.fail(Method::GET, "/pods", Fault::Refused(code, message), 1);
        controller.reconcile(&job(&server)).await.unwrap_err();
        assert_eq!(degraded(&server), ("ApplyFailed".to_owned(), format!("failed to list Pods: {message}")));
        let labels = r#"job_namespace="media",job_name="photos""#;
        let metrics = controller.context.metrics.text().unwrap();
        for metric in [
            format!(r#"s3migration_job_condition{{{labels},condition="Degraded",status="true"}} 1"#),
            format!(r#"s3migration_job_degraded{{{labels},reason="ApplyFailed"}} 1"#),
        ] {
            assert!(metrics.lines().any(|line| line == metric), "{metric} is not in\n{metrics}");
        }
        assert_eq!(server.take_writes(), ["PATCH migrationjobs/photos/status"]);
        controller.reconcile(&job(&server)).await.unwrap();
        assert_eq!(degraded(&server).0, "SecretMissing", "it goes on by itself");
    }
}

#[tokio::test]
async fn an_api_server_that_breaks_in_the_middle_changes_nothing() {
    let (server, controller) = start(|_| ());
    server.fail(Method::GET, "/cronjobs/photos-jobsender", Fault::Lost, 1);
    let error = controller.reconcile(&job(&server)).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to get CronJob photos-jobsender: "), "{error}");
    assert!(server.take_writes().is_empty());
}

#[tokio::test]
async fn the_third_conflict_in_a_row_becomes_a_condition() {
    let (server, controller) = start(|job| job.spec.suspend = true);
    let owner = json!([{
        "apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJob", "name": "photos", "uid": "u-1", "controller": true,
    }]);
    let labels = json!({"s3migration.dev/job": "photos", "app.kubernetes.io/managed-by": "s3-migration-operator"});
    let mut run = foreign("batch/v1", "Job", "photos-run-1");
    run["metadata"]["ownerReferences"] = owner;
    run["metadata"]["labels"] = labels;
    server.put(&run);
    server.fail(Method::PATCH, "/jobs/photos-run-1", Fault::Refused(409, "the object has been modified"), 9);
    // Each time it is tried three times.
    for conflicts in 1..=3 {
        let error = controller.reconcile(&job(&server)).await.unwrap_err();
        assert!(error.is_conflict());
        assert_eq!(job(&server).status.is_some(), conflicts == 3, "after {conflicts}");
    }
    let message = "failed to suspend Job photos-run-1: the object has been modified";
    assert_eq!(degraded(&server), ("ApplyFailed".to_owned(), message.to_owned()));
    controller.reconcile(&job(&server)).await.unwrap();
    assert_eq!(server.get("/jobs/photos-run-1").unwrap()["spec"]["suspend"], true);
}

#[tokio::test]
async fn a_resource_that_was_replaced_or_deleted_is_left_alone() {
    let (server, controller) = start(|_| ());
    let mut other = job(&server);
    other.metadata.uid = Some("u-0".to_owned());
    controller.reconcile(&other).await.unwrap();
    assert!(server.take_writes().is_empty());
    let mut deleted = stored(|_| ());
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    server.put(&deleted);
    controller.reconcile(&job(&server)).await.unwrap();
    assert!(server.take_writes().is_empty());
}

/// A controller with a policy, and the resource with its CronJob.
fn restricted(policy: &str) -> (ApiServer, JobController) {
    let server = ApiServer::start();
    server.put(&stored(|job| job.spec.worker.image = Some("evil:1".into())));
    let mut schedule = foreign("batch/v1", "CronJob", "photos-jobsender");
    schedule["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJob", "name": "photos", "uid": "u-1", "controller": true,
    }]);
    schedule["spec"] = json!({"schedule": "@daily", "jobTemplate": {}});
    server.put(&schedule);
    for name in ["from", "to", "queue"] {
        let data = json!({"AWS_ACCESS_KEY_ID": "QQ==", "AWS_SECRET_ACCESS_KEY": "cw=="});
        server.put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}));
    }
    let policy = serde_yaml::from_str(policy).unwrap();
    let controller = JobController::new(server.context().with_policy(policy));
    (server, controller)
}

#[tokio::test]
async fn a_job_that_the_policy_refuses_is_left_as_it_is_and_its_schedule_suspended() {
    let (server, controller) = restricted("images: ['good:*']");
    controller.reconcile(&job(&server)).await.unwrap();
    let (reason, message) = degraded(&server);
    assert_eq!(reason, "NotAllowed");
    assert!(message.starts_with("spec.worker.image evil:1 is not among those that policy.images allows"), "{message}");
    let expected = ["PATCH cronjobs/photos-jobsender", "PATCH migrationjobs/photos/status"];
    assert_eq!(server.take_writes(), expected, "queue and ledger are not called either: they could not be reached");
    assert_eq!(server.get("/cronjobs/photos-jobsender").unwrap()["spec"]["suspend"], true);
    controller.reconcile(&job(&server)).await.unwrap();
    assert_eq!(server.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_secret_without_the_label_that_the_policy_asks_for_is_not_used() {
    let (server, controller) = restricted("requiredLabel: team=media");
    for name in ["from", "queue"] {
        let mut secret = server.get(&format!("/secrets/{name}")).unwrap();
        secret["metadata"]["labels"] = json!({"team": "media"});
        server.put(&secret);
    }
    controller.reconcile(&job(&server)).await.unwrap();
    let (reason, message) = degraded(&server);
    assert_eq!(reason, "NotAllowed");
    assert!(message.starts_with("Secret to of spec.destination.credentials lacks the label team=media"), "{message}");
    assert!(server.get("/deployments/photos-worker").is_none());
}

#[tokio::test]
async fn a_deleted_job_whose_queue_the_policy_refuses_names_what_is_left() {
    let (server, controller) = restricted("endpoints: []");
    server.remove("/cronjobs/photos-jobsender");
    controller.cleanup(&job(&server)).await.unwrap();
    let events = server.events();
    let told =
        |note: &str| note.contains("spec.queue.endpoint http://sqs is not among") && note.contains("left behind");
    assert!(events.iter().any(|(reason, note)| reason == "ResourcesLeft" && told(note)), "{events:?}");
}
