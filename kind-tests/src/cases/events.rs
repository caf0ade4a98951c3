//! Events of the source: its bucket is configured, and an object is copied as soon as it is written.

mod messages;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::types::{
    BucketVersioningStatus, Event, EventBridgeConfiguration, FilterRule, FilterRuleName, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter, VersioningConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use crate::case::{Case, JOB, RUN_LIMIT};
use crate::services::{self, REGION, Service};
use crate::tree::{Object, upload};
use crate::wait;

/// How long the first event of an idle job may take until its object is at the destination.
const FIRST: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_mins(2);
/// Interval of looks at the services.
const EVERY: Duration = Duration::from_millis(250);
/// Id of the entry of somebody else.
const THEIRS: &str = "theirs";

/// The bucket's notifications are configured beside those of others, events are followed, and nothing of the job stays.
/// The source's own service sends the events to its own queue, as S3 does, with `s3:TestEvent` first.
pub async fn followed(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("in/before", "before"), Object::of_bytes("other/before", "before")]).await?;
    users(case).await?;
    foreign(case).await?;
    case.apply(&job(case)).await?;
    let job = watching(case).await?;
    ensure!(job["status"]["lastRun"]["objects"] == 2, "the initial scan moved {}", job["status"]["lastRun"]);
    entries(case, &["in/", "other/"]).await?;
    foreign_statement(&job).await?;
    asleep(case).await?;
    messages::dropped(case, &job).await?;
    asleep(case).await?;
    let first = copied(case, "in/first").await?;
    case.note(format!("first event of an idle job: copied {first:.1} s after it was written"));
    ensure!(first < FIRST.as_secs_f64(), "the first event took {first:.1} s");
    for number in 0..20 {
        put(case, &format!("in/more {number:02}+é")).await?;
    }
    put(case, "elsewhere/not-ours").await?;
    // One was reported by hand.
    counted(case, 22).await?;
    let status = case.cluster.jobs(&case.namespace).get(JOB).await?;
    let status = serde_json::to_value(status)?["status"].clone();
    ensure!(status["queue"]["deadLetters"] == 0, "there are dead letters: {}", status["queue"]);
    edited(case).await?;
    switched(case).await?;
    removed(case).await?;
    let (_, policy) = policy(&job).await?;
    let statements = policy["Statement"].as_array().map_or(0, Vec::len);
    ensure!(statements == 2 && policy["Statement"].to_string().contains(THEIRS), "the policy is {policy}");
    case.delete_job(LIMIT).await?;
    ensure!(own(case).await?.is_empty(), "entries are left: {:?}", own(case).await?);
    case.note("the entry of somebody else and EventBridge survived creation, three edits, off, on and deletion");
    Ok(())
}

/// The source's user may configure the bucket, and another one use the queue beside it.
pub async fn users(case: &mut Case) -> anyhow::Result<()> {
    let mut policy = services::source_policy(&case.source);
    let actions = ["s3:GetBucketNotification", "s3:PutBucketNotification", "s3:GetBucketVersioning"];
    allow(&mut policy, &actions, &case.source)?;
    let key = services::create_user(Service::Source, &format!("{}-events", case.namespace), &policy)?;
    case.put_keys("source-keys", &key).await?;
    case.source_key = Some(key);
    let name = format!("{}-queue", case.namespace);
    let key = services::create_user(Service::Source, &name, &services::control_policy())?;
    case.put_keys("queue-keys", &key).await
}

/// Adds actions on a bucket to a policy.
fn allow(policy: &mut Value, actions: &[&str], bucket: &str) -> anyhow::Result<()> {
    let statement = json!({"Effect": "Allow", "Action": actions, "Resource": format!("arn:aws:s3:::{bucket}")});
    policy["Statement"].as_array_mut().context("the policy has no statements")?.push(statement);
    Ok(())
}

