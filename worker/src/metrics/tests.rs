use std::time::Duration;

use migration_core::config::JobConfig;
use migration_core::error::{Blocked, ErrorClass, Service, ServiceError, ServiceFault};
use migration_core::finding::Action;
use migration_core::operation::Operation;
use migration_core::outcome::FailureClass;
use migration_engine::limits::Shares;
use migration_engine::telemetry::{ObjectResult, RequestStatus, RetryReason};
use migration_program::metrics::{Format, text_of};
use migration_testkit::metrics::{documented, promtool_check, rows};

use super::*;

/// The document that lists all metrics.
const DOCUMENT: &str = include_str!("../../../docs/METRICS.md");

const CONFIG: &str = "
version: 1
job: {namespace: media, name: photos, uid: u}
buckets: [{sourceBucket: a, destinationBucket: b}]
source: {region: a}
destination: {region: b}
transfer:
  {partSize: Auto, multipartThreshold: 16Mi, filesPerWorker: 4, partsPerFile: 4, memoryLimit: 64Mi, maxAttempts: 5}
queue: {region: a, url: 'http://q/1', deadLetterUrl: 'http://q/2'}
ledger: {region: a, table: t}
";

/// A worker of which every metric has a sample.
fn busy() -> Registry {
    let telemetry = Telemetry::default();
    let begin = |operation| telemetry.requests.begin(Service::Source, operation);
    let slow_down = ServiceError::new(ErrorClass::Throttled, "get object", "SlowDown", "later");
    assert!(begin(Operation::GetObject).answered::<()>(Err(slow_down)).is_err());
    drop(begin(Operation::HeadObject));
    telemetry.repeated.add((Service::Source, RequestStatus::Throttled), 1);
    telemetry.downloaded.add(Service::Source, 1 << 40);
    telemetry.objects.add(ObjectResult::Copied, 2);
    telemetry.failures.add(FailureClass::Archived, 1);
    telemetry.retries.add(RetryReason::Throttled, 1);
    telemetry.found.add(Action::Transfer, 3);
    telemetry.object_duration.observe(Duration::from_millis(40));
    telemetry.ended(&migration_engine::telemetry::ObjectTally::default(), 1_796_169_600_500);
    let blocked = Blocked {
        side: Service::Destination,
        resource: "b".into(),
        fault: ServiceFault::CredentialsExpired,
        message: "m".into(),
        since: 0,
    };
    let state = ProcessState {
        paused: vec![blocked],
        messages: 2,
        request_limits: vec![(Service::Destination, "b".into(), 12.5)],
        shares: Shares { bandwidth: Some(1_000.0), source: Some(2.5), destination: None },
    };
    let transfers = migration_engine::transfer::limits(&serde_yaml::from_str::<JobConfig>(CONFIG).unwrap());
    let sources = Sources {
        telemetry: Arc::new(telemetry),
        state: Arc::new(move || state.clone()),
        transfers: Some(transfers),
        spans: Arc::default(),
    };
    let job = JobIdentity { namespace: "media".into(), name: "photos".into(), uid: "u".into() };
    registry(&job, sources)
}

#[test]
fn the_document_lists_every_metric() {
    let text = text_of(&busy(), Format::OpenMetrics).unwrap();
    let found = rows(&text).unwrap();
    let listed = documented(DOCUMENT, "## Workers and jobsenders");
    assert!(found == listed, "docs/METRICS.md should have\n{}", found.join("\n"));
}

#[test]
fn samples_say_which_job_they_are_of() {
    let text = text_of(&busy(), Format::OpenMetrics).unwrap();
    let labels = r#"job_namespace="media",job_name="photos""#;
    for line in [
        format!(r#"s3migration_downloaded_bytes_total{{{labels},side="source"}} 1099511627776"#),
        format!("s3migration_completed_bytes_total{{{labels}}} 0"),
        format!(r#"s3migration_objects_total{{{labels},result="copied"}} 2"#),
        format!(r#"s3migration_requests_total{{{labels},side="source",operation="get_object",status="throttled"}} 1"#),
        format!(r#"s3migration_requests_total{{{labels},side="source",operation="get_object",status="transient"}} 0"#),
        format!(r#"s3migration_object_failures_total{{{labels},class="Refused"}} 0"#),
        format!(r#"s3migration_side_paused{{{labels},side="destination",fault="credentials_expired"}} 1"#),
        format!(r#"s3migration_concurrency_limit_requests{{{labels},side="destination",bucket="b"}} 12.5"#),
        format!(r#"s3migration_object_duration_seconds_bucket{{{labels},le="0.05"}} 1"#),
        format!(r#"s3migration_request_share_requests_per_second{{{labels},side="source"}} 2.5"#),
        format!("s3migration_last_end_timestamp_seconds{{{labels}}} 1796169600.5"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(samples.iter().all(|line| line.contains(labels)), "{text}");
    // The operator records those.
    assert!(!text.contains(r#"class="DeadLetter""#), "{text}");
    assert!(samples.len() < 150, "{} samples of two operations", samples.len());
}

#[test]
#[ignore = "needs promtool: make metrics-check"]
fn promtool_accepts_the_metrics() {
    promtool_check(&text_of(&busy(), Format::Prometheus).unwrap()).unwrap();
}
