//! The chart's rules: with all of them nothing that the operator does is forbidden, and each is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::time::Duration;

use hyper::Method;
use migration_testkit::ApiRequest;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api_server::{ApiServer, Fault, NOW};
use super::aws::Aws;
use super::*;
use crate::controller;
use crate::event::JobEvent;
use crate::fence::Fence;
use crate::job_controller::cleanup::CleanupError;
use crate::job_controller::watched::WatchedJob;
use crate::job_controller::{JobController, finalizers};
use crate::leader::{Election, Times};
use crate::metrics::Metrics;
use crate::names;
use crate::pod_defaults::PodDefaults;
use crate::policy::Policy;

type Outcome = Result<(), Box<dyn Error>>;

/// One verb on one resource of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Access {
    group: String,
    resource: String,
    verb: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    /// Names of objects that it is for.
    #[allow(dead_code, reason = "the only object of this kind")]
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Everything that the chart grants.
fn granted() -> BTreeSet<Access> {
    let files = [
        include_str!("../../../../charts/s3-migration/files/rules.yaml"),
        include_str!("../../../../charts/s3-migration/files/lease-rules.yaml"),
    ];
    let rules = files.iter().flat_map(|text| serde_yaml::from_str::<Vec<Rule>>(text).unwrap());
    let of = |rule: Rule| {
        let all = |group: &String| {
            let of_group = |resource: &String| {
                let verbs = rule.verbs.iter().cloned();
                let (group, resource) = (group.clone(), resource.clone());
                verbs
                    .map(move |verb| Access { group: group.clone(), resource: resource.clone(), verb })
                    .collect::<Vec<_>>()
            };
            rule.resources.iter().flat_map(of_group).collect::<Vec<_>>()
        };
        rule.api_groups.iter().flat_map(all).collect::<Vec<_>>()
    };
    rules.flat_map(of).collect()
}

/// Returns what a request needs, or none if everybody may send it.
fn needed(request: &ApiRequest) -> Option<Access> {
    let parts: Vec<_> = request.path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match *parts.as_slice() {
        ["api", _, ref rest @ ..] => ("", rest),
        ["apis", group, _, ref rest @ ..] => (group, rest),
        _ => panic!("{}", request.path),
    };
    let rest = if let ["namespaces", _, rest @ ..] = rest { rest } else { rest };
    let (resource, name) = match *rest {
        // Which resources a group has.
        [] => return None,
        [resource] => (resource.to_owned(), None),
        [resource, name] => (resource.to_owned(), Some(name)),
        [resource, name, part] => (format!("{resource}/{part}"), Some(name)),
        _ => panic!("{}", request.path),
    };
    let verb = match (request.method.as_str(), name) {
        ("GET", Some(_)) => "get",
        ("GET", None) if request.parameter("watch").is_some() => "watch",
        ("GET", None) => "list",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        (other, _) => panic!("{other}"),
    };
    Some(Access { group: group.to_owned(), resource, verb: verb.to_owned() })
}

/// What a part of the operator does, from its begin to its end. It fails if it does not reach that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Play {
    /// It leads.
    Leads,
    /// It watches.
    Watches,
    /// It makes everything for a job, changes it, and takes it away.
    Operates,
}

const PLAYS: [Play; 3] = [Play::Leads, Play::Watches, Play::Operates];

/// Plays with these rights. Returns what was needed, what was refused, and how it ended.
async fn play(play: Play, rights: &BTreeSet<Access>) -> (BTreeSet<Access>, BTreeSet<Access>, Outcome) {
    let server = ApiServer::start();
    let rights = rights.clone();
    server.authorize(move |request| {
        let Some(access) = needed(request) else { return Ok(()) };
        if rights.contains(&access) { Ok(()) } else { Err(format!("{access:?} is forbidden")) }
    });
    let played = async {
        match play {
            Play::Leads => lead(&server).await,
            Play::Watches => watch(&server).await,
            Play::Operates => Box::pin(operate(&server)).await,
        }
    };
    let outcome = match tokio::time::timeout(Duration::from_secs(30), played).await {
        Ok(outcome) => outcome,
        Err(_) => Err("it did not end".into()),
    };
    let of = |requests: &[ApiRequest]| requests.iter().filter_map(needed).collect::<BTreeSet<_>>();
    (of(&server.take_sent()), of(&server.refused()), outcome)
}

/// Fails once a request was refused, as the operator goes on trying.
async fn or_refused<T>(server: &ApiServer, act: impl Future<Output = T>) -> Result<T, Box<dyn Error>> {
    let refused = async {
        while server.refused().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        done = act => Ok(done),
        () = refused => Err("a request was refused".into()),
    }
}

