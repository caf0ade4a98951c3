use hyper::Method;
use migration_api::status::MigrationJobStatus;
use migration_api::verify::VerifyMode;
use migration_api::{MigrationJob, Reason};
use migration_core::progress::Tally;
use migration_core::records::RunResult;
use migration_core::reopen;
use migration_engine::run::look::RunView;
use serde_json::json;

use super::api_server::{ApiServer, Fault, NOW};
use super::*;
use crate::job_controller::dereference::cluster::{JobState, ObservedJob};
use crate::job_controller::error::ReconcileError;
use crate::job_controller::events::EventsOutcome;
use crate::job_controller::runs::followups::FollowupState;
use crate::job_controller::runs::lifecycle::tests as lifecycle;
use crate::job_controller::runs::{RunsError, RunsInput, RunsOutcome, advance, supersede};
use crate::problem::Problem;

async fn advance_job(
    server: &ApiServer,
    job: &MigrationJob,
    observed: &Observed,
    is_blocked: bool,
) -> Result<RunsOutcome, RunsError> {
    advance_checked(server, job, observed, (true, is_blocked)).await
}

async fn advance_checked(
    server: &ApiServer,
    job: &MigrationJob,
    observed: &Observed,
    (is_checked, is_blocked): (bool, bool),
) -> Result<RunsOutcome, RunsError> {
    let configs = configs(|_| ());
    let (configs, events) = (Some(&configs), EventsOutcome::default());
    let input = RunsInput { job, observed, configs, events: &events, is_checked, is_blocked, last_drain: None };
    advance(&input, &server.context()).await
}

fn requested(manual: &str) -> MigrationJob {
    let mut job = resource();
    job.spec.trigger.manual = Some(manual.to_owned());
    job
}

fn scheduled() -> MigrationJob {
    let mut job = resource();
    job.spec.trigger.schedule = Some("@daily".to_owned());
    job
}

/// A job without a trigger that has started so many runs.
fn started(runs: u32) -> MigrationJob {
    let mut job = resource();
    job.status = Some(MigrationJobStatus { runs_started: runs, ..MigrationJobStatus::default() });
    job
}

#[tokio::test]
async fn a_requested_run_is_started_once_and_counted() {
    let server = ApiServer::start();
    let outcome = advance_job(&server, &requested("a"), &observed(Cluster::default()), false).await.unwrap();
    assert_eq!(server.take_writes(), ["POST jobs"]);
    assert_eq!((outcome.runs_started, outcome.last_manual_run.as_deref()), (1, Some("a")));
    assert!(outcome.start_pending && outcome.problems.is_empty());
    let created = server.get("/jobs/photos-run-1").unwrap();
    assert_eq!(created["metadata"]["annotations"]["s3migration.dev/manual"], "a");
}

#[tokio::test]
async fn a_suspended_job_of_a_resource_that_the_policy_refuses_is_not_resumed() {
    for is_refused in [true, false] {
        let server = ApiServer::start();
        server.put(&foreign("batch/v1", "Job", "photos-run-1"));
        let mut sender = lifecycle::job("photos-run-1", JobState::Unfinished);
        sender.suspended = true;
        sender.uid = server.get("/jobs/photos-run-1").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
        let cluster = Cluster { jobs: vec![sender], ..Cluster::default() };
        let observed = Observed { is_refused, ..observed(cluster) };
        advance_job(&server, &scheduled(), &observed, is_refused).await.unwrap();
        let resumed = server.take_writes() == ["PATCH jobs/photos-run-1"];
        assert_eq!(resumed, !is_refused);
    }
}

