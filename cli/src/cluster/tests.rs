//! The commands on an API server that answers as the rows of a test say.

mod api_server;

use std::time::Duration;

use clap::Parser;
use migration_api::MigrationJob;
use serde_json::{Value, json};

use super::{ClusterArgs, ClusterError, run};
use crate::exit::Exit;
use api_server::{Answer, ApiServer};

const JOBS: &str = "/apis/s3migration.dev/v1alpha1/namespaces/media/migrationjobs";
const PHOTOS: &str = "/apis/s3migration.dev/v1alpha1/namespaces/media/migrationjobs/photos";

/// A job named photos with these members, merged over a small one.
pub fn document(members: &Value) -> Value {
    let mut job = json!({
        "apiVersion": "s3migration.dev/v1alpha1",
        "kind": "MigrationJob",
        "metadata": {"name": "photos", "namespace": "media", "uid": "u", "resourceVersion": "1"},
        "spec": {
            "buckets": [{"sourceBucket": "a", "destinationBucket": "b"}],
            "source": {"region": "eu-central-1"}, "destination": {"region": "cn-north-1"},
            "queue": {"region": "eu-central-1"}, "ledger": {"region": "eu-central-1"},
        },
    });
    merge(&mut job, members);
    job
}

fn merge(target: &mut Value, members: &Value) {
    match (target, members) {
        (Value::Object(target), Value::Object(members)) => {
            for (name, value) in members {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, value) => *target = value.clone(),
    }
}

pub fn job(members: &Value) -> MigrationJob {
    serde_json::from_value(document(members)).unwrap()
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "s3migration.dev/v1alpha1", "kind": "MigrationJobList", "metadata": {"resourceVersion": "5"}, "items": items})
}

fn modified(job: &Value) -> Value {
    json!({"type": "MODIFIED", "object": job})
}

fn running(phase: &str) -> Value {
    json!({"status": {"phase": phase, "display": {"objects": "1/2", "workers": "1/1"}}})
}