/// Returns a job that follows the events of two prefixes, `in/` and `other/`.
pub fn job(case: &Case) -> Value {
    let mut job = case.job();
    let spec = &mut job["spec"];
    spec["queue"] = json!({
        "region": REGION, "endpoint": Service::Source.endpoint_of_pods(),
        "credentials": {"secretRef": {"name": "queue-keys"}},
    });
    spec["buckets"] = json!([
        {"sourceBucket": case.source, "sourcePrefix": "in/", "destinationBucket": case.destination},
        {"sourceBucket": case.source, "sourcePrefix": "other/", "destinationBucket": case.destination},
    ]);
    spec["trigger"] = json!({"events": {"enabled": true}});
    job
}

fn sqs() -> aws_sdk_sqs::Client {
    services::sqs_of(Service::Source)
}

/// Puts a configuration of somebody else into the bucket: `EventBridge`, and a queue for other keys.
pub async fn foreign(case: &Case) -> anyhow::Result<()> {
    let url = sqs().create_queue().queue_name(format!("theirs-{}", case.namespace)).send().await?;
    let url = url.queue_url.context("the queue has no URL")?;
    let arn = sqs().get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::QueueArn).send().await?;
    let arn = arn.attributes.and_then(|mut all| all.remove(&QueueAttributeName::QueueArn)).context("it has no ARN")?;
    // S3 takes no entry for a queue that it may not send to.
    let allowed = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
    }]});
    let set = sqs().set_queue_attributes().queue_url(&url).attributes(QueueAttributeName::Policy, allowed.to_string());
    set.send().await.context("failed to set a policy")?;
    let rule = FilterRule::builder().name(FilterRuleName::Prefix).value("theirs/").build();
    let filter = S3KeyFilter::builder().filter_rules(rule).build();
    let filter = NotificationConfigurationFilter::builder().key(filter).build();
    let entry = QueueConfiguration::builder().id(THEIRS).queue_arn(arn).events(Event::from("s3:ObjectRemoved:*"));
    let config = NotificationConfiguration::builder()
        .queue_configurations(entry.filter(filter).build()?)
        .event_bridge_configuration(EventBridgeConfiguration::builder().build())
        .build();
    let put = services::s3(Service::Source).put_bucket_notification_configuration().bucket(&case.source);
    put.notification_configuration(config).send().await.map(drop).context("failed to put notifications")
}

/// Returns the prefixes of the job's entries. Fails unless what somebody else put there is as it was.
pub async fn own(case: &Case) -> anyhow::Result<Vec<String>> {
    let get = services::s3(Service::Source).get_bucket_notification_configuration().bucket(&case.source);
    let config = get.send().await.context("failed to get notifications")?;
    ensure!(config.event_bridge_configuration().is_some(), "EventBridge is off");
    let prefix = |entry: &QueueConfiguration| {
        let rules = entry.filter().and_then(|filter| filter.key()).map(|key| key.filter_rules().to_vec());
        rules.unwrap_or_default().first().and_then(|rule| rule.value().map(str::to_owned)).unwrap_or_default()
    };
    let (theirs, own): (Vec<_>, Vec<_>) =
        config.queue_configurations().iter().partition(|entry| entry.id() == Some(THEIRS));
    let found: Vec<_> = theirs.iter().map(|entry| (prefix(entry), entry.events().to_vec())).collect();
    let expected = vec![("theirs/".to_owned(), vec![Event::from("s3:ObjectRemoved:*")])];
    ensure!(found == expected, "the entry of somebody else is {theirs:?}");
    ensure!(own.iter().all(|entry| entry.id().unwrap_or_default().starts_with("s3-migration-")), "{own:?}");
    Ok(own.into_iter().map(prefix).collect())
}

/// Waits until no worker is left that could receive an event.
async fn asleep(case: &Case) -> anyhow::Result<()> {
    let name = case.cluster.worker_deployment(&case.namespace).await?.metadata.name.unwrap_or_default();
    let empty = |d: &k8s_openapi::api::apps::v1::Deployment| {
        d.spec.replicas == Some(0) && d.status.as_ref().is_none_or(|s| s.replicas.unwrap_or(0) == 0)
    };
    case.cluster.watch_deployment(&case.namespace, &name, "no workers to be left", LIMIT, empty).await.map(drop)
}