#[tokio::test]
async fn no_run_starts_before_its_schedule_or_while_a_job_may_still_list() {
    let server = ApiServer::start();
    let busy = vec![lifecycle::job("other", JobState::Unfinished)];
    for (job, jobs) in [(&scheduled(), vec![]), (&requested("a"), busy)] {
        let observed = observed(Cluster { jobs, ..Cluster::default() });
        let outcome = advance_job(&server, job, &observed, false).await.unwrap();
        assert_eq!((outcome.start_pending, outcome.runs_started), (false, 0));
    }
    assert_eq!(server.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_scan_whose_job_is_gone_or_that_is_reopened_is_continued_by_another_job() {
    for record in [lifecycle::run(false, None), reopen::ask(&lifecycle::run(true, None), NOW - 1)] {
        let server = ApiServer::start();
        let run = Some(RunView { record, tally: Some(Tally::default()) });
        let ledger = Some(Arc::new(LedgerView { run, ..LedgerView::default() }));
        let observed = Observed { ledger, ..observed(Cluster::default()) };
        let outcome = advance_job(&server, &scheduled(), &observed, false).await.unwrap();
        assert_eq!((outcome.start_pending, outcome.runs_started), (true, 1));
        assert_eq!(server.take_writes(), ["POST jobs"]);
    }
}

/// A live run whose scan is open and whose lease has expired.
fn abandoned() -> Arc<LedgerView> {
    let run = Some(RunView { record: lifecycle::run(false, None), tally: Some(Tally::default()) });
    Arc::new(LedgerView { run, ..LedgerView::default() })
}

#[tokio::test]
async fn a_scan_whose_pods_were_killed_is_continued_by_another_job() {
    let server = ApiServer::start();
    let killed = ObservedJob { killed: true, ..lifecycle::job("photos-run-1", lifecycle::failed()) };
    let observed =
        Observed { ledger: Some(abandoned()), ..observed(Cluster { jobs: vec![killed], ..Cluster::default() }) };
    let outcome = advance_job(&server, &started(1), &observed, false).await.unwrap();
    assert_eq!((outcome.start_pending, outcome.runs_started), (true, 2));
    assert_eq!(server.take_writes(), ["POST jobs"]);
    assert!(server.get("/jobs/photos-run-2").is_some());
}

#[tokio::test]
async fn a_job_whose_next_pod_is_held_back_is_deleted_with_its_pods_so_that_another_continues() {
    for (is_refused, suspend) in [(false, false), (true, false), (false, true)] {
        let server = ApiServer::start();
        let own = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "photos-run-1", "uid": "uid-photos-run-1"}});
        server.put(&own);
        let mut held = lifecycle::job("photos-run-1", JobState::Unfinished);
        held.suspended = suspend;
        let refusals = is_refused.then(|| Problem::new(Reason::Pod("FailedCreate".into()), "quota"));
        let refusals = refusals.into_iter().collect();
        let cluster = Cluster { jobs: vec![held], ..Cluster::default() };
        let observed = Observed { ledger: Some(abandoned()), refusals, ..observed(cluster) };
        let mut job = started(1);
        job.spec.suspend = suspend;
        let outcome = advance_job(&server, &job, &observed, false).await.unwrap();
        assert_eq!(outcome.runs_started, 1, "another one starts when it is gone");
        let sent = server.take_sent();
        assert_eq!(sent.len(), usize::from(!is_refused && !suspend), "{sent:?}");
        for sent in sent {
            assert_eq!((&sent.method, sent.path.ends_with("/jobs/photos-run-1")), (&Method::DELETE, true));
            assert_eq!(sent.body["preconditions"]["uid"], "uid-photos-run-1");
            assert_eq!(sent.body["propagationPolicy"], "Background");
        }
    }
}

#[tokio::test]
async fn a_run_waits_for_the_preflight_and_a_scan_that_is_continued_does_not() {
    let server = ApiServer::start();
    let unchecked = async |job: &MigrationJob, observed: &Observed| {
        advance_checked(&server, job, observed, (false, false)).await.unwrap()
    };
    let outcome = unchecked(&requested("a"), &observed(Cluster::default())).await;
    assert_eq!((outcome.start_pending, outcome.runs_started), (true, 0));
    assert_eq!(server.take_writes(), Vec::<String>::new());
    let run = Some(RunView { record: lifecycle::run(false, None), tally: Some(Tally::default()) });
    let ledger = Some(Arc::new(LedgerView { run, ..LedgerView::default() }));
    let live = Observed { ledger, ..observed(Cluster::default()) };
    assert_eq!(unchecked(&scheduled(), &live).await.runs_started, 1);
    assert_eq!(server.take_writes(), ["POST jobs"]);
}