fn ended(phase: &str, result: &str, manual: Option<&str>) -> Value {
    json!({"status": {
        "phase": phase, "lastManualRun": manual,
        "lastRun": {
            "id": "r", "startedAt": "2026-01-01T00:00:00Z", "endedAt": "2026-01-01T00:01:00Z", "result": result,
            "objects": 2, "bytes": 2, "failed": 0, "skipped": 0,
        },
    }})
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs a command line in the namespace media; returns its exit code and output.
async fn execute(line: &str, server: &ApiServer) -> (Result<Exit, ClusterError>, String) {
    let line = Line::try_parse_from(["s3migrate"].into_iter().chain(line.split(' '))).unwrap();
    let mut out = Vec::new();
    let result = run(&line.cluster.command, server.client.clone(), "media", &mut out).await;
    (result, String::from_utf8(out).unwrap())
}

/// Runs a command line whose error ends the program; returns the error and its exit code.
async fn fails(line: &str, answers: Vec<Answer>) -> (String, Exit) {
    let server = ApiServer::start(answers);
    let error = execute(line, &server).await.0.unwrap_err();
    (error.to_string(), error.exit())
}

#[tokio::test(start_paused = true)]
async fn each_command_sends_its_requests_and_prints_the_answer() {
    let one = document(&running("Scanning"));
    let other =
        document(&json!({"metadata": {"name": "films", "namespace": "cinema"}, "status": {"phase": "Complete"}}));
    let unreadable = document(&json!({"metadata": {"name": "new"}, "spec": {"compare": "Newer"}}));
    let failed = document(&json!({"status": {"failures": [
        {"bucket": "a", "key": "k", "class": "Archived", "message": "restore it"},
    ]}}));
    let suspended = document(&json!({"spec": {"suspend": true}}));
    for (line, answers, sent, printed) in [
        (
            "status",
            vec![Answer::of(&list(std::slice::from_ref(&one)))],
            vec![format!("GET {JOBS}")],
            "photos  Scanning  1/2",
        ),
        (
            "status photos -o json",
            vec![Answer::of(&one)],
            vec![format!("GET {PHOTOS}")],
            r#""phase":"Scanning","objects":"1/2""#,
        ),
        (
            "status -A -o csv",
            vec![Answer::of(&list(&[one.clone(), other]))],
            vec!["GET /apis/s3migration.dev/v1alpha1/migrationjobs".to_owned()],
            "cinema,films,Complete",
        ),
        ("status", vec![Answer::of(&list(&[unreadable]))], vec![format!("GET {JOBS}")], "can't be read: "),
        ("status", vec![Answer::of(&list(&[]))], vec![format!("GET {JOBS}")], ""),
        ("failures photos", vec![Answer::of(&failed)], vec![format!("GET {PHOTOS}")], "Archived  restore it"),
        (
            "suspend photos",
            vec![Answer::of(&suspended)],
            vec![format!(r#"PATCH {PHOTOS} {{"spec":{{"suspend":true}}}}"#)],
            "photos suspended\n",
        ),
        (
            "resume photos",
            vec![Answer::of(&document(&json!({})))],
            vec![format!(r#"PATCH {PHOTOS} {{"spec":{{"suspend":false}}}}"#)],
            "photos resumed\n",
        ),
    ] {
        let server = ApiServer::start(answers);
        let (result, out) = execute(line, &server).await;
        assert_eq!(result.unwrap(), Exit::Done, "{line}");
        let squeezed = out.lines().map(squeeze).collect::<Vec<_>>().join("\n");
        assert!(out.contains(printed) || squeezed.contains(&squeeze(printed)), "{line}: {out}");
        assert_eq!(server.sent(), sent, "{line}");
    }
}

/// Replaces runs of spaces by one, since the width of columns is not what is tested.
fn squeeze(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_trigger_is_fresh_printed_and_sent_as_a_merge_patch() {
    let server = ApiServer::start(vec![Answer::of(&document(&json!({})))]);
    let (result, out) = execute("trigger photos", &server).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let expected = format!(r#"PATCH {PHOTOS} {{"spec":{{"trigger":{{"manual":"{}"}}}}}}"#, out.trim());
    assert_eq!(server.sent(), [expected]);
    assert_eq!(server.types(), ["application/merge-patch+json"]);
    assert!(out.trim().parse::<jiff::Timestamp>().is_ok(), "{out}");
}

#[tokio::test(start_paused = true)]
async fn a_trigger_waits_until_its_run_has_ended() {
    for (last, expected) in [
        (ended("Complete", "Complete", Some(api_server::TRIGGER)), Exit::Done),
        (ended("PartiallyFailed", "PartiallyFailed", Some(api_server::TRIGGER)), Exit::SomeFailed),
        (ended("Failed", "Failed", Some(api_server::TRIGGER)), Exit::Failed),
    ] {
        let before = document(&ended("Complete", "Complete", Some("earlier")));
        let scanning =
            json!({"status": {"phase": "Scanning", "currentRun": "r", "lastManualRun": api_server::TRIGGER}});
        let server = ApiServer::start(vec![
            Answer::with_trigger(&before),
            Answer::with_trigger(&list(std::slice::from_ref(&before))),
            // The watch breaks once; it is made again, and goes on.
            Answer::Lost,
            Answer::with_trigger_lines(&[modified(&document(&scanning)), modified(&document(&last))]),
        ]);
        let (result, _) = execute("trigger photos --wait", &server).await;
        assert_eq!(result.unwrap(), expected);
        let sent = server.sent();
        assert_eq!(sent.len(), 4, "{sent:?}");
        assert!(sent[1].contains("fieldSelector=metadata.name") && sent[3].contains("watch=true"), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_cannot_end_says_why() {
    let plain = document(&json!({"status": {"lastManualRun": "earlier"}}));
    let suspended = document(&json!({"spec": {"suspend": true}}));
    let replaced = document(&json!({"spec": {"trigger": {"manual": "theirs"}}}));
    let listed = |job: &Value| Answer::with_trigger(&list(std::slice::from_ref(job)));
    let gone = json!({"type": "DELETED", "object": plain});
    for (line, answers, expected) in [
        ("trigger photos --wait", vec![Answer::of(&suspended)], "is suspended; the run starts after"),
        (
            "trigger photos --wait",
            vec![Answer::with_trigger(&plain), Answer::of(&list(&[replaced]))],
            "was changed to \"theirs\" meanwhile",
        ),
        (
            "trigger photos --wait",
            vec![Answer::with_trigger(&plain), listed(&plain), Answer::with_trigger_lines(&[gone])],
            "failed to find MigrationJob photos in namespace media",
        ),
        (
            "trigger photos --wait --timeout 1m",
            vec![Answer::with_trigger(&plain), listed(&plain)],
            "not ended within 1m",
        ),
    ] {
        let (error, _) = fails(line, answers).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_changes_until_nothing_goes_on() {
    let (scanning, complete) = (document(&running("Scanning")), document(&ended("Complete", "Complete", None)));
    let server = ApiServer::start(vec![
        Answer::of(&list(std::slice::from_ref(&scanning))),
        Answer::Lines(vec![modified(&scanning), modified(&complete)]),
    ]);
    let (result, out) = execute("status photos --watch -o csv", &server).await;
    assert_eq!(result.unwrap(), Exit::Done);
    let lines: Vec<_> = out.lines().filter(|line| line.contains("photos")).collect();
    assert_eq!(lines.len(), 2, "what has not changed is not shown again: {out}");
    assert!(lines[0].contains("Scanning") && lines[1].contains("Complete"), "{out}");
    // A trigger that is not answered yet keeps it going.
    let asked = document(&ended("Complete", "Complete", Some("earlier")));
    let mut asked = asked;
    asked["spec"]["trigger"] = json!({"manual": "now"});
    let server = ApiServer::start(vec![Answer::of(&list(&[asked]))]);
    let watched = tokio::time::timeout(Duration::from_mins(1), execute("status --watch", &server)).await;
    assert!(watched.is_err());
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_to_do() {
    let not_found = Answer::Status(
        404,
        json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
            "message": "migrationjobs.s3migration.dev \"photos\" not found",
            "details": {"name": "photos", "group": "s3migration.dev", "kind": "migrationjobs"},
        }),
    );
    let refusal = |code: u16, reason: &str, message: &str| {
        Answer::Status(
            code,
            json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
            }),
        )
    };
    let words = "User \"jane\" cannot patch resource";
    for (line, answer, expected, exit) in [
        ("status photos", not_found.clone(), "failed to find MigrationJob photos in namespace media", Exit::Usage),
        ("suspend photos", not_found, "failed to find MigrationJob photos in namespace media", Exit::Usage),
        (
            "status",
            Answer::Text(404, "404 page not found"),
            "failed to list MigrationJobs: the cluster does not know them",
            Exit::Failed,
        ),
        ("failures photos", Answer::Text(404, "404 page not found"), "`s3migrate crd | kubectl apply", Exit::Failed),
        (
            "trigger photos",
            refusal(403, "Forbidden", words),
            "the verb patch on migrationjobs.s3migration.dev in namespace media, which your role does not have: User",
            Exit::Failed,
        ),
        (
            "status -A",
            refusal(403, "Forbidden", words),
            "the verb list on migrationjobs.s3migration.dev in all namespaces",
            Exit::Failed,
        ),
        ("status --watch", refusal(403, "Forbidden", words), "the verb list on migrationjobs", Exit::Failed),
        (
            "status",
            refusal(401, "Unauthorized", "Unauthorized"),
            "refuses the credentials of the kubeconfig",
            Exit::Failed,
        ),
        (
            "trigger photos",
            refusal(422, "Invalid", "spec.trigger.manual: Too long"),
            "failed to patch MigrationJobs: spec.trigger",
            Exit::Failed,
        ),
        ("status", Answer::Lost, "failed to reach the cluster: ", Exit::Failed),
        (
            "status",
            refusal(503, "ServiceUnavailable", "apiserver is starting"),
            "failed to reach the cluster: apiserver",
            Exit::Failed,
        ),
        (
            "status photos",
            Answer::of(&document(&json!({"spec": {"compare": "Newer"}}))),
            "failed to read MigrationJob photos: ",
            Exit::Failed,
        ),
        ("redrive photos", Answer::of(&document(&json!({}))), "its status names none", Exit::Failed),
    ] {
        let (error, code) = fails(line, vec![answer]).await;
        assert!(error.contains(expected), "{line}: {error}");
        assert_eq!(code, exit, "{line}");
    }
}
