//! Each of the chart's alerts fires in a real Prometheus once its condition is caused, and not before; most end when it is
//! gone. Its times are shorter, see [`FASTER`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::preflight::checked;
use super::races::scale_operator;
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::logs::OPERATORS;
use crate::prometheus::{Alert, FASTER, Prometheus};
use crate::proxy::delays::HELD_MS;
use crate::proxy::refusals::{Answer, Refusal};
use crate::receiver::SIGNING_KEY;
use crate::services::{self, Service};
use crate::tree::{Object, edge_case_keys, upload};
use crate::wait::until;

/// A job that is scheduled every minute and whose source does not answer later.
const STUCK: &str = "stuck";
/// Objects of the run whose writes are refused. With the delay, they last for longer than the alerts about it take.
const OBJECTS: usize = 6_000;
/// Delay of each write, in milliseconds.
const WRITE_MS: u64 = 300;
/// How long an alert may take, with [`FASTER`]: two minutes of a condition that has to hold for an hour, and what
/// programs, operator and Prometheus take to see it.
const LIMIT: Duration = Duration::from_mins(5);
const EVERY: Duration = Duration::from_secs(1);

/// An alert, and the job that it is about; none if it is about the operator.
type Subject = (&'static str, Option<&'static str>);

const NO_OPERATOR: Subject = ("S3MigrationNoOperator", None);
const DEAD_LETTERS: Subject = ("S3MigrationDeadLetters", Some(JOB));
const NO_PROGRESS: Subject = ("S3MigrationNoProgress", Some(STUCK));
const CREDENTIALS_REFUSED: Subject = ("S3MigrationCredentialsRefused", Some(JOB));
const ERROR_RATE: Subject = ("S3MigrationErrorRate", Some(JOB));
const THROTTLED: Subject = ("S3MigrationThrottled", Some(JOB));
const MISSED_SCHEDULE: Subject = ("S3MigrationMissedSchedule", Some(STUCK));
const RUN_FAILED: Subject = ("S3MigrationRunFailed", Some(JOB));
const OVER_BUDGET: Subject = ("S3MigrationOverBudget", Some(JOB));
const DEGRADED: Subject = ("S3MigrationDegraded", Some(JOB));
const UNDELIVERED: Subject = ("S3MigrationNotificationsUndelivered", Some(JOB));

/// Alerts whose end would take longer than the rest of the case: the operator looks at dead letters of an idle job every
/// ten minutes, and a schedule counts as missed for two.
const STAY: [Subject; 2] = [DEAD_LETTERS, MISSED_SCHEDULE];

/// What the alerts of a Prometheus have done.
struct Watch {
    prometheus: Prometheus,
    namespace: String,
    /// Those whose cause is there. None of them fired before.
    caused: BTreeSet<Subject>,
    fired: BTreeSet<Subject>,
    ended: BTreeSet<Subject>,
}

/// Causes the condition of each alert, and waits until it fires. It must not have done so before. Ends the conditions, and
/// waits until the alerts end.
pub async fn fire(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    case.owns_bucket(Service::Source, stuck_bucket(case));
    let prometheus = Prometheus::start(&case.cluster, &case.namespace).await?;
    let mut watch = Watch::new(prometheus, case);
    let caused = causes(case, &mut watch).await;
    caused.and(as_before(case).await)?;
    let all: BTreeSet<String> = watch.prometheus.alert_names().await?.into_iter().collect();
    let names = |set: &BTreeSet<Subject>| set.iter().map(|(alert, _)| (*alert).to_owned()).collect::<BTreeSet<_>>();
    ensure!(names(&watch.fired) == all, "the chart has the alerts {all:?}, and those that fired are {:?}", watch.fired);
    let left: BTreeSet<Subject> = watch.fired.difference(&watch.ended).copied().collect();
    ensure!(left == BTreeSet::from(STAY), "no end was seen of {left:?}, and may be missing of {STAY:?}");
    case.note(format!(
        "all {} alerts fired, none before its cause, and {} ended after it; their times divided by {FASTER}",
        all.len(),
        watch.ended.len()
    ));
    watch.prometheus.remove()
}

