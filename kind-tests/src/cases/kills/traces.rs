//! What a run with kills leaves, and what it cost.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::acts::Acts;
use super::presence::Presence;
use super::{Writes, most_repeated};
use crate::case::Case;
use crate::cases::deletion::Outside;
use crate::cases::requests::in_words;
use crate::proxy::log::Event;
use crate::services::{self, Service};
use crate::tree::Object;
use crate::wait::until;

/// Waits until queue and dead letters have no message, visible, delayed or in flight.
pub async fn empty_queues(outside: &Outside, limit: Duration) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let waited = until("queue and dead letters to be empty", limit, Duration::from_millis(500), async || {
        last.clear();
        for url in outside.queues() {
            last.push(services::messages(&services::sqs(), url).await?);
        }
        Ok(last.iter().all(|number| *number == 0).then_some(()))
    });
    waited.await.with_context(|| format!("messages at the end: {last:?}"))
}

/// Waits until no pod of the case is running, starting or ending.
pub async fn no_pods(case: &Case, limit: Duration) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let waited = until("no pod to be left", limit, Duration::from_millis(500), async || {
        let pods = case.cluster.pods(&case.namespace, "s3migration.dev/job").await?;
        last = pods.iter().filter(|pod| is_live(pod)).map(kube::ResourceExt::name_any).collect();
        Ok(last.is_empty().then_some(()))
    });
    waited.await.with_context(|| format!("pods at the end: {last:?}"))
}

fn is_live(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some()
}

/// Returns the names of the case's Jobs; fails if one has not ended.
pub async fn jobs(case: &Case) -> anyhow::Result<Vec<String>> {
    let api: Api<Job> = Api::namespaced(case.cluster.client(), &case.namespace);
    let jobs = api.list(&ListParams::default()).await?.items;
    for job in &jobs {
        let active = job.status.as_ref().and_then(|status| status.active).unwrap_or_default();
        ensure!(active == 0, "Job {} has not ended", job.name_any());
    }
    Ok(jobs.iter().map(kube::ResourceExt::name_any).collect())
}

/// Returns the partition keys of records of uploads.
pub async fn upload_records(outside: &Outside) -> anyhow::Result<Vec<String>> {
    let request = services::dynamodb().scan().table_name(outside.table()).consistent_read(true);
    let request = request.filter_expression("begins_with(pk, :upload)");
    let request = request.expression_attribute_values(":upload", AttributeValue::S("upload/".to_owned()));
    let mut items = request.into_paginator().items().send();
    let mut found = Vec::new();
    while let Some(item) = items.next().await {
        let item = item.context("failed to read the ledger")?;
        found.extend(item.get("pk").and_then(|key| key.as_s().ok()).cloned());
    }
    Ok(found)
}

/// Notes what the run cost, and fails if more was written again than was in flight at the kills.
pub async fn requests(case: &mut Case, objects: &[Object], acts: &Acts, presence: &Presence) -> anyhow::Result<()> {
    let source = case.events(Service::Source, None).await?;
    let destination = case.events(Service::Destination, None).await?;
    case.note(format!("source: {}", in_words(&source)));
    case.note(format!("destination: {}", in_words(&destination)));
    let writes = writes(&destination, "PutObject");
    let again: usize = writes.values().map(|number| number - 1).sum();
    let parts = destination.iter().filter(|event| is_done(event, "UploadPart"));
    let mut numbers: Vec<(&str, Option<u32>)> =
        parts.map(|event| (event.request.key.as_str(), event.request.part)).collect();
    let sent = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    let part_again = sent - numbers.len();
    let refused = destination.iter().filter(|e| e.request.operation == "PutObject" && e.status == Some(412)).count();
    case.note(format!(
        "written again: {again} objects, {part_again} of {} parts; {refused} writes refused as their object was there",
        numbers.len()
    ));
    ensure!(again <= most_repeated(acts), "{again} of {} objects were written more than once", objects.len());
    let (from, until) = longest_pause(&destination).context("nothing was written")?;
    case.note(format!(
        "longest time without a write: {:.0} s, meanwhile {}",
        until.duration_since(from)?.as_secs_f64(),
        presence.missing(from, until)
    ));
    Ok(())
}

fn is_done(event: &Event, operation: &str) -> bool {
    event.request.operation == operation && event.status == Some(200)
}

fn writes<'a>(events: &'a [Event], operation: &str) -> Writes<'a> {
    let mut writes = Writes::new();
    for event in events.iter().filter(|event| is_done(event, operation)) {
        *writes.entry(event.request.key.as_str()).or_default() += 1;
    }
    writes
}

/// Returns the two successful writes with the longest time between them.
fn longest_pause(events: &[Event]) -> Option<(SystemTime, SystemTime)> {
    let done = events.iter().filter(|event| is_done(event, "PutObject") || is_done(event, "UploadPart"));
    let mut times: Vec<SystemTime> = done.filter_map(|event| event.answered).collect();
    times.sort_unstable();
    let pauses = times.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?)));
    pauses.max_by_key(|(from, until)| until.duration_since(*from).unwrap_or_default())
}
