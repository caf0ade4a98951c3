//! A run with a report, and a run whose work list is that report.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::case::{Case, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::services::{self, Service};
use crate::tree::Object;

const REPORT_LIMIT: Duration = Duration::from_mins(2);
/// Longest key in bytes that still fits under a prefix of two bytes.
const LONG: usize = 1_022;

/// Failed objects are in the report; after the cause is fixed, the report is the work list of the next run.
pub async fn reported_and_fed_back(case: &mut Case) -> anyhow::Result<()> {
    let long = "x".repeat(LONG);
    let objects = [
        Object::of_bytes("a +é", "first"),
        Object::of_bytes("b/large", vec![7; 17 << 20]),
        Object::of_bytes("empty", ""),
        Object::of_bytes(&long, "its key is too long under data/"),
    ];
    case.prepare(&objects).await?;
    // The jobsender deletes fragments of reports.
    case.allow_deletions().await?;
    let mut job = case.job();
    job["spec"]["buckets"][0]["destinationPrefix"] = json!("data/");
    job["spec"]["report"] = json!({"bucket": case.destination, "prefix": "reports/"});
    case.apply(&job).await?;
    let ended = case.run_ended("PartiallyFailed", None, RUN_LIMIT).await?;
    let first = ended["status"]["lastRun"]["id"].as_str().context("the run has no id")?.to_owned();
    let report = written(case, &first).await?;
    let numbers = (report["succeeded"].as_u64(), report["failed"].as_u64(), report["unreported"].as_u64());
    ensure!(numbers == (Some(3), Some(1), Some(0)), "the report says {report:#}");
    let manifest = report["manifest"].as_str().context("the report has no manifest")?;
    let key = manifest.strip_prefix(&format!("s3://{}/", case.destination)).context("it is elsewhere")?.to_owned();
    let rows = rows(case, &key).await?;
    ensure!(rows.len() == 4 && rows.iter().any(|row| row.contains("a%20%2B%C3%A9")), "the report has {rows:?}");
    case.note(format!("{manifest}: {} rows", rows.len()));
    let list = json!({"side": "Destination", "bucket": case.destination, "key": key});
    let buckets =
        json!([{"sourceBucket": case.source, "destinationBucket": case.destination, "destinationPrefix": "d/"}]);
    case.patch_spec(&json!({"buckets": buckets, "manifest": list, "trigger": {"manual": "what failed"}})).await?;
    let ended = case.run_ended("Complete", Some(&first), RUN_LIMIT).await?;
    let second = ended["status"]["lastRun"]["id"].as_str().context("the run has no id")?;
    let progress = &ended["status"]["progress"]["objects"];
    ensure!(progress["total"] == 1 && progress["done"] == 1, "the second run moved {progress:#}");
    let moved = get(case, &format!("d/{long}")).await?;
    ensure!(moved == b"its key is too long under data/", "another content arrived");
    let report = written(case, second).await?;
    ensure!(report["succeeded"] == 1 && report["failed"] == 0, "the second report says {report:#}");
    case.note("fed back: 1 object, the one that had failed");
    Ok(())
}

/// Waits for a run's report; returns its status.
async fn written(case: &Case, run: &str) -> anyhow::Result<Value> {
    case.watch("the report", REPORT_LIMIT, async |job: Option<&Value>| {
        let Some(job) = job.filter(|job| job["status"]["report"]["run"] == run) else { return Ok(None) };
        let (status, reason, message) = condition(job, "Reported").context("there is no condition Reported")?;
        ensure!((status, reason) == ("True", "ReportWritten"), "Reported is {status}, {reason}: {message}");
        Ok(Some(job["status"]["report"].clone()))
    })
    .await
}

/// Returns the rows of all files named in a report's manifest.
async fn rows(case: &Case, manifest: &str) -> anyhow::Result<Vec<String>> {
    let manifest: Value = serde_json::from_slice(&get(case, manifest).await?)?;
    let mut rows = Vec::new();
    for file in manifest["Results"].as_array().context("the manifest has no Results")? {
        let body = get(case, file["Key"].as_str().context("a file has no key")?).await?;
        rows.extend(String::from_utf8(body)?.lines().map(ToOwned::to_owned));
    }
    Ok(rows)
}

async fn get(case: &Case, key: &str) -> anyhow::Result<Vec<u8>> {
    let got = services::s3(Service::Destination).get_object().bucket(&case.destination).key(key).send().await;
    let got = got.with_context(|| format!("failed to get {key}"))?;
    Ok(got.body.collect().await?.to_vec())
}
