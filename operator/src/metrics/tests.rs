use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use migration_api::Reason;
use migration_api::status::{MigrationJobStatus, QueueDepth, Receiver};
use migration_core::error::{Service, ServiceFault};
use migration_testkit::metrics::{documented, promtool_check, rows};
use serde_json::json;

use super::*;
use crate::notify::decide::DeliveryResult;

/// The document that lists all metrics.
const DOCUMENT: &str = include_str!("../../../docs/METRICS.md");

/// Metrics of a job of which each has a sample.
fn busy() -> Metrics {
    let metrics = Metrics::default();
    metrics.set_leader(true);
    metrics.set("media", "photos", Some((7, 2)));
    let condition = |kind: &str, status: &str| -> Condition {
        let time = "2026-12-02T00:00:00Z";
        serde_json::from_value(json!({
            "type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": time,
        }))
        .unwrap()
    };
    let status: MigrationJobStatus = serde_json::from_value(json!({
        "phase": "Transferring",
        "workers": {"desired": 3, "ready": 2},
        "progress": {
            "objects": {"total": 10, "done": 4, "skipped": 1, "failed": 2},
            "bytes": {"total": 1_000, "done": 400, "skipped": 100, "failed": 200},
            "rateBytesPerSecond": 50, "etaSeconds": 8,
        },
        "limits": {
            "bandwidth": {"perSecond": 1_048_576, "heldPerSecond": 1_000_000, "holders": 3, "waiting": 1},
            "requests": {"perSecond": 50},
        },
        "cost": {
            "run": "r", "currency": "EUR", "total": "12.50", "requests": "0.50", "transfer": "12.00",
            "coordination": "0.00", "limit": "500.00", "asOf": "2026-12-02T00:00:00Z",
        },
        "notifications": {"pending": [{
            "id": "e", "event": "Complete", "time": "2026-12-02T00:00:00Z", "message": "m", "deliveries": [],
        }]},
        "events": {"objects": {"done": 1, "failed": 0, "skipped": 2}, "bytes": 5},
    }))
    .unwrap();
    let status =
        MigrationJobStatus { conditions: vec![condition("Ready", "True"), condition("Degraded", "False")], ..status };
    let refused = Reason::Service(Service::Destination, ServiceFault::CredentialsExpired);
    let reading = JobReading {
        status: &status,
        degraded: &[refused, Reason::Pod("ImagePullBackOff".into()), Reason::Pod("OOMKilled".into())],
        queue: Some(QueueDepth { visible: 4, in_flight: 3, dead_letters: 1 }),
        run: RunReading::Live(LiveRun { since: 1_796_169_600_000, last_end: None, extraneous: [0; 3] }),
        schedule: Some(ScheduleReading { next: 1_796_256_000_000, last: None, deadline: 300_000 }),
        now: 1_796_169_660_500,
    };
    metrics.read("media", "photos", &reading);
    metrics.notified("media", "photos", &[(Receiver::Webhook, DeliveryResult::Failed); 2]);
    metrics
}

#[test]
fn the_document_lists_every_metric() {
    let found = rows(&busy().text().unwrap()).unwrap();
    let listed = documented(DOCUMENT, "## Operator");
    assert!(found == listed, "docs/METRICS.md should have\n{}", found.join("\n"));
}

#[test]
fn each_job_has_its_numbers_and_the_state_of_its_conditions() {
    let text = busy().text().unwrap();
    let labels = r#"job_namespace="media",job_name="photos""#;
    for line in [
        "s3migration_leader 1".to_owned(),
        format!("s3migration_queue_backlog_messages{{{labels}}} 7"),
        format!("s3migration_workers_wanted{{{labels}}} 2"),
        format!(r#"s3migration_queue_messages{{{labels},state="dead"}} 1"#),
        format!(r#"s3migration_job_condition{{{labels},condition="Ready",status="true"}} 1"#),
        format!(r#"s3migration_job_condition{{{labels},condition="Ready",status="false"}} 0"#),
        format!(r#"s3migration_job_condition{{{labels},condition="Degraded",status="false"}} 1"#),
        format!(r#"s3migration_job_degraded{{{labels},reason="DestinationCredentialsExpired"}} 1"#),
        format!(r#"s3migration_job_degraded{{{labels},reason="Pod"}} 1"#),
        format!(r#"s3migration_job_phase{{{labels},phase="Transferring"}} 1"#),
        format!(r#"s3migration_run_bytes{{{labels},result="done"}} 400"#),
        format!("s3migration_bandwidth_limit_bytes_per_second{{{labels}}} 1048576"),
        format!("s3migration_request_limit_requests_per_second{{{labels}}} 50"),
        format!(r#"s3migration_run_cost{{{labels},currency="EUR"}} 12.5"#),
        format!(r#"s3migration_run_cost_limit{{{labels},currency="EUR"}} 500.0"#),
        format!(r#"s3migration_limit_holders{{{labels},limit="bandwidth"}} 3"#),
        format!("s3migration_run_last_progress_timestamp_seconds{{{labels}}} 1796169660.5"),
        format!("s3migration_undone_since_timestamp_seconds{{{labels}}} 1796169600.0"),
        format!("s3migration_missed_schedules_total{{{labels}}} 0"),
        format!("s3migration_notifications_pending{{{labels}}} 1"),
        format!(r#"s3migration_notifications_total{{{labels},receiver="webhook",result="failed"}} 2"#),
        format!(r#"s3migration_notifications_total{{{labels},receiver="sns",result="given_up"}} 0"#),
        "# EOF".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert_eq!(text.matches("reason=\"Pod\"").count(), 1, "{text}");
}

#[test]
fn what_is_not_known_is_absent() {
    let metrics = busy();
    metrics.set("media", "photos", None);
    let text = metrics.text().unwrap();
    assert!(!text.contains("workers_wanted{") && text.contains("workers_ready{"), "{text}");
    metrics.set("media", "films", Some((0, 0)));
    metrics.remove("media", "photos");
    let text = metrics.text().unwrap();
    assert!(!text.contains("photos") && text.contains("films"), "{text}");
    metrics.set_leader(false);
    let text = metrics.text().unwrap();
    assert!(!text.contains("films") && text.lines().any(|line| line == "s3migration_leader 0"), "{text}");
}

#[test]
#[ignore = "needs promtool: make metrics-check"]
fn promtool_accepts_the_metrics() {
    promtool_check(&metrics::text_of(&busy().registry, metrics::Format::Prometheus).unwrap()).unwrap();
}
