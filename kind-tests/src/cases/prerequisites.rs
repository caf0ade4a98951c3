//! Resources that the API server accepts but that can't work: each ends in a condition with the cause.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use crate::case::Case;
use crate::services::{self, Service};
use crate::tree::{Object, upload};

const LIMIT: Duration = Duration::from_secs(30);

/// Applies a job and waits for a reason and a message with these words.
async fn apply_and_expect(
    case: &mut Case,
    job: &Value,
    what: &str,
    reason: &str,
    words: &[&str],
) -> anyhow::Result<()> {
    let began = Instant::now();
    case.apply(job).await?;
    let message = case.degraded(reason, LIMIT).await?;
    for word in words {
        ensure!(message.contains(word), "{reason} does not name {word:?}: {message}");
    }
    case.note(format!("{what}: {reason} after {:.1} s: {message}", began.elapsed().as_secs_f64()));
    Ok(())
}

async fn refused(case: &mut Case, job: &Value, what: &str, reason: &str, words: &[&str]) -> anyhow::Result<()> {
    apply_and_expect(case, job, what, reason, words).await?;
    case.delete_job(Duration::from_mins(2)).await
}

/// Missing buckets.
pub async fn buckets(case: &mut Case) -> anyhow::Result<()> {
    case.users().await?;
    upload::create_bucket(&services::s3(Service::Destination), &case.destination).await?;
    let (source, destination) = (case.source.clone(), case.destination.clone());
    refused(case, &case.job(), "no source bucket", "SourceBucketNotFound", &[&source, "NoSuchBucket"]).await?;
    upload::seed(&services::s3(Service::Source), &source, &[Object::of_bytes("a", "a")]).await?;
    services::s3(Service::Destination).delete_bucket().bucket(&destination).send().await?;
    let words = [destination.as_str(), "NoSuchBucket"];
    refused(case, &case.job(), "no destination bucket", "DestinationBucketNotFound", &words).await?;
    upload::create_bucket(&services::s3(Service::Destination), &destination).await
}

/// Missing or incomplete Secrets; once corrected, the job continues.
pub async fn secrets(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    let mut job = case.job();
    job["spec"]["source"]["credentials"]["secretRef"]["name"] = json!("absent");
    refused(case, &job, "no Secret", "SecretMissing", &["absent"]).await?;
    case.put_secret("half", &[("AWS_ACCESS_KEY_ID", "AKIA")]).await?;
    job["spec"]["source"]["credentials"]["secretRef"]["name"] = json!("half");
    apply_and_expect(case, &job, "Secret without keys", "SecretIncomplete", &["half", "AWS_SECRET_ACCESS_KEY"]).await?;
    let key = case.source_key.clone();
    if let Some(key) = key {
        case.put_keys("half", &key).await?;
    }
    case.run_ended("Complete", None, Duration::from_mins(2)).await?;
    case.note("and Complete after the Secret was corrected");
    Ok(())
}

/// A missing queue.
pub async fn queue(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    let mut job = case.job();
    job["spec"]["queue"]["url"] = json!("http://host.cluster.local:9313/000000000000/absent");
    refused(case, &job, "no queue", "QueueNotFound", &["absent"]).await
}
