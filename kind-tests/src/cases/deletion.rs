//! Deletion of a job: what is removed and what stays.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::case::{Case, RUN_LIMIT};
use crate::kubernetes::job_type;
use crate::services::{self, Service};
use crate::tree::Object;

const LIMIT: Duration = Duration::from_mins(2);

/// Queues and table of a job.
pub struct Outside {
    queues: Vec<String>,
    /// The service that has the queues.
    queues_at: Service,
    table: String,
}

impl Outside {
    /// Reads their names from a job's status.
    pub fn of(job: &Value) -> anyhow::Result<Self> {
        let text = |path: &str| job.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let queue = text("/status/resources/queueUrl").context("the status names no queue")?;
        let dead = text("/status/resources/deadLetterUrl").context("the status names no dead letter queue")?;
        Ok(Self {
            queues: vec![queue, dead],
            queues_at: Service::Control,
            table: text("/status/resources/table").context("the status names no table")?,
        })
    }

    /// The same, of a job whose queues are beside the buckets of a side.
    #[must_use]
    pub fn with_queues_at(self, queues_at: Service) -> Self {
        Self { queues_at, ..self }
    }

    /// Returns the URLs of queue and dead letters.
    pub fn queues(&self) -> &[String] {
        &self.queues
    }

    /// Returns the name of the table.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Returns those that exist.
    pub async fn there(&self) -> anyhow::Result<Vec<String>> {
        let mut there = Vec::new();
        for url in &self.queues {
            let name = url.rsplit('/').next().unwrap_or(url);
            match services::sqs_of(self.queues_at).get_queue_url().queue_name(name).send().await {
                Ok(_) => there.push(name.to_owned()),
                Err(e)
                    if e.as_service_error().is_some_and(
                        aws_sdk_sqs::operation::get_queue_url::GetQueueUrlError::is_queue_does_not_exist,
                    ) => {}
                Err(e) => return Err(e).context("failed to look for a queue"),
            }
        }
        match services::dynamodb().describe_table().table_name(&self.table).send().await {
            Ok(_) => there.push(self.table.clone()),
            Err(e)
                if e.as_service_error().is_some_and(
                    aws_sdk_dynamodb::operation::describe_table::DescribeTableError::is_resource_not_found_exception,
                ) => {}
            Err(e) => return Err(e).context("failed to look for a table"),
        }
        Ok(there)
    }

    /// Removes those that exist; returns their names.
    pub async fn remove(&self) -> anyhow::Result<Vec<String>> {
        let there = self.there().await?;
        for url in self.queues.iter().filter(|url| there.iter().any(|name| url.rsplit('/').next() == Some(name))) {
            services::sqs_of(self.queues_at).delete_queue().queue_url(url).send().await?;
        }
        if there.contains(&self.table) {
            services::dynamodb().delete_table().table_name(&self.table).send().await?;
        }
        Ok(there)
    }
}

/// Deletes the case's job: queue, table and unfinished uploads are removed, data stays.
pub async fn of_everything_but_data(case: &mut Case, job: &Value) -> anyhow::Result<()> {
    let outside = Outside::of(job)?;
    ensure!(outside.there().await?.len() == 3, "queues and table are not there while the job is");
    let before = amount_at_destination(case).await?;
    let began = Instant::now();
    case.delete_job(LIMIT).await?;
    let seconds = began.elapsed().as_secs_f64();
    let left = outside.there().await?;
    ensure!(left.is_empty(), "left after the job was deleted: {left:?}");
    no_uploads(case).await?;
    children_gone(case).await?;
    ensure!(amount_at_destination(case).await? == before, "objects went with the job");
    case.note(format!("deleted in {seconds:.1} s with queues and table, data stays"));
    Ok(())
}

/// Returns number and bytes of the objects at the destination.
async fn amount_at_destination(case: &Case) -> anyhow::Result<(usize, i64)> {
    let client = services::s3(Service::Destination);
    let mut pages = client.list_objects_v2().bucket(&case.destination).into_paginator().send();
    let (mut number, mut bytes) = (0, 0);
    while let Some(page) = pages.next().await {
        let page = page?;
        number += page.contents().len();
        bytes += page.contents().iter().filter_map(|o| o.size).sum::<i64>();
    }
    Ok((number, bytes))
}

async fn no_uploads(case: &Case) -> anyhow::Result<()> {
    let open = open_uploads(case).await?;
    ensure!(open.is_empty(), "multipart uploads were left open: {open:?}");
    Ok(())
}

/// Returns the keys of open multipart uploads at the destination.
pub async fn open_uploads(case: &Case) -> anyhow::Result<Vec<String>> {
    let found = services::s3(Service::Destination).list_multipart_uploads().bucket(&case.destination).send().await?;
    Ok(found.uploads().iter().filter_map(|u| u.key()).map(str::to_owned).collect())
}

async fn children_gone(case: &Case) -> anyhow::Result<()> {
    // The garbage collector runs after the resource is gone.
    crate::wait::until("the job's children to be gone", LIMIT, Duration::from_millis(250), async || {
        let pods = case.cluster.pods(&case.namespace, "s3migration.dev/job").await?;
        Ok((pods.is_empty() && case.cluster.worker_deployment(&case.namespace).await.is_err()).then_some(()))
    })
    .await
}

/// With `deletionPolicy: Retain`, queue and table stay.
pub async fn retains_queue_and_table(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a"), Object::of_bytes("b", "b")]).await?;
    let mut job = case.job();
    job["spec"]["deletionPolicy"] = json!("Retain");
    case.apply(&job).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let outside = Outside::of(&job)?;
    case.delete_job(LIMIT).await?;
    let left = outside.there().await?;
    outside.remove().await?;
    ensure!(left.len() == 3, "only {left:?} were retained");
    case.check("")?;
    case.note("queues and table stay after kubectl delete");
    Ok(())
}

/// A job whose Secret is gone can still be deleted.
pub async fn ends_without_keys(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a")]).await?;
    case.apply(&case.job()).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let outside = Outside::of(&job)?;
    let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
        kube::Api::namespaced(case.cluster.client(), &case.namespace);
    secrets.delete("control-keys", &kube::api::DeleteParams::default()).await?;
    let began = Instant::now();
    case.delete_job(LIMIT)
        .await
        .with_context(|| format!("a {} without its Secret could not be deleted", job_type().kind))?;
    let seconds = began.elapsed().as_secs_f64();
    // The operator removes them with a client that it may still hold, and leaves them without one.
    let left = outside.remove().await?;
    case.note(format!("deleted in {seconds:.1} s although its Secret was gone; left: {left:?}"));
    Ok(())
}