async fn lead(server: &ApiServer) -> Outcome {
    let times = Times {
        lease_seconds: 5,
        renew_seconds: 2,
        deadline: Duration::from_secs(4),
        look: Duration::from_millis(500),
    };
    let election = Election { namespace: "media".into(), lease: "operator".into(), identity: "a".into(), times };
    let stop = CancellationToken::new();
    let term = or_refused(server, election.win(&server.client, &stop)).await?.ok_or("it does not lead")?;
    term.release().await;
    let left = server.get("/leases/operator").ok_or("there is no Lease")?;
    if left["spec"]["holderIdentity"].is_null() { Ok(()) } else { Err(format!("{left}").into()) }
}

async fn watch(server: &ApiServer) -> Outcome {
    let settings = controller::Settings {
        namespace: Some("media".into()),
        pods: PodDefaults::new("w"),
        policy: Policy::default(),
    };
    let stop = CancellationToken::new();
    let run = controller::run(server.client.clone(), settings, Fence::open(), Metrics::default(), stop.clone());
    let seen = async {
        let kinds = ["migrationjobs", "configmaps", "cronjobs", "deployments", "jobs", "events"];
        let is_watched = |kind: &&str| server.watched(kind);
        while !kinds.iter().all(is_watched) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = run => Err("it ended".into()),
        seen = or_refused(server, seen) => seen,
    }
}

/// A step of [`operate`].
struct Stage<'a> {
    server: &'a ApiServer,
    controller: JobController,
    now: i64,
}

impl Stage<'_> {
    fn job(&self) -> WatchedJob {
        serde_json::from_value(self.server.get("/migrationjobs/photos").unwrap()).unwrap()
    }

    /// Edits the resource, as a person does.
    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let mut job = self.server.get("/migrationjobs/photos").unwrap();
        change(&mut job);
        job["metadata"]["generation"] = json!(job["metadata"]["generation"].as_i64().unwrap() + 1);
        self.server.put(&job);
    }

    /// Reconciles some times, while deletions end.
    async fn reconcile(&mut self) -> Outcome {
        for _ in 0..4 {
            self.now += 61_000;
            self.server.clock.set(self.now);
            self.controller.reconcile(self.job().0.as_ref().map_err(ToString::to_string)?).await?;
            self.server.finish_deletions();
        }
        Ok(())
    }

    fn has(&self, path: &str) -> Outcome {
        self.server.get(path).map(drop).ok_or_else(|| format!("there is no {path}").into())
    }
}

async fn operate(server: &ApiServer) -> Outcome {
    let aws = Aws::start(server.clock.clone()).await;
    server.install_keda();
    for secret in ["from", "to", "queue", "ledger"] {
        let data = json!({"AWS_ACCESS_KEY_ID": "QUtJQQ==", "AWS_SECRET_ACCESS_KEY": "c2VjcmV0"});
        server.put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "data": data}));
    }
    let endpoint = Some(aws.endpoint.clone());
    server.put(&stored(|job| {
        (job.spec.queue.endpoint, job.spec.ledger.endpoint) = (endpoint.clone(), endpoint);
        job.spec.ledger.credentials.clone_from(&job.spec.queue.credentials);
        job.spec.trigger.manual = Some("a".to_owned());
    }));
    let mut stage = Stage { server, controller: JobController::new(server.context()), now: NOW };
    let jobs = server.context().api::<WatchedJob>("media");
    finalizers::add(&jobs, &stage.job(), names::FINALIZER).await?;

    // A preflight, whose first creation gets no answer, and a run.
    server.fail(Method::POST, "/jobs", Fault::AnswerLost, 1);
    let lost = stage.controller.reconcile(stage.job().0.as_ref().map_err(ToString::to_string)?).await;
    if lost.is_ok() {
        return Err("the preflight was not created".into());
    }
    stage.reconcile().await?;
    let mut preflight = server.get("/jobs/photos-preflight-1").ok_or("there is no preflight")?;
    preflight["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    server.put(&preflight);
    stage.reconcile().await?;
    for path in ["/jobs/photos-run-1", "/cronjobs/photos-jobsender", "/deployments/photos-worker"] {
        stage.has(path)?;
    }
    start_worker(server);
    // Its pod changes after it was listed.
    server.fail(Method::PATCH, "/pods/p", Fault::Refused(409, "the object has been modified"), 1);

    // KEDA, an HPA, and the operator itself.
    stage.edit(|job| job["spec"]["scaling"] = json!({"driver": "Keda", "maxReplicas": 3}));
    stage.reconcile().await?;
    stage.has("/scaledobjects/photos-worker")?;
    stage.has("/triggerauthentications/photos-worker")?;
    if server.get("/pods/p").unwrap()["metadata"]["annotations"][names::SECRETS_ANNOTATION].is_null() {
        return Err("the pod was not told".into());
    }
    let metric = json!({"name": "m", "selector": {"matchLabels": {"a": "b"}}});
    stage.edit(|job| job["spec"]["scaling"] = json!({"driver": "Hpa", "maxReplicas": 3, "metric": metric}));
    stage.reconcile().await?;
    stage.reconcile().await?;
    stage.has("/horizontalpodautoscalers/photos-worker")?;
    stage.edit(|job| job["spec"]["scaling"] = json!({"driver": "Operator", "maxReplicas": 3}));
    stage.reconcile().await?;

    // What is told twice is counted.
    let about = kube::Resource::object_ref(&stage.job(), &());
    for _ in 0..2 {
        let event = JobEvent::normal(migration_api::EventReason::RunStarted, "Test", "told twice");
        stage.controller.context.publish(&about, event).await;
    }

    stage.edit(|job| job["spec"]["suspend"] = json!(true));
    stage.reconcile().await?;
    if server.get("/jobs/photos-run-1").unwrap()["spec"]["suspend"] != true {
        return Err("the run was not suspended".into());
    }
    clean_up(&stage, &jobs).await?;
    if server.refused().is_empty() { Ok(()) } else { Err("a request was refused".into()) }
}