/// Waits until the job has nothing left to do but to watch.
pub async fn watching(case: &Case) -> anyhow::Result<Value> {
    case.watch("phase Watching", RUN_LIMIT, async |job: Option<&Value>| {
        let Some(job) = job else { return Ok(None) };
        let is_idle = job.pointer("/status/workers/desired") == Some(&json!(0));
        let is_watching = job.pointer("/status/phase") == Some(&json!("Watching"));
        let is_scanned = job.pointer("/status/eventTrigger/scanStarted") == Some(&json!(true));
        Ok((is_watching && is_idle && is_scanned).then(|| job.clone()))
    })
    .await
}

/// Returns URL and policy of the job's queue, and checks that it lets S3 send, and only from the bucket.
async fn policy(job: &Value) -> anyhow::Result<(String, Value)> {
    let url = job.pointer("/status/resources/queueUrl").and_then(Value::as_str).context("there is no queue")?;
    let name = url.rsplit('/').next().unwrap_or(url);
    let url = sqs().get_queue_url().queue_name(name).send().await?.queue_url.context("there is no queue")?;
    let get = sqs().get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::Policy).send().await?;
    let text =
        get.attributes.and_then(|mut all| all.remove(&QueueAttributeName::Policy)).context("it has no policy")?;
    let policy: Value = serde_json::from_str(&text)?;
    let statements = policy["Statement"].as_array().context("the policy has no statements")?;
    let of_s3 = |statement: &&Value| statement["Principal"]["Service"] == "s3.amazonaws.com";
    let own = statements.iter().find(of_s3).with_context(|| format!("the policy is {policy}"))?;
    let buckets = own["Condition"]["ArnEquals"]["aws:SourceArn"].to_string();
    ensure!(buckets.contains("arn:aws:s3:::from-"), "the policy is {policy}");
    Ok((url, policy))
}

/// Adds a statement of somebody else to the policy of the job's queue.
async fn foreign_statement(job: &Value) -> anyhow::Result<()> {
    let (url, mut policy) = policy(job).await?;
    let theirs =
        json!({"Sid": THEIRS, "Effect": "Deny", "Principal": "*", "Action": "sqs:PurgeQueue", "Resource": "*"});
    policy["Statement"].as_array_mut().context("the policy has no statements")?.push(theirs);
    let set = sqs().set_queue_attributes().queue_url(url).attributes(QueueAttributeName::Policy, policy.to_string());
    set.send().await.map(drop).context("failed to set the policy")
}

async fn put(case: &Case, key: &str) -> anyhow::Result<()> {
    upload::put_all(&services::s3(Service::Source), &case.source, &[Object::of_bytes(key, key.to_owned())]).await
}

/// Writes an object and returns the seconds until it is at the destination.
async fn copied(case: &Case, key: &str) -> anyhow::Result<f64> {
    put(case, key).await?;
    let began = Instant::now();
    let client = services::s3(Service::Destination);
    wait::until(&format!("{key} at the destination"), LIMIT, EVERY, async || {
        Ok(client.head_object().bucket(&case.destination).key(key).send().await.is_ok().then_some(()))
    })
    .await?;
    Ok(began.elapsed().as_secs_f64())
}

