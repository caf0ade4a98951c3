use kube::runtime::{reflector, watcher};
use migration_api::MigrationJob;
use migration_api::status::MigrationJobStatus;
use migration_api::trigger::EventTriggerStatus;
use serde_json::json;

use super::api_server::ApiServer;
use super::*;
use crate::job_controller::context::Context;
use crate::job_controller::dereference::cluster::JobState;
use crate::job_controller::events::{EventsOutcome, advance};
use crate::job_controller::runs::lifecycle::tests as lifecycle;
use crate::job_controller::runs::{RunsInput, advance as advance_runs};
use crate::job_controller::watched::{Watched, WatchedJob};

fn enabled(job: &mut MigrationJob) {
    job.spec.trigger.events.enabled = true;
}

/// A job whose events are enabled, with this state of them.
fn job(status: Option<EventTriggerStatus>) -> MigrationJob {
    let mut job = resource();
    enabled(&mut job);
    job.status = Some(MigrationJobStatus { event_trigger: status, ..MigrationJobStatus::default() });
    job
}

fn notifying(name: &str, state: JobState) -> Observed {
    let notifiers = vec![lifecycle::job(name, state)];
    observed(Cluster { notifiers, ..Cluster::default() })
}

async fn step(context: &Context, job: &MigrationJob, observed: &Observed, is_blocked: bool) -> EventsOutcome {
    advance(job, observed, Some(&configs(enabled)), is_blocked, context).await.unwrap()
}

