use migration_api::MigrationJob;
use migration_api::preflight::{PreflightResult, PreflightStatus};
use migration_api::status::MigrationJobStatus;
use migration_core::error::Service;
use migration_core::operation::Operation;
use migration_core::preflight::{Finding, Report, Shortcoming};
use serde_json::json;

use super::api_server::{ApiServer, Fault, NOW};
use super::*;
use crate::job_controller::dereference::cluster::JobState;
use crate::job_controller::dereference::cluster::preflights::ObservedPreflight;
use crate::job_controller::preflight::{PreflightOutcome, advance};
use crate::job_controller::runs::lifecycle::tests as lifecycle;
use crate::names;

/// The job with this state of its preflight.
fn job(status: Option<PreflightStatus>) -> MigrationJob {
    let mut job = resource();
    job.status = Some(MigrationJobStatus { preflight: status, ..MigrationJobStatus::default() });
    job
}

async fn step(server: &ApiServer, job: &MigrationJob, observed: &Observed, is_blocked: bool) -> PreflightOutcome {
    advance(job, observed, Some(&configs(|_| ())), is_blocked, &server.context()).await.unwrap()
}

fn with(preflights: Vec<ObservedPreflight>) -> Observed {
    observed(Cluster { preflights, ..Cluster::default() })
}

/// The Job of the attempt in a status.
fn attempt(status: &PreflightStatus, state: JobState, findings: Vec<Finding>) -> ObservedPreflight {
    let job = lifecycle::job(&names::preflight("photos", status.number), state);
    let report = Some(Report { findings });
    ObservedPreflight { job, number: status.number, checked: status.checked.clone(), report }
}

fn denied() -> Finding {
    let arn = "arn:aws:s3:::b/p/.s3-migration-preflight-u-1".to_owned();
    let words = "failed to create upload: AccessDenied: Access Denied";
    let found = Finding::new(Service::Destination, Shortcoming::AccessDenied, Operation::CreateUpload, arn, words);
    Finding { actions: vec!["s3:PutObject".into()], ..found }
}

#[tokio::test]
async fn buckets_are_tried_once_before_the_first_run() {
    let server = ApiServer::start();
    let blocked = step(&server, &job(None), &with(vec![]), true).await;
    let mut suspended = job(None);
    suspended.spec.suspend = true;
    assert!(!blocked.is_ready && !step(&server, &suspended, &with(vec![]), false).await.is_ready);
    assert!(server.take_writes().is_empty(), "nothing is created");

    let created = step(&server, &job(None), &with(vec![]), false).await;
    assert!(!created.is_ready && created.is_pending && created.problems.is_empty());
    let begun = created.status.clone().unwrap();
    let made = server.get("/jobs/photos-preflight-1").unwrap();
    assert_eq!(made["metadata"]["annotations"]["s3migration.dev/checked"], begun.checked.as_str());
    assert_eq!(made["metadata"]["labels"]["app.kubernetes.io/component"], "preflight");
    server.take_writes();
    // The operator ended before it wrote the status, and the watch has not delivered the Job.
    let again = step(&server, &job(None), &with(vec![]), false).await;
    assert_eq!((again.status, server.all("jobs").len()), (created.status, 1));

    let begun_job = job(Some(begun.clone()));
    let unfinished = with(vec![attempt(&begun, JobState::Unfinished, vec![])]);
    assert!(!step(&server, &begun_job, &unfinished, false).await.is_ready);
    let succeeded = with(vec![attempt(&begun, JobState::Succeeded, vec![])]);
    let passed = step(&server, &begun_job, &succeeded, false).await;
    assert_eq!(passed.status.as_ref().unwrap().result, Some(PreflightResult::Passed));
    assert!(passed.is_ready && !passed.is_pending);
    server.take_writes();
    let settled = step(&server, &job(passed.status.clone()), &with(vec![]), false).await;
    assert_eq!(settled, passed, "reconciled again, nothing changes");
    assert!(server.take_writes().is_empty());
}