/// Takes away all causes that other cases would meet, whatever became of the case. Jobs and buckets are removed with it.
async fn as_before(case: &Case) -> anyhow::Result<()> {
    let proxies = services::proxies();
    let refusals = proxies.refuse(&[]).await;
    let writes = proxies.delay(&case.destination, "PutObject", 0).await;
    let listings = proxies.delay(&stuck_bucket(case), "ListObjectsV2", 0).await;
    refusals.and(writes).and(listings).and(scale_operator(&case.cluster, OPERATORS).await)
}

async fn causes(case: &mut Case, watch: &mut Watch) -> anyhow::Result<()> {
    healthy(case, watch).await?;
    watch.cause(case, &[NO_PROGRESS, MISSED_SCHEDULE], silent).await?;
    watch.cause(case, &[RUN_FAILED, UNDELIVERED], run_failed).await?;
    watch.fires(case, RUN_FAILED).await?;
    watch.cause(case, &[ERROR_RATE], errors).await?;
    watch.fires(case, ERROR_RATE).await?;
    // The next run is live.
    watch.ends(RUN_FAILED).await?;
    watch.cause(case, &[DEAD_LETTERS], async |case: &mut Case| dead_letter(case, Service::Control).await).await?;
    watch.fires(case, DEAD_LETTERS).await?;
    watch.cause(case, &[THROTTLED], throttled).await?;
    watch.fires(case, THROTTLED).await?;
    watch.cause(case, &[CREDENTIALS_REFUSED, DEGRADED], keys_disabled).await?;
    // Some take longer. Their causes are there.
    for alert in [CREDENTIALS_REFUSED, DEGRADED, NO_PROGRESS, MISSED_SCHEDULE, UNDELIVERED] {
        watch.fires(case, alert).await?;
    }
    watch.ends(THROTTLED).await?;
    watch.cause(case, &[OVER_BUDGET], budget_used_up).await?;
    watch.fires(case, OVER_BUDGET).await?;
    recovered(case).await?;
    for alert in [OVER_BUDGET, CREDENTIALS_REFUSED, ERROR_RATE, UNDELIVERED, DEGRADED, NO_PROGRESS] {
        watch.ends(alert).await?;
    }
    watch.cause(case, &[NO_OPERATOR], async |case: &mut Case| scale_operator(&case.cluster, 0).await).await?;
    watch.fires(case, NO_OPERATOR).await?;
    scale_operator(&case.cluster, OPERATORS).await?;
    watch.ends(NO_OPERATOR).await
}

impl Watch {
    fn new(prometheus: Prometheus, case: &Case) -> Self {
        let none = BTreeSet::new;
        Self { prometheus, namespace: case.namespace.clone(), caused: none(), fired: none(), ended: none() }
    }

    /// Waits until Prometheus has seen a condition of a job.
    async fn sees(&self, job: &str, condition: &str) -> anyhow::Result<()> {
        let expression = format!(
            "s3migration_job_condition{{job_namespace=\"{}\", job_name=\"{job}\", condition=\"{condition}\", \
             status=\"true\"}} == 1",
            self.namespace
        );
        self.prometheus.until_true(&format!("{condition} of {job} in Prometheus"), &expression, LIMIT).await
    }

    /// Waits until no condition of an alert holds.
    async fn is_quiet(&self) -> anyhow::Result<()> {
        let mut active = Vec::new();
        let quiet = until("no condition of an alert to hold", LIMIT, EVERY, async || {
            active = self.prometheus.alerts().await?;
            active.retain(|alert| self.is_ours(&alert.labels));
            Ok(active.is_empty().then_some(()))
        });
        quiet.await.with_context(|| format!("these hold while all is well: {active:?}"))
    }

    /// Returns true if an alert is about a job of the case, or about the operator.
    fn is_ours(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get("job_namespace").is_none_or(|namespace| *namespace == self.namespace)
    }

    /// Causes the conditions of alerts, none of which may have fired before.
    async fn cause(
        &mut self,
        case: &mut Case,
        alerts: &[Subject],
        act: impl AsyncFnOnce(&mut Case) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for alert in alerts {
            ensure!(!self.is_early(*alert).await?, "{alert:?} fired before its cause");
        }
        act(case).await.with_context(|| format!("failed to cause {alerts:?}"))?;
        self.caused.extend(alerts);
        Ok(())
    }