#[tokio::test]
async fn a_job_name_that_a_stranger_took_is_skipped_and_the_stranger_left_alone() {
    let server = ApiServer::start();
    server.put(&foreign("batch/v1", "Job", "photos-run-1"));
    let before = server.get("/jobs/photos-run-1");
    let mut job = requested("a");
    let outcome = advance_job(&server, &job, &observed(Cluster::default()), false).await.unwrap();
    assert_eq!((outcome.runs_started, outcome.last_manual_run), (1, None), "the request is not answered yet");
    assert_eq!(server.get("/jobs/photos-run-1"), before);
    job.status = Some(MigrationJobStatus { runs_started: outcome.runs_started, ..MigrationJobStatus::default() });
    let outcome = advance_job(&server, &job, &observed(Cluster::default()), false).await.unwrap();
    assert_eq!((outcome.runs_started, outcome.last_manual_run.as_deref()), (2, Some("a")));
    assert!(server.get("/jobs/photos-run-2").is_some());
}

#[tokio::test]
async fn a_job_whose_creation_got_no_answer_is_not_created_twice() {
    let server = ApiServer::start();
    server.fail(Method::POST, "/jobs", Fault::AnswerLost, 1);
    let job = requested("a");
    let error = advance_job(&server, &job, &observed(Cluster::default()), false).await.err().unwrap();
    assert!(ReconcileError::from(error).problem(1).is_none(), "it is retried before anything is reported");
    // The watch has not delivered the Job yet.
    let outcome = advance_job(&server, &job, &observed(Cluster::default()), false).await.unwrap();
    assert_eq!((outcome.runs_started, outcome.last_manual_run.as_deref()), (1, Some("a")));
    assert!(server.get("/jobs/photos-run-2").is_none());
}

#[tokio::test]
async fn a_refused_job_is_a_problem_and_the_run_stays_pending() {
    let server = ApiServer::start();
    for (code, message) in [(403, "exceeded quota"), (500, "etcdserver: request timed out")] {
        server.fail(Method::POST, "/jobs", Fault::Refused(code, message), 1);
        let outcome = advance_job(&server, &requested("a"), &observed(Cluster::default()), false).await.unwrap();
        assert_eq!(outcome.problems.len(), 1);
        assert_eq!(outcome.problems[0].message, format!("failed to create Job photos-run-1: {message}"));
        assert_eq!((outcome.runs_started, outcome.last_manual_run, outcome.start_pending), (0, None, true));
    }
}

#[tokio::test]
async fn a_job_that_was_replaced_between_read_and_write_ends_the_step() {
    let server = ApiServer::start();
    let mut replaced = foreign("batch/v1", "Job", "photos-run-1");
    replaced["spec"] = json!({"suspend": true});
    server.put(&replaced);
    let read = ObservedJob { suspended: true, ..lifecycle::job("photos-run-1", JobState::Unfinished) };
    let cluster = Cluster { jobs: vec![read], ..Cluster::default() };
    let error = advance_job(&server, &resource(), &observed(cluster), false).await.err().unwrap();
    let error = ReconcileError::from(error);
    assert!(error.is_conflict(), "{error}");
    assert_eq!(server.take_writes(), ["PATCH jobs/photos-run-1"], "nothing follows the conflict");
    assert_eq!(server.get("/jobs/photos-run-1").unwrap()["spec"]["suspend"], true);
}

#[tokio::test]
async fn a_problem_of_an_earlier_step_keeps_runs_and_what_follows_them_from_starting() {
    let server = ApiServer::start();
    let outcome = advance_job(&server, &requested("a"), &observed(Cluster::default()), true).await.unwrap();
    assert!(outcome.start_pending);
    let outcome = advance_job(&server, &verified(), &ended(), true).await.unwrap();
    assert_eq!(outcome.verification, FollowupState::Due);
    assert_eq!(server.take_writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_pod_that_may_not_be_annotated_keeps_a_run_from_starting() {
    let server = ApiServer::start();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "media", "uid": "u"},
        "status": {"phase": "Running"},
    });
    server.put(&pod);
    server.fail(Method::PATCH, "/pods/p", Fault::Refused(403, "pods \"p\" is forbidden"), 1);
    let cluster = Cluster { pods: vec![serde_json::from_value(pod).unwrap()], ..Cluster::default() };
    let observed = Observed { secrets_version: Some("new".to_owned()), ..observed(cluster) };
    let outcome = advance_job(&server, &requested("a"), &observed, false).await.unwrap();
    assert_eq!(outcome.problems[0].message, "failed to annotate Pod p: pods \"p\" is forbidden");
    assert_eq!(server.take_writes(), ["PATCH pods/p"]);
    let outcome = advance_job(&server, &requested("a"), &observed, false).await.unwrap();
    assert!(outcome.problems.is_empty() && server.get("/jobs/photos-run-1").is_some(), "it goes on by itself");
}