/// Kubernetes starts a worker.
fn start_worker(server: &ApiServer) {
    let labels = json!({"s3migration.dev/job": "photos", "app.kubernetes.io/managed-by": "s3-migration-operator"});
    let of = |kind: &str, name: &str, uid: &Value| {
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true});
        json!([owner])
    };
    let uid = &server.get("/deployments/photos-worker").unwrap()["metadata"]["uid"];
    let owner = of("Deployment", "photos-worker", uid);
    let meta = json!({"name": "r", "uid": "r-1", "labels": labels, "ownerReferences": owner});
    server.put(&json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta}));
    let meta = json!({"name": "p", "labels": labels, "ownerReferences": of("ReplicaSet", "r", &json!("r-1"))});
    server.put(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": []}, "status": {"phase": "Running"},
    }));
}

async fn clean_up(stage: &Stage<'_>, jobs: &kube::Api<WatchedJob>) -> Outcome {
    let server = stage.server;
    let owner = server.get("/cronjobs/photos-jobsender").unwrap()["metadata"]["ownerReferences"].clone();
    let meta = json!({"name": "photos-abort-uploads", "ownerReferences": owner});
    server.put(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}));
    stage.edit(|job| job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    server.clock.set(NOW);
    for _ in 0..6 {
        let cleaned = stage.controller.cleanup(stage.job().0.as_ref().map_err(ToString::to_string)?).await;
        match cleaned {
            Ok(()) => {
                finalizers::remove(jobs, &stage.job(), names::FINALIZER).await?;
                let gone = server.get("/migrationjobs/photos").is_none();
                return if gone { Ok(()) } else { Err("the resource is still there".into()) };
            }
            Err(CleanupError::Pending(_)) => server.finish_deletions(),
            Err(error) => return Err(error.into()),
        }
    }
    Err("the clean-up did not end".into())
}

#[tokio::test]
async fn nothing_that_the_operator_does_is_forbidden_and_each_right_is_needed() {
    let rights = granted();
    let mut used: BTreeMap<Access, Vec<Play>> = BTreeMap::new();
    for of in PLAYS {
        let (needed, refused, outcome) = play(of, &rights).await;
        assert!(outcome.is_ok() && refused.is_empty(), "{of:?}: {outcome:?}, refused: {refused:#?}");
        for access in needed {
            used.entry(access).or_default().push(of);
        }
    }
    let unused: Vec<_> = rights.iter().filter(|access| !used.contains_key(*access)).collect();
    assert!(unused.is_empty(), "nothing needs these: {unused:#?}");
    for access in &rights {
        let fewer: BTreeSet<_> = rights.iter().filter(|other| *other != access).cloned().collect();
        let (_, refused, outcome) = play(used[access][0], &fewer).await;
        assert!(outcome.is_err(), "{:?} ends well without {access:?}", used[access][0]);
        assert!(refused.contains(access), "{access:?}: {outcome:?}, refused: {refused:?}");
    }
}