    /// Returns true if an alert about a job has ever fired, which Prometheus knows since before there was one, or if that
    /// about the operator fires now: while Prometheus finds the operators, it may fire.
    async fn is_early(&self, alert: Subject) -> anyhow::Result<bool> {
        match alert {
            (name, Some(job)) => Ok(!self.prometheus.query(&ever_fired(name, job, &self.namespace)).await?.is_empty()),
            (_, None) => Ok(state(&self.prometheus.alerts().await?, alert, &self.namespace) == Some("firing")),
        }
    }

    /// Waits until an alert fires whose cause is there.
    async fn fires(&mut self, case: &mut Case, alert: Subject) -> anyhow::Result<()> {
        ensure!(self.caused.contains(&alert), "{alert:?} has no cause yet");
        let began = Instant::now();
        until(&format!("{alert:?} to fire"), LIMIT, EVERY, async || {
            Ok((state(&self.prometheus.alerts().await?, alert, &self.namespace) == Some("firing")).then_some(()))
        })
        .await?;
        self.fired.insert(alert);
        case.note(format!("{} after {:.0} s", alert.0, began.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Waits until the condition of an alert that fired does not hold any more.
    async fn ends(&mut self, alert: Subject) -> anyhow::Result<()> {
        ensure!(self.fired.contains(&alert), "{alert:?} has not fired");
        until(&format!("{alert:?} to end"), LIMIT, EVERY, async || {
            Ok(state(&self.prometheus.alerts().await?, alert, &self.namespace).is_none().then_some(()))
        })
        .await?;
        self.ended.insert(alert);
        Ok(())
    }
}

/// Returns the state of an alert; `None` while its condition does not hold.
fn state<'a>(alerts: &'a [Alert], (name, job): Subject, namespace: &str) -> Option<&'a str> {
    let is_it = |alert: &&Alert| {
        let has = |name: &str, value: &str| alert.labels.get(name).is_some_and(|found| found == value);
        has("alertname", name) && job.is_none_or(|job| has("job_name", job) && has("job_namespace", namespace))
    };
    let mut states: Vec<&str> = alerts.iter().filter(is_it).map(|alert| alert.state.as_str()).collect();
    // One for each reason: what fires counts.
    states.sort_unstable();
    states.first().copied()
}

/// Returns an expression that has a series if an alert about a job has fired since the beginning of the case, which takes
/// less than a day.
fn ever_fired(alert: &str, job: &str, namespace: &str) -> String {
    format!(
        "max_over_time(ALERTS{{alertname=\"{alert}\", alertstate=\"firing\", job_name=\"{job}\", \
         job_namespace=\"{namespace}\"}}[1d])"
    )
}

fn stuck_bucket(case: &Case) -> String {
    format!("stuck-{}", case.namespace)
}

/// Creates both jobs, and waits until Prometheus sees that all is well: a run is complete, and the buckets of the other job
/// were tried.
async fn healthy(case: &mut Case, watch: &mut Watch) -> anyhow::Result<()> {
    scheduled(case).await?;
    let mut job = case.job();
    job["spec"]["buckets"][0]["destinationPrefix"] = json!("copy/");
    job["spec"]["transfer"] = json!({"filesPerWorker": 16});
    job["spec"]["scaling"]["maxReplicas"] = json!(1);
    case.apply(&job).await?;
    checked(case, "True", RUN_LIMIT).await?;
    case.run_ended("Complete", None, RUN_LIMIT).await?;
    watch.sees(JOB, "Complete").await?;
    watch.sees(STUCK, "Preflight").await?;
    watch.is_quiet().await
}

/// Creates the job of [`STUCK`], whose source answers so far, and waits until its buckets were tried.
async fn scheduled(case: &mut Case) -> anyhow::Result<()> {
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
    case.cluster.watch_job(&case.namespace, STUCK, "Preflight True", RUN_LIMIT, is_tried).await
}

/// The source of [`STUCK`] does not answer any more: the next run lists for ever, so that those after it can't start.
async fn silent(case: &mut Case) -> anyhow::Result<()> {
    services::proxies().delay(&stuck_bucket(case), "ListObjectsV2", HELD_MS).await
}

/// Returns `spec.notify` with a receiver that does not exist.
pub async fn missing_receiver(case: &Case) -> anyhow::Result<Value> {
    case.put_secret("signing-key", &[("key", SIGNING_KEY)]).await?;
    let key = json!({"secretKeyRef": {"name": "signing-key", "key": "key"}});
    Ok(json!({"webhook": {"url": "https://receiver.invalid/", "signingKey": key}}))
}

/// A run ends with an object whose key can't be mapped. The receiver of notifications about it does not exist.
async fn run_failed(case: &mut Case) -> anyhow::Result<()> {
    let long = Object::of_bytes(edge_case_keys::longest("kept/", "k"), "too long");
    upload::put_all(&services::s3(Service::Source), &case.source, &[long]).await?;
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
    let before = job.pointer("/status/lastRun/id").and_then(Value::as_str).context("no run has ended")?;
    case.patch_spec(&json!({"notify": missing_receiver(case).await?, "trigger": {"manual": "fails"}})).await?;
    case.run_ended("PartiallyFailed", Some(before), RUN_LIMIT).await.map(drop)
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

/// A message is in the dead-letter queue of the case's job, which is a queue of this service.
pub async fn dead_letter(case: &Case, side: Service) -> anyhow::Result<()> {
    let job = serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?;
    let url = job.pointer("/status/resources/deadLetterUrl").and_then(Value::as_str);
    let url = url.context("the status names no dead letters")?;
    services::sqs_of(side).send_message().queue_url(url).message_body("nonsense").send().await?;
    Ok(())
}

/// The run has cost more than it may.
async fn budget_used_up(case: &mut Case) -> anyhow::Result<()> {
    case.patch_spec(&json!({"limits": {"cost": "0.000001"}})).await
}

/// The destination's key is disabled.
async fn keys_disabled(case: &mut Case) -> anyhow::Result<()> {
    services::proxies().refuse(&[]).await?;
    let key = case.destination_key.clone().context("the case has no key")?;
    services::set_key(Service::Destination, &key, false)
}

/// Takes away what holds up the jobs: the run may cost more, the key is valid, nobody is to be told, and the source answers.
async fn recovered(case: &mut Case) -> anyhow::Result<()> {
    let key = case.destination_key.clone().context("the case has no key")?;
    services::set_key(Service::Destination, &key, true)?;
    services::proxies().delay(&stuck_bucket(case), "ListObjectsV2", 0).await?;
    case.patch_spec(&json!({"limits": {"cost": 1_000}, "notify": null})).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_found_by_its_job_and_what_fires_counts() {
        let alert = |name: &str, job: Option<&str>, state: &str| {
            let labels = [("alertname", Some(name)), ("job_name", job), ("job_namespace", job.map(|_| "n"))];
            let labels = labels.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
            Alert { labels: labels.collect(), state: state.to_owned() }
        };
        let alerts = [
            alert(DEGRADED.0, Some(STUCK), "firing"),
            alert(CREDENTIALS_REFUSED.0, Some(JOB), "pending"),
            alert(CREDENTIALS_REFUSED.0, Some(JOB), "firing"),
            alert(NO_OPERATOR.0, None, "pending"),
        ];
        assert_eq!(state(&alerts, DEGRADED, "n"), None, "that is another job");
        assert_eq!(state(&alerts, CREDENTIALS_REFUSED, "n"), Some("firing"));
        assert_eq!(state(&alerts, CREDENTIALS_REFUSED, "other"), None);
        assert_eq!(state(&alerts, NO_OPERATOR, "n"), Some("pending"));
    }

    #[test]
    fn an_alert_that_ever_fired_is_asked_for_by_its_labels() {
        let expected = "max_over_time(ALERTS{alertname=\"S3MigrationDegraded\", alertstate=\"firing\", \
                        job_name=\"job\", job_namespace=\"n\"}[1d])";
        assert_eq!(ever_fired(DEGRADED.0, JOB, "n"), expected);
    }
}