fn verified() -> MigrationJob {
    let mut job = resource();
    job.spec.verify.mode = VerifyMode::Full;
    job.status = Some(MigrationJobStatus { runs_started: 1, ..MigrationJobStatus::default() });
    job
}

/// A job whose first run is complete.
fn ended() -> Observed {
    let record = lifecycle::run(true, Some(RunResult::Complete));
    let run = Some(RunView { record, tally: Some(Tally::default()) });
    let ledger = Some(Arc::new(LedgerView { run, ..LedgerView::default() }));
    Observed { ledger, ..observed(Cluster::default()) }
}

#[tokio::test]
async fn a_complete_run_is_verified_by_a_job_of_its_own() {
    let server = ApiServer::start();
    let outcome = advance_job(&server, &verified(), &ended(), false).await.unwrap();
    assert_eq!((outcome.runs_started, outcome.start_pending), (1, false));
    assert_eq!(server.take_writes(), ["POST jobs"]);
    assert!(server.get("/jobs/photos-run-2").is_none());
    // A run that is requested meanwhile has precedence.
    let mut job = verified();
    job.spec.trigger.manual = Some("b".to_owned());
    advance_job(&server, &job, &ended(), false).await.unwrap();
    assert_eq!(server.take_writes(), ["POST jobs"]);
    assert!(server.get("/jobs/photos-run-2").is_some());
}

#[tokio::test]
async fn the_jobs_of_a_superseded_run_are_deleted_by_their_uid_with_their_pods() {
    let server = ApiServer::start();
    let own = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "uid": "uid-a"}});
    server.put(&own);
    server.put(&foreign("batch/v1", "Job", "b"));
    let api = server.context().api("media");
    let job = |name: &str, state| lifecycle::job(name, state);
    let jobs = [job("a", JobState::Unfinished), job("c", JobState::Succeeded)];
    assert!(!supersede::delete_senders(&api, &jobs).await.unwrap(), "its pods still end");
    let sent = server.take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].body["propagationPolicy"], "Foreground");
    assert!(supersede::delete_senders(&api, &jobs[1..]).await.unwrap());
    let replaced = supersede::delete_senders(&api, &[job("b", JobState::Unfinished)]).await.err().unwrap();
    assert!(replaced.is_conflict(), "{replaced}");
    assert!(server.get("/jobs/b").unwrap()["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn the_jobs_of_earlier_runs_are_removed_with_their_pods_and_no_others() {
    let server = ApiServer::start();
    let mut jobs = Vec::new();
    for number in (1..=5).rev() {
        let name = format!("photos-run-{number}");
        server.put(
            &json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "uid": format!("uid-{name}")}}),
        );
        jobs.push(lifecycle::job(&name, JobState::Succeeded));
    }
    // It took the name of one that was read.
    server.put(&foreign("batch/v1", "Job", "photos-run-1"));
    let mut job = scheduled();
    job.status = Some(MigrationJobStatus { runs_started: 5, ..MigrationJobStatus::default() });
    let observed = Observed { cluster: Arc::new(Cluster { jobs, ..Cluster::default() }), ..ended() };
    let error = advance_job(&server, &job, &observed, false).await.err().unwrap();
    assert!(ReconcileError::from(error).is_conflict(), "the next reconciliation reads it again");
    let sent = server.take_sent();
    let deleted: Vec<_> = sent.iter().filter(|sent| sent.method == Method::DELETE).collect();
    let names: Vec<_> = deleted.iter().filter_map(|sent| sent.path.rsplit('/').next()).collect();
    assert_eq!(names, ["photos-run-2", "photos-run-1"]);
    assert_eq!(deleted[0].body["preconditions"]["uid"], "uid-photos-run-2");
    assert_eq!(deleted[0].body["propagationPolicy"], "Background");
    assert!(server.get("/jobs/photos-run-1").unwrap()["metadata"]["deletionTimestamp"].is_null());
    assert!(server.get("/jobs/photos-run-3").unwrap()["metadata"]["deletionTimestamp"].is_null());
}