/// An object that is deleted at the source is deleted at the destination, where buckets keep versions.
async fn removed(case: &mut Case) -> anyhow::Result<()> {
    let mut policy = services::mirror_policy(&case.destination);
    allow(&mut policy, &["s3:GetBucketVersioning"], &case.destination)?;
    let key = services::create_user(Service::Destination, &format!("{}-removals", case.namespace), &policy)?;
    case.put_keys("destination-keys", &key).await?;
    case.destination_key = Some(key);
    for (side, bucket) in [(Service::Source, &case.source), (Service::Destination, &case.destination)] {
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let set = services::s3(side).put_bucket_versioning().bucket(bucket).versioning_configuration(enabled);
        set.send().await.context("failed to enable versioning")?;
    }
    case.patch_spec(&json!({"mirror": {"deleteEvents": true, "maxDeletes": 5}})).await?;
    let of_removals = Event::from("s3:ObjectRemoved:*");
    wait::until("entries for removals", LIMIT, EVERY, async || {
        let get = services::s3(Service::Source).get_bucket_notification_configuration().bucket(&case.source);
        let config = get.send().await.context("failed to get notifications")?;
        let is_ours = |entry: &&QueueConfiguration| entry.id() != Some(THEIRS);
        let mut ours = config.queue_configurations().iter().filter(is_ours);
        Ok(ours.all(|entry| entry.events().contains(&of_removals)).then_some(()))
    })
    .await?;
    entries(case, &["new/"]).await?;
    copied(case, "new/short-lived").await?;
    let gone = services::s3(Service::Source).delete_object().bucket(&case.source).key("new/short-lived").send().await;
    gone.context("failed to delete an object")?;
    let (began, client) = (Instant::now(), services::s3(Service::Destination));
    wait::until("the copy of a removed object to be gone", LIMIT, EVERY, async || {
        let head = client.head_object().bucket(&case.destination).key("new/short-lived").send().await;
        Ok(head.is_err_and(|error| error.as_service_error().is_some_and(HeadObjectError::is_not_found)).then_some(()))
    })
    .await?;
    case.note(format!("removal followed {:.1} s after the object was deleted", began.elapsed().as_secs_f64()));
    Ok(())
}

/// Waits until so many objects were copied because of events.
async fn counted(case: &Case, expected: u64) -> anyhow::Result<()> {
    let what = format!("{expected} objects in status.events");
    case.watch(&what, LIMIT, async |job: Option<&Value>| {
        let done = job.and_then(|job| job.pointer("/status/events/objects/done")).and_then(Value::as_u64);
        ensure!(done <= Some(expected), "{done:?} objects were counted");
        Ok((done == Some(expected)).then_some(()))
    })
    .await
}

/// Waits until the job's entries have these prefixes.
async fn entries(case: &Case, expected: &[&str]) -> anyhow::Result<()> {
    wait::until(&format!("entries for {expected:?}"), LIMIT, EVERY, async || {
        Ok((own(case).await? == expected).then_some(()))
    })
    .await
}

/// Another prefix is followed, and the one before no longer.
async fn edited(case: &mut Case) -> anyhow::Result<()> {
    let pair = json!([{"sourceBucket": case.source, "sourcePrefix": "new/", "destinationBucket": case.destination}]);
    case.patch_spec(&json!({"buckets": pair})).await?;
    entries(case, &["new/"]).await?;
    copied(case, "new/first").await.map(drop)
}

/// Without events there are no entries; with events again, there are, and another scan finds what was written meanwhile.
async fn switched(case: &mut Case) -> anyhow::Result<()> {
    case.patch_spec(&json!({"trigger": {"events": {"enabled": false}}})).await?;
    entries(case, &[]).await?;
    case.watch("no eventTrigger in the status", LIMIT, async |job: Option<&Value>| {
        Ok(job.filter(|job| job.pointer("/status/eventTrigger").is_none()).map(drop))
    })
    .await?;
    put(case, "new/missed").await?;
    case.patch_spec(&json!({"trigger": {"events": {"enabled": true}}})).await?;
    entries(case, &["new/"]).await?;
    let client = services::s3(Service::Destination);
    wait::until("what was missed", LIMIT, EVERY, async || {
        Ok(client.head_object().bucket(&case.destination).key("new/missed").send().await.is_ok().then_some(()))
    })
    .await?;
    case.note("switched off and on again, a scan finds what was written in between");
    Ok(())
}
