use hyper::Method;
use kube::api::DeleteParams;
use migration_api::Reason;
use serde_json::json;

use super::api_server::{ApiServer, Fault};
use super::*;
use crate::job_controller::apply::{Applied, ApplyCache, ApplyError, apply, delete};
use crate::job_controller::build;
use crate::job_controller::dereference::cluster;
use crate::job_controller::ownership::Owner;

async fn read(server: &ApiServer) -> Cluster {
    cluster::read(&server.context(), "media", &Owner::of(&resource())).await.unwrap()
}

async fn apply_to(server: &ApiServer, cluster: &Cluster, cache: ApplyCache) -> Result<Applied, ApplyError> {
    let resources = build::resources(&configs(|_| ()));
    apply(&resource(), Some(resources), cluster, cache, &server.context()).await
}

#[tokio::test]
async fn what_was_applied_is_not_sent_again() {
    let server = ApiServer::start();
    let first = apply_to(&server, &read(&server).await, ApplyCache::default()).await.unwrap();
    assert!(first.problems.is_empty());
    let creations = |line: &&String| line.starts_with("POST");
    let writes = server.take_writes();
    let created: Vec<_> = writes.iter().filter(creations).map(String::as_str).collect();
    assert_eq!(created, ["POST configmaps", "POST cronjobs", "POST deployments"]);
    assert_eq!(server.get("/deployments/photos-worker").unwrap()["spec"]["replicas"], 0);
    // An operator that restarted sends all of it once, and then nothing.
    let second = apply_to(&server, &read(&server).await, ApplyCache::default()).await.unwrap();
    assert!(!server.take_writes().is_empty());
    let third = apply_to(&server, &read(&server).await, second.cache).await.unwrap();
    assert_eq!(server.take_writes(), Vec::<String>::new());
    assert!(third.deployment.is_some());
}

#[tokio::test]
async fn a_refused_kind_is_a_problem_of_its_own() {
    for (path, applied) in [
        ("/configmaps", vec![]),
        ("/cronjobs", vec!["configmaps", "deployments"]),
        ("/deployments", vec!["configmaps", "cronjobs"]),
    ] {
        let server = ApiServer::start();
        let cluster = read(&server).await;
        server.fail(Method::POST, path, Fault::Refused(403, "is forbidden"), 1);
        let outcome = apply_to(&server, &cluster, ApplyCache::default()).await.unwrap();
        assert_eq!(outcome.problems.len(), 1, "{path}");
        assert_eq!(outcome.problems[0].reason, Reason::ApplyFailed);
        assert!(outcome.problems[0].message.ends_with("is forbidden"), "{}", outcome.problems[0].message);
        assert_eq!(server.kinds(), applied, "{path}");
    }
}

#[tokio::test]
async fn what_went_while_it_was_deleted_is_read_once() {
    let server = ApiServer::start();
    apply_to(&server, &read(&server).await, ApplyCache::default()).await.unwrap();
    let live = read(&server).await.deployment.ours().cloned().unwrap();
    let workers = "/deployments/photos-worker";
    server.fail(Method::DELETE, workers, Fault::Refused(409, "changed meanwhile"), 1);
    server.before(Method::GET, workers, move |objects| objects.remove(workers));
    server.take_sent();
    delete(&server.context().api("media"), &live, DeleteParams::background()).await.unwrap();
    let sent: Vec<_> = server.take_sent().into_iter().map(|sent| sent.method).collect();
    assert_eq!(sent, [Method::DELETE, Method::GET]);
}

#[tokio::test]
async fn an_object_that_took_the_place_of_a_child_is_a_conflict_and_stays() {
    let server = ApiServer::start();
    apply_to(&server, &read(&server).await, ApplyCache::default()).await.unwrap();
    let cluster = read(&server).await;
    let mut replaced = foreign("batch/v1", "CronJob", "photos-jobsender");
    replaced["spec"] = json!({"schedule": "@daily", "jobTemplate": {}});
    server.put(&replaced);
    let before = server.get("/cronjobs/photos-jobsender");
    let error = apply_to(&server, &cluster, ApplyCache::default()).await.err().unwrap();
    assert!(error.is_conflict() && error.to_string().contains("CronJob photos-jobsender"), "{error}");
    assert_eq!(server.get("/cronjobs/photos-jobsender"), before);
    let outcome = apply_to(&server, &read(&server).await, ApplyCache::default()).await.unwrap();
    assert_eq!(outcome.problems[0].reason, Reason::NameTaken);
    assert_eq!(server.get("/cronjobs/photos-jobsender"), before);
}

#[tokio::test]
async fn a_name_that_is_taken_between_read_and_creation_is_not_adopted() {
    let server = ApiServer::start();
    let cluster = read(&server).await;
    let mut taken = foreign("apps/v1", "Deployment", "photos-worker");
    taken["spec"] = json!({"selector": {}, "template": {}});
    server.put(&taken);
    let before = server.get("/deployments/photos-worker");
    let outcome = apply_to(&server, &cluster, ApplyCache::default()).await.unwrap();
    assert_eq!(outcome.problems[0].reason, Reason::NameTaken);
    assert!(outcome.deployment.is_none());
    assert_eq!(server.get("/deployments/photos-worker"), before);
}

#[tokio::test]
async fn an_api_server_that_breaks_in_the_middle_is_tried_again() {
    let server = ApiServer::start();
    let cluster = read(&server).await;
    server.fail(Method::POST, "/deployments", Fault::Lost, 1);
    let error = apply_to(&server, &cluster, ApplyCache::default()).await.err().unwrap();
    assert!(error.problem().is_none() && !error.is_conflict(), "{error}");
    server.take_sent();
    let outcome = apply_to(&server, &read(&server).await, ApplyCache::default()).await.unwrap();
    assert!(outcome.problems.is_empty() && outcome.deployment.is_some());
    assert!(!server.take_writes().contains(&"POST configmaps".to_owned()), "what was created is applied");
}

#[tokio::test]
async fn without_configurations_nothing_changes() {
    let server = ApiServer::start();
    apply_to(&server, &read(&server).await, ApplyCache::default()).await.unwrap();
    let cluster = read(&server).await;
    server.take_sent();
    let outcome = apply(&resource(), None, &cluster, ApplyCache::default(), &server.context()).await.unwrap();
    assert!(outcome.deployment.is_some() && server.take_sent().is_empty());
}
