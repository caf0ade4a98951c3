//! Each of the chart's alerts fires in a real Prometheus once its condition is caused. Its times are shorter, see
//! [`FASTER`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::preflight::checked;
use super::races::scale_operator;
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::logs::OPERATORS;
use crate::prometheus::{FASTER, Prometheus};
use crate::proxy::refusals::{Answer, Refusal};
use crate::receiver::SIGNING_KEY;
use crate::services::{self, Service};
use crate::tree::{Object, edge_case_keys, upload};
use crate::wait::until;

/// A job that is scheduled every minute and whose source does not answer.
const STUCK: &str = "stuck";
/// Objects of the run whose writes are refused. With the delay, they last for longer than the alerts about it take.
const OBJECTS: usize = 6_000;
/// Delay of each write, in milliseconds.
const WRITE_MS: u64 = 300;
/// Delay of each listing of a source that does not answer, in milliseconds: longer than the case takes.
const SILENT_MS: u64 = 3_600_000;
/// How long an alert may take, with [`FASTER`]: two minutes of a condition that has to hold for an hour, and what
/// programs, operator and Prometheus take to see it.
const LIMIT: Duration = Duration::from_mins(5);
const EVERY: Duration = Duration::from_secs(1);

/// The alerts that have fired in a Prometheus.
struct Watch {
    prometheus: Prometheus,
    namespace: String,
    fired: BTreeSet<String>,
}

/// Causes the condition of each alert, and waits until it fires. It must not have done so before.
pub async fn fire(case: &mut Case) -> anyhow::Result<()> {
    let long = edge_case_keys::longest("kept/", "k");
    case.prepare(&[Object::of_bytes("a", "a"), Object::of_bytes(long, "too long")]).await?;
    let prometheus = Prometheus::start(&case.cluster, &case.namespace).await?;
    let mut watch = Watch { prometheus, namespace: case.namespace.clone(), fired: BTreeSet::new() };
    let caused = causes(case, &mut watch).await;
    let proxies = services::proxies();
    proxies.refuse(&[]).await?;
    proxies.delay(&case.destination, "PutObject", 0).await?;
    proxies.delay(&stuck_bucket(case), "ListObjectsV2", 0).await?;
    caused?;
    let all: BTreeSet<String> = watch.prometheus.alert_names().await?.into_iter().collect();
    ensure!(watch.fired == all, "the chart has the alerts {all:?}, and those that fired are {:?}", watch.fired);
    case.note(format!("all {} alerts fired, their times divided by {FASTER}", all.len()));
    case.delete(STUCK, LIMIT).await?;
    upload::delete_bucket(&services::s3(Service::Source), &stuck_bucket(case)).await?;
    watch.prometheus.remove()
}

async fn causes(case: &mut Case, watch: &mut Watch) -> anyhow::Result<()> {
    stuck(case).await?;
    watch.caused(case, "S3MigrationRunFailed", Some(JOB), run_failed).await?;
    watch.caused(case, "S3MigrationErrorRate", Some(JOB), errors).await?;
    watch.caused(case, "S3MigrationDeadLetters", Some(JOB), dead_letter).await?;
    watch.caused(case, "S3MigrationThrottled", Some(JOB), throttled).await?;
    watch.caused(case, "S3MigrationCredentialsRefused", Some(JOB), keys_disabled).await?;
    // These take longer. Their causes are there.
    watch.fires(case, "S3MigrationDegraded", Some(JOB)).await?;
    watch.fires(case, "S3MigrationNoProgress", Some(STUCK)).await?;
    watch.fires(case, "S3MigrationMissedSchedule", Some(STUCK)).await?;
    watch.fires(case, "S3MigrationNotificationsUndelivered", Some(JOB)).await?;
    watch.caused(case, "S3MigrationOverBudget", Some(JOB), budget_used_up).await?;
    let no_operator =
        watch.caused(case, "S3MigrationNoOperator", None, async |case| scale_operator(&case.cluster, 0).await);
    let fired = no_operator.await;
    // What follows needs the operator, whatever the result.
    scale_operator(&case.cluster, OPERATORS).await?;
    fired
}

impl Watch {
    /// Causes a condition; the alert must fire because of it.
    async fn caused(
        &mut self,
        case: &mut Case,
        alert: &str,
        job: Option<&str>,
        act: impl AsyncFnOnce(&mut Case) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        ensure!(self.state(alert, job).await? != Some("firing".to_owned()), "{alert} fires before its cause");
        act(case).await.with_context(|| format!("failed to cause {alert}"))?;
        self.fires(case, alert, job).await
    }

