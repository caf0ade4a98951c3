//! A permission that is missing is named before any object is moved.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::case::{Case, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::services::{self, Service};
use crate::tree::{Object, bytes_of};

use super::deletion::open_uploads;
use super::migration::totals;

/// Time limit for the condition: a pod, and a few requests.
const SAYS_SO: Duration = Duration::from_secs(30);
/// A few repetitions, with growing delays.
const TRIED_AGAIN: Duration = Duration::from_mins(3);

/// The destination denies writes: no run starts, and the condition names request and action. Once the service allows them,
/// the job continues by itself.
pub async fn write_denied(case: &mut Case) -> anyhow::Result<()> {
    let objects = [Object::of_bytes("a", "a"), Object::of_bytes("b", "bb")];
    case.prepare(&objects).await?;
    let key = case.destination_key.clone().context("the case has no key")?;
    services::set_policy(Service::Destination, &key, &services::lookers_policy(&case.destination))?;
    let began = Instant::now();
    case.apply(&case.job()).await?;
    let message = case.degraded("DestinationAccessDenied", SAYS_SO).await?;
    let seconds = began.elapsed().as_secs_f64();
    let arn = format!("arn:aws:s3:::{}/", case.destination);
    for word in ["create upload", arn.as_str(), "s3:PutObject"] {
        ensure!(message.contains(word), "the message does not name {word:?}: {message}");
    }
    case.note(format!("DestinationAccessDenied after {seconds:.1} s: {message}"));
    let job = checked(case, "False", SAYS_SO).await?;
    ensure!(job.pointer("/status/runsStarted").and_then(Value::as_u64) == Some(0), "a run was started");
    services::set_policy(Service::Destination, &key, &services::destination_policy(&case.destination))?;
    let began = Instant::now();
    checked(case, "True", TRIED_AGAIN).await?;
    case.note(format!("tried again {:.1} s after writes were allowed", began.elapsed().as_secs_f64()));
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, 2, bytes_of(&objects))?;
    ensure!(open_uploads(case).await?.is_empty(), "an upload was left open");
    case.note(case.check("")?);
    Ok(())
}

/// Waits until the condition Preflight has this status; returns the job.
pub async fn checked(case: &Case, status: &str, limit: Duration) -> anyhow::Result<Value> {
    case.watch(&format!("Preflight {status}"), limit, async |job: Option<&Value>| {
        let job = job.filter(|job| condition(job, "Preflight").is_some_and(|(found, ..)| found == status));
        Ok(job.cloned())
    })
    .await
}