#[tokio::test]
async fn a_denied_write_stops_runs_until_it_is_allowed_and_names_what_it_needs() {
    let server = ApiServer::start();
    let begun = step(&server, &job(None), &with(vec![]), false).await.status.unwrap();
    let failed = JobState::Failed { message: "PreflightFailed: no".into() };
    let failed = with(vec![attempt(&begun, failed, vec![denied()])]);
    let failed = step(&server, &job(Some(begun)), &failed, false).await;
    assert!(!failed.is_ready && failed.notes.is_empty());
    assert_eq!(failed.problems[0].reason.to_string(), "DestinationAccessDenied");
    let message = &failed.problems[0].message;
    let words =
        ["failed to create upload", "arn:aws:s3:::b/p/", "Access Denied; the request needs s3:PutObject; grant"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    server.take_writes();

    let later = step(&server, &job(failed.status.clone()), &with(vec![]), false).await;
    assert_eq!((later.again.map(|time| time.as_secs()), later.is_ready), (Some(15), false));
    assert!(server.take_writes().is_empty(), "its delay is not over");
    let context = server.context_at(NOW + 15_000);
    let again = advance(&job(failed.status), &with(vec![]), Some(&configs(|_| ())), false, &context).await.unwrap();
    assert_eq!(server.take_writes(), ["POST jobs"]);
    let begun = again.status.unwrap();
    assert_eq!((begun.number, begun.failures, again.problems.len()), (2, 1, 1), "what is known stays meanwhile");
    let done = with(vec![attempt(&begun, JobState::Succeeded, vec![])]);
    let passed = step(&server, &job(Some(begun)), &done, false).await;
    assert!(passed.is_ready && passed.problems.is_empty());
}

#[tokio::test]
async fn an_edit_replaces_the_check_that_is_in_progress() {
    let server = ApiServer::start();
    let begun = step(&server, &job(None), &with(vec![]), false).await.status.unwrap();
    let made = server.get("/jobs/photos-preflight-1").unwrap()["metadata"].clone();
    let text = |member: &str| made[member].as_str().unwrap().to_owned();
    server.take_writes();
    let mut running = attempt(&begun, JobState::Unfinished, vec![]);
    (running.job.uid, running.job.version) = (text("uid"), Some(text("resourceVersion")));
    let edited = configs(|job| job.spec.destination.region = "elsewhere".into());
    let moved = async |observed: &Observed| {
        advance(&job(Some(begun.clone())), observed, Some(&edited), false, &server.context()).await.unwrap()
    };
    let replacing = moved(&with(vec![running])).await;
    assert_eq!(server.take_writes(), ["DELETE jobs/photos-preflight-1"]);
    assert!(!replacing.is_ready && replacing.is_pending);
    let status = moved(&with(vec![])).await.status.unwrap();
    assert_eq!(server.take_writes(), ["POST jobs"]);
    assert!(status.number == 2 && status.checked != begun.checked);
}

#[tokio::test]
async fn what_is_not_checked_does_not_repeat_a_check_and_what_is_does() {
    let checked = |change: fn(&mut MigrationJob)| configs(change).next.checked.clone();
    let same = checked(|_| ());
    for change in [
        (|job| job.spec.scaling.max_replicas = 7) as fn(&mut MigrationJob),
        |job| job.spec.queue.region = "elsewhere".into(),
        |job| job.spec.trigger.manual = Some("again".into()),
        |job| job.spec.worker.image = Some("mine:2".into()),
    ] {
        assert_eq!(checked(change), same);
    }
    for change in [
        (|job| job.spec.buckets[0].source_prefix = "x/".into()) as fn(&mut MigrationJob),
        |job| job.spec.source.region = "elsewhere".into(),
        |job| job.spec.destination.credentials = None,
        |job| job.spec.destination.storage_class = None,
        |job| job.spec.transfer.preserve.tags = false,
        |job| job.spec.versioning.compare_version_id = true,
        |job| job.spec.worker.service_account_name = Some("mover".into()),
    ] {
        assert_ne!(checked(change), same);
    }
    // A Secret that changed is other credentials.
    let server = ApiServer::start();
    let begun = step(&server, &job(None), &with(vec![]), false).await.status.unwrap();
    let rotated = Observed { tried_secrets_version: Some("2".into()), ..with(vec![]) };
    assert_ne!(step(&server, &job(Some(begun.clone())), &rotated, false).await.status.unwrap().checked, begun.checked);
}

#[tokio::test]
async fn a_failure_from_before_the_only_run_holds_nothing_up_and_is_not_repeated() {
    let server = ApiServer::start();
    let begun = step(&server, &job(None), &with(vec![]), false).await.status.unwrap();
    let failed = JobState::Failed { message: "PreflightFailed: no".into() };
    let failed = with(vec![attempt(&begun, failed, vec![denied()])]);
    let failed = step(&server, &job(Some(begun)), &failed, false).await;
    server.take_writes();
    let mut over = job(failed.status.clone());
    over.status.as_mut().unwrap().runs_started = 1;
    let later = server.context_at(NOW + 3_600_000);
    let step =
        async |job: &MigrationJob| advance(job, &with(vec![]), Some(&configs(|_| ())), false, &later).await.unwrap();
    let settled = step(&over).await;
    assert_eq!((settled.again, settled.is_pending, settled.is_ready), (None, false, false));
    assert!(settled.problems.is_empty() && settled.notes.is_empty() && settled.status == failed.status);
    assert!(server.take_writes().is_empty());
    over.spec.trigger.schedule = Some("@daily".into());
    assert!(step(&over).await.status.unwrap().running);
    assert_eq!(server.take_writes(), ["POST jobs"]);
}

#[tokio::test]
async fn a_name_that_a_stranger_took_is_skipped_and_a_refusal_is_reported() {
    let server = ApiServer::start();
    server.put(&foreign("batch/v1", "Job", "photos-preflight-1"));
    let skipped = step(&server, &job(None), &with(vec![]), false).await;
    assert!(!skipped.is_ready && skipped.is_pending);
    step(&server, &job(skipped.status), &with(vec![]), false).await;
    assert!(server.get("/jobs/photos-preflight-2").is_some());
    let server = ApiServer::start();
    server.fail(hyper::Method::POST, "/jobs", Fault::Refused(403, "exceeded quota"), 1);
    let refused = step(&server, &job(None), &with(vec![]), false).await;
    assert_eq!((refused.problems[0].reason.to_string().as_str(), refused.status), ("ApplyFailed", None));
}

#[tokio::test]
async fn a_job_that_had_a_run_before_there_were_preflights_goes_on_without_one() {
    let server = ApiServer::start();
    let mut started = job(None);
    started.status.as_mut().unwrap().runs_started = 1;
    let known = step(&server, &started, &with(vec![]), false).await;
    assert!(known.is_ready && !known.is_pending);
    assert_eq!(json!(known.status.unwrap().number), 0);
    assert!(server.take_writes().is_empty());
}
