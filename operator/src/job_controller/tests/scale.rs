use hyper::Method;
use k8s_openapi::api::apps::v1::Deployment;
use migration_api::MigrationJob;
use migration_api::status::{QueueDepth, Workers};
use serde_json::json;

use super::api_server::{ApiServer, Fault};
use super::*;
use crate::job_controller::apply::{Applied, ApplyCache};
use crate::job_controller::events::EventsOutcome;
use crate::job_controller::runs::RunsOutcome;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::scale::{ScaleCache, ScaleError, Scaled, scale};

const WORKERS: &str = "/deployments/photos-worker";

/// A server with a Deployment of no workers, and the Deployment as it was read.
fn start() -> (ApiServer, Deployment) {
    let server = ApiServer::start();
    let mut workers = foreign("apps/v1", "Deployment", "photos-worker");
    workers["spec"] = json!({"replicas": 0, "selector": {}, "template": {}});
    server.put(&workers);
    let read = serde_json::from_value(server.get(WORKERS).unwrap()).unwrap();
    (server, read)
}

/// Scales for nine messages, which are work for three workers.
async fn scale_up(server: &ApiServer, deployment: Deployment) -> Result<Scaled, ScaleError> {
    let depth = Some(QueueDepth { visible: 9, in_flight: 0, dead_letters: 0 });
    let mut job = resource();
    job.spec.scaling.target_batches_per_worker = 3;
    scale_of(server, &job, deployment, Observed { depth, ..observed(Cluster::default()) }).await
}

async fn scale_of(
    server: &ApiServer,
    job: &MigrationJob,
    deployment: Deployment,
    observed: Observed,
) -> Result<Scaled, ScaleError> {
    scale_with(server, job, deployment, (&observed, &EventsOutcome::default())).await
}

async fn scale_with(
    server: &ApiServer,
    job: &MigrationJob,
    deployment: Deployment,
    (observed, events): (&Observed, &EventsOutcome),
) -> Result<Scaled, ScaleError> {
    let applied =
        Applied { deployment: Some(deployment), problems: Vec::new(), is_changed: false, cache: ApplyCache::default() };
    let runs = RunsOutcome {
        ledger: None,
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
    scale(job, &applied, observed, (&runs, events), ScaleCache::default(), &server.context()).await
}

#[tokio::test]
async fn workers_of_a_job_that_the_policy_refuses_stay_until_it_is_suspended() {
    for (suspend, expected) in [(false, 2), (true, 0)] {
        let (server, _) = start();
        let mut workers = server.get(WORKERS).unwrap();
        workers["spec"]["replicas"] = json!(2);
        server.put(&workers);
        let read = serde_json::from_value(server.get(WORKERS).unwrap()).unwrap();
        let mut job = resource();
        job.spec.suspend = suspend;
        let refused = Observed { is_refused: true, ..observed(Cluster::default()) };
        let scaled = scale_of(&server, &job, read, refused).await.unwrap();
        assert_eq!(scaled.workers.desired, expected);
        assert_eq!(server.get(WORKERS).unwrap()["spec"]["replicas"], expected, "suspended: {suspend}");
    }
}

#[tokio::test]
async fn no_worker_follows_removals_before_it_is_known_that_both_sides_keep_versions() {
    let depth = Some(QueueDepth { visible: 9, in_flight: 0, dead_letters: 0 });
    let observed = Observed { depth, ..observed(Cluster::default()) };
    for (follows, is_ready, expected) in [(true, false, 0), (true, true, 1), (false, false, 1)] {
        let (server, workers) = start();
        let mut job = resource();
        job.spec.mirror.delete_events = follows;
        let events = EventsOutcome { is_ready, ..EventsOutcome::default() };
        let scaled = scale_with(&server, &job, workers, (&observed, &events)).await.unwrap();
        assert_eq!(scaled.workers.desired.min(1), expected, "{follows} {is_ready}");
    }
}

#[tokio::test]
async fn workers_are_scaled_through_their_own_subresource_and_field_manager() {
    let (server, workers) = start();
    let scaled = scale_up(&server, workers).await.unwrap();
    assert_eq!(scaled.workers, Workers { desired: 3, ready: 0 });
    let stored = server.get(WORKERS).unwrap();
    assert_eq!(stored["spec"]["replicas"], 3);
    assert_eq!(stored["metadata"]["managedFields"][0]["manager"], "s3-migration-operator-scaling");
    assert_eq!(server.take_writes(), ["PATCH deployments/photos-worker/scale"]);
}

#[tokio::test]
async fn a_status_that_changed_between_read_and_write_does_not_keep_workers_from_being_scaled() {
    let (server, workers) = start();
    let mut changed = server.get(WORKERS).unwrap();
    changed["status"] = json!({"observedGeneration": 1});
    server.put(&changed);
    let scaled = scale_up(&server, workers).await.unwrap();
    assert_eq!((scaled.workers.desired, server.get(WORKERS).unwrap()["spec"]["replicas"].as_u64()), (3, Some(3)));
    assert_eq!(server.take_writes().len(), 2, "once more with the version of now");
}

#[tokio::test]
async fn a_deployment_that_took_the_place_of_the_workers_is_not_scaled() {
    let (server, workers) = start();
    let mut replaced = server.get(WORKERS).unwrap();
    replaced["metadata"]["uid"] = json!("another");
    server.put(&replaced);
    let Err(ScaleError::Apply(error)) = scale_up(&server, workers).await else { panic!() };
    assert!(error.is_conflict(), "{error}");
    assert_eq!(server.get(WORKERS).unwrap()["spec"]["replicas"], 0);
}

#[tokio::test]
async fn a_refused_number_is_a_problem_and_not_reported_as_wanted() {
    for (code, message) in [(403, "deployments/scale is forbidden"), (500, "etcdserver: no leader")] {
        let (server, workers) = start();
        server.fail(Method::PATCH, "/scale", Fault::Refused(code, message), 3);
        let scaled = scale_up(&server, workers).await.unwrap();
        assert_eq!(scaled.workers.desired, 0);
        assert_eq!(scaled.problems[0].message, format!("failed to scale Deployment photos-worker: {message}"));
    }
}