    /// Waits until an alert fires for a job of the case, or for the operator.
    async fn fires(&mut self, case: &mut Case, alert: &str, job: Option<&str>) -> anyhow::Result<()> {
        let began = Instant::now();
        until(&format!("{alert} to fire"), LIMIT, EVERY, async || {
            Ok((self.state(alert, job).await?.as_deref() == Some("firing")).then_some(()))
        })
        .await?;
        self.fired.insert(alert.to_owned());
        case.note(format!("{alert} after {:.0} s", began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Returns the state of an alert; `None` while its condition does not hold.
    async fn state(&self, alert: &str, job: Option<&str>) -> anyhow::Result<Option<String>> {
        let alerts = self.prometheus.alerts().await?;
        let is_it = |labels: &std::collections::BTreeMap<String, String>| {
            let has = |name: &str, value: &str| labels.get(name).is_some_and(|found| found == value);
            let of_job = |job| has("job_name", job) && has("job_namespace", &self.namespace);
            has("alertname", alert) && job.is_none_or(of_job)
        };
        Ok(alerts.into_iter().find(|found| is_it(&found.labels)).map(|found| found.state))
    }
}

fn stuck_bucket(case: &Case) -> String {
    format!("stuck-{}", case.namespace)
}

/// Creates the job of [`STUCK`]. Its source answers until the buckets were tried, and never again: the first run that is
/// due then lists for ever, so that the next ones can't start.
async fn stuck(case: &mut Case) -> anyhow::Result<()> {
    let bucket = stuck_bucket(case);
    upload::seed(&services::s3(Service::Source), &bucket, &[Object::of_bytes("a", "a")]).await?;
    let user = format!("{}-stuck", case.namespace);
    let key = services::create_user(Service::Source, &user, &services::source_policy(&bucket))?;
    case.put_keys("stuck-keys", &key).await?;
    let mut job = case.job();
    job["metadata"]["name"] = json!(STUCK);
    let spec = &mut job["spec"];
    spec["source"]["credentials"]["secretRef"]["name"] = json!("stuck-keys");
    spec["buckets"][0]["sourceBucket"] = json!(bucket);
    spec["buckets"][0]["destinationPrefix"] = json!("stuck/");
    spec["trigger"] = json!({"schedule": "* * * * *", "startingDeadlineSeconds": 10});
    case.apply(&job).await?;
    let is_tried = async |job: Option<&Value>| {
        Ok(job.and_then(|job| condition(job, "Preflight")).is_some_and(|(status, ..)| status == "True").then_some(()))
    };
    case.cluster.watch_job(&case.namespace, STUCK, "Preflight True", RUN_LIMIT, is_tried).await?;
    services::proxies().delay(&bucket, "ListObjectsV2", SILENT_MS).await
}

/// Returns `spec.notify` with a receiver that does not exist.
pub async fn missing_receiver(case: &Case) -> anyhow::Result<Value> {
    case.put_secret("signing-key", &[("key", SIGNING_KEY)]).await?;
    let key = json!({"secretKeyRef": {"name": "signing-key", "key": "key"}});
    Ok(json!({"webhook": {"url": "https://receiver.invalid/", "signingKey": key}}))
}

/// A run ends with an object whose key can't be mapped. The receiver of notifications about it does not exist.
async fn run_failed(case: &mut Case) -> anyhow::Result<()> {
    let mut job = case.job();
    job["spec"]["notify"] = missing_receiver(case).await?;
    job["spec"]["buckets"][0]["destinationPrefix"] = json!("copy/");
    job["spec"]["transfer"] = json!({"filesPerWorker": 16});
    job["spec"]["scaling"]["maxReplicas"] = json!(1);
    case.apply(&job).await?;
    checked(case, "True", RUN_LIMIT).await?;
    case.run_ended("PartiallyFailed", None, RUN_LIMIT).await.map(drop)
}

/// The destination fails, for some of the writes of a run that lasts until the end of the case.
async fn errors(case: &mut Case) -> anyhow::Result<()> {
    let objects: Vec<Object> = (0..OBJECTS).map(|number| Object::of_bytes(format!("{number:04}"), "x")).collect();
    upload::put_all(&services::s3(Service::Source), &case.source, &objects).await?;
    services::proxies().delay(&case.destination, "PutObject", WRITE_MS).await?;
    refuse(case, Answer::InternalError, 4).await?;
    case.patch_spec(&json!({"trigger": {"manual": "again"}})).await
}

/// The destination asks for fewer requests.
async fn throttled(case: &mut Case) -> anyhow::Result<()> {
    refuse(case, Answer::SlowDown, 7).await
}

async fn refuse(case: &Case, answer: Answer, of_ten: u64) -> anyhow::Result<()> {
    let (bucket, operation) = (case.destination.clone(), "PutObject".to_owned());
    services::proxies().refuse(&[Refusal { bucket, operation, answer, of_ten }]).await
}

/// A message is in the dead-letter queue.
async fn dead_letter(case: &mut Case) -> anyhow::Result<()> {
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
    let url = job.pointer("/status/resources/deadLetterUrl").and_then(Value::as_str);
    let url = url.context("the status names no dead letters")?;
    services::sqs().send_message().queue_url(url).message_body("nonsense").send().await?;
    Ok(())
}

/// The run has cost more than it may.
async fn budget_used_up(case: &mut Case) -> anyhow::Result<()> {
    case.patch_spec(&json!({"limits": {"cost": "0.000001"}})).await
}

/// The destination's key is disabled, and stays so.
async fn keys_disabled(case: &mut Case) -> anyhow::Result<()> {
    services::proxies().refuse(&[]).await?;
    let key = case.destination_key.clone().context("the case has no key")?;
    services::set_key(Service::Destination, &key, false)
}
