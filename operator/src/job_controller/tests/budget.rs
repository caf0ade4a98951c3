//! A run that reaches its budget pauses, and goes on where it was when the limit is raised.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use migration_api::status::QueueDepth;
use migration_api::{MigrationJob, Reason};
use migration_core::progress::Tally;
use migration_core::records::Spending;
use migration_engine::run::look::RunView;
use serde_json::json;

use super::api_server::ApiServer;
use super::*;
use crate::job_controller::apply::{Applied, ApplyCache};
use crate::job_controller::dereference::budget::over_budget;
use crate::job_controller::dereference::cluster::{JobState, ObservedJob};
use crate::job_controller::events::EventsOutcome;
use crate::job_controller::runs::lifecycle::tests as lifecycle;
use crate::job_controller::runs::{RunsInput, advance};
use crate::job_controller::scale::{ScaleCache, scale};

const SENDER: &str = "/jobs/photos-run-1";
const WORKERS: &str = "/deployments/photos-worker";

/// A live run that has sent so many GET requests; a million of them cost 0.40 USD. `closed`: its scan is.
fn live(closed: bool, source_reads: u64) -> Arc<LedgerView> {
    let tally = Tally { spent: Spending { source_reads, ..Spending::default() }, ..Tally::default() };
    let run = Some(RunView { record: lifecycle::run(closed, None), tally: Some(tally) });
    Arc::new(LedgerView { run, ..LedgerView::default() })
}

/// A cluster with a running jobsender and two workers.
fn start() -> ApiServer {
    let server = ApiServer::start();
    let mut sender = foreign("batch/v1", "Job", "photos-run-1");
    sender["spec"] = json!({"suspend": false, "template": {}});
    server.put(&sender);
    let mut workers = foreign("apps/v1", "Deployment", "photos-worker");
    workers["spec"] = json!({"replicas": 2, "selector": {}, "template": {}});
    server.put(&workers);
    server
}

/// Takes the steps of a reconciliation that stop and start pods. Returns the reason for which the job has to pause.
async fn reconcile(server: &ApiServer, job: &MigrationJob, ledger: &Arc<LedgerView>) -> Option<Reason> {
    let stored: Job = serde_json::from_value(server.get(SENDER).unwrap()).unwrap();
    let mut sender = lifecycle::job("photos-run-1", JobState::Unfinished);
    sender.suspended = stored.spec.unwrap().suspend == Some(true);
    sender.uid = stored.metadata.uid.unwrap();
    observe(server, job, ledger, sender).await
}

async fn observe(
    server: &ApiServer,
    job: &MigrationJob,
    ledger: &Arc<LedgerView>,
    sender: ObservedJob,
) -> Option<Reason> {
    let over_budget = over_budget(job, Some(ledger));
    let observed = Observed {
        ledger: Some(ledger.clone()),
        depth: Some(QueueDepth { visible: 9, in_flight: 0, dead_letters: 0 }),
        over_budget: over_budget.clone(),
        ..observed(Cluster { jobs: vec![sender], ..Cluster::default() })
    };
    let (configs, events, context) = (configs(|_| ()), EventsOutcome::default(), server.context());
    let input = RunsInput {
        job,
        observed: &observed,
        configs: Some(&configs),
        events: &events,
        is_checked: true,
        is_blocked: false,
        last_drain: None,
    };
    let runs = advance(&input, &context).await.unwrap();
    let deployment: Deployment = serde_json::from_value(server.get(WORKERS).unwrap()).unwrap();
    let (deployment, cache) = (Some(deployment), ApplyCache::default());
    let applied = Applied { deployment, problems: Vec::new(), is_changed: false, cache };
    scale(job, &applied, &observed, (&runs, &events), ScaleCache::default(), &context).await.unwrap();
    over_budget.map(|problem| problem.reason)
}

#[tokio::test]
async fn a_run_pauses_at_its_limit_and_goes_on_when_that_is_raised() {
    let (server, mut job) = (start(), resource());
    for (limit, millions, pauses) in [
        (Some("0.50"), 1, false),
        (Some("0.40"), 1, true),
        // Objects that were in flight end, and cost something.
        (Some("0.40"), 2, true),
        (Some("0.80"), 2, true),
        (Some("0.90"), 2, false),
        (Some("0.90"), 3, true),
        (None, 3, false),
    ] {
        job.spec.limits.cost = limit.map(|limit| limit.parse().unwrap());
        let ledger = live(true, millions * 1_000_000);
        let reason = reconcile(&server, &job, &ledger).await;
        assert_eq!(reason, pauses.then_some(Reason::OverBudget), "{limit:?} {millions}");
        let workers = server.get(WORKERS).unwrap()["spec"]["replicas"].as_u64().unwrap();
        assert_eq!(
            (server.get(SENDER).unwrap()["spec"]["suspend"] == true, workers == 0),
            (pauses, pauses),
            "{limit:?}"
        );
        // What has been decided is not written again.
        server.take_writes();
        reconcile(&server, &job, &ledger).await;
        assert_eq!(server.take_writes(), Vec::<String>::new(), "{limit:?} {millions}");
    }
}

#[tokio::test]
async fn nothing_starts_while_a_run_is_paused() {
    let (server, mut job) = (start(), resource());
    job.spec.limits.cost = Some("0.40".parse().unwrap());
    // The jobsender was deleted: its scan is continued by another one, but not now.
    let gone = ObservedJob { killed: true, ..lifecycle::job("photos-run-1", lifecycle::failed()) };
    assert_eq!(observe(&server, &job, &live(false, 1_000_000), gone.clone()).await, Some(Reason::OverBudget));
    assert!(!server.take_writes().iter().any(|line| line.starts_with("POST")));
    job.spec.limits.cost = Some("0.41".parse().unwrap());
    assert_eq!(observe(&server, &job, &live(false, 1_000_000), gone).await, None);
    assert!(server.take_writes().contains(&"POST jobs".to_owned()));
}