fn name_of(server: &ApiServer) -> String {
    let sent = server.take_sent().into_iter().find(|sent| sent.method == hyper::Method::POST).unwrap();
    sent.body["metadata"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bucket_is_in_the_status_before_the_job_that_changes_it_exists() {
    let server = ApiServer::start();
    let context = server.context();
    let nothing = observed(Cluster::default());
    let announced = step(&context, &job(None), &nothing, false).await;
    let status = announced.status.clone().unwrap();
    assert_eq!((status.buckets.as_slice(), status.configured.as_deref()), (&["a".to_owned()][..], None));
    assert_eq!((announced.is_ready, announced.needs_scan), (false, true));
    assert!(server.take_writes().is_empty());

    let blocked = step(&context, &job(announced.status.clone()), &nothing, true).await;
    let mut suspended = job(announced.status.clone());
    suspended.spec.suspend = true;
    assert!(!blocked.is_ready && !step(&context, &suspended, &nothing, false).await.is_ready);
    assert!(server.take_writes().is_empty(), "nothing is created");

    let creating = step(&context, &job(announced.status.clone()), &nothing, false).await;
    assert_eq!((&creating.status, creating.is_ready), (&announced.status, false));
    let name = name_of(&server);
    let created = server.get(&format!("/jobs/{name}")).unwrap();
    assert_eq!(created["metadata"]["labels"]["app.kubernetes.io/component"], "notifier");
    assert_eq!(created["metadata"]["annotations"]["s3migration.dev/buckets"], "a");

    let waiting = step(&context, &job(announced.status.clone()), &notifying(&name, JobState::Unfinished), false).await;
    assert!(!waiting.is_ready && server.take_writes().is_empty());

    let failed = JobState::Failed { message: "NotificationsRefused: no right".into() };
    let failed = step(&context, &job(announced.status.clone()), &notifying(&name, failed), false).await;
    assert_eq!(failed.problems[0].reason.to_string(), "EventsNotConfigured");
    assert!(failed.problems[0].message.contains("no right") && !failed.is_ready, "{failed:?}");

    let done = step(&context, &job(announced.status.clone()), &notifying(&name, JobState::Succeeded), false).await;
    assert!(done.is_ready && done.needs_scan && done.status.as_ref().unwrap().configured.is_some());
    let settled = step(&context, &job(done.status.clone()), &nothing, false).await;
    assert_eq!(settled, done, "reconciled again, nothing changes");
    assert!(server.take_writes().is_empty());
}

#[tokio::test]
async fn entries_of_events_that_are_disabled_are_removed_and_hold_up_nothing() {
    let server = ApiServer::start();
    let context = server.context();
    let status = |configured: Option<&str>| EventTriggerStatus {
        buckets: vec!["a".into()],
        configured: configured.map(Into::into),
        scan_started: true,
    };
    let disabled = |status| {
        let mut job = job(Some(status));
        job.spec.trigger.events.enabled = false;
        job
    };
    let configs = configs(|_| ());
    let advance = async |job: &MigrationJob, observed: &Observed| {
        advance(job, observed, Some(&configs), false, &context).await.unwrap()
    };
    let nothing = observed(Cluster::default());
    let announced = advance(&disabled(status(Some("k"))), &nothing).await;
    let expected = EventTriggerStatus { scan_started: false, ..status(None) };
    assert_eq!((announced.status.as_ref(), announced.is_ready), (Some(&expected), true));
    advance(&disabled(status(None)), &nothing).await;
    let name = name_of(&server);
    let done = advance(&disabled(status(None)), &notifying(&name, JobState::Succeeded)).await;
    assert_eq!((done.status, done.is_ready, done.needs_scan), (None, true, false));
}

#[tokio::test]
async fn a_run_waits_until_the_events_arrive() {
    let server = ApiServer::start();
    let context = server.context();
    let (observed, configs) = (observed(Cluster::default()), configs(enabled));
    let run = async |events: &EventsOutcome| {
        let job = job(events.status.clone());
        let configs = Some(&configs);
        let input = RunsInput {
            job: &job,
            observed: &observed,
            configs,
            events,
            is_checked: true,
            is_blocked: false,
            last_drain: None,
        };
        advance_runs(&input, &context).await.unwrap()
    };
    let waiting = EventsOutcome { is_ready: false, needs_scan: true, ..EventsOutcome::default() };
    let outcome = run(&waiting).await;
    assert_eq!((outcome.start_pending, outcome.runs_started), (true, 0));
    assert!(server.take_writes().is_empty());
    let ready = EventsOutcome { is_ready: true, ..waiting };
    assert_eq!(run(&ready).await.runs_started, 1);
    assert_eq!(server.take_writes(), ["POST jobs"]);
    let scanned = EventsOutcome { needs_scan: false, ..ready };
    assert!(!run(&scanned).await.start_pending, "events without a scan start no run");
}

/// Returns a context that watches another resource with the same bucket, whose Job to configure it is in this state.
fn with_neighbour(server: &ApiServer, is_over: bool) -> Context {
    let mut other = stored(enabled);
    other["metadata"]["name"] = json!("neighbour");
    other["metadata"]["uid"] = json!("u-2");
    let (store, mut writer) = reflector::store::<WatchedJob>();
    let other: WatchedJob = serde_json::from_value(other).unwrap();
    writer.apply_watcher_event(&watcher::Event::Apply(other));
    let context = server.context();
    context.set_watched(Watched {
        jobs: store,
        config_maps: reflector::store().0,
        cron_jobs: reflector::store().0,
        deployments: reflector::store().0,
        runs: reflector::store().0,
        refused: reflector::store().0,
    });
    let conditions = if is_over { json!([{"type": "Complete", "status": "True"}]) } else { json!([]) };
    server.put(&json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": "neighbour-notify-1", "namespace": "media",
            "labels": crate::names::labels("neighbour", crate::names::Component::Notifier),
        },
        "status": {"conditions": conditions},
    }));
    context
}

#[tokio::test]
async fn two_jobs_never_configure_one_bucket_at_a_time() {
    let status = || Some(EventTriggerStatus { buckets: vec!["a".into()], ..EventTriggerStatus::default() });
    let nothing = observed(Cluster::default());
    let server = ApiServer::start();
    let context = with_neighbour(&server, false);
    let waiting = step(&context, &job(status()), &nothing, false).await;
    assert!(!waiting.is_ready && waiting.is_pending);
    assert!(server.take_writes().is_empty(), "the neighbour's Job is not over");
    let mut disabled = job(status());
    disabled.spec.trigger.events.enabled = false;
    let without = advance(&disabled, &nothing, Some(&configs(|_| ())), false, &context).await.unwrap();
    assert!(without.is_ready && without.is_pending, "nothing tells when the neighbour's Job is over");
    let server = ApiServer::start();
    let context = with_neighbour(&server, true);
    step(&context, &job(status()), &nothing, false).await;
    assert_eq!(server.take_writes(), ["POST jobs"]);
}
