//! What runs leave: Jobs up to a limit or for a time, and their results in the status.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::kubectl;
use crate::services::{self, Service};
use crate::tree::{Object, upload};
use crate::wait::until;

const SENDERS: &str = "app.kubernetes.io/component=jobsender";
/// `runsHistoryLimit` of the job.
const LIMIT: usize = 2;
/// `ttlSecondsAfterFinished`, once it is given.
const TTL: i64 = 5;
/// Time limit for Jobs to be removed.
const SOON: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(250);
/// Name of the Job that a person creates.
const BY_HAND: &str = "by-hand";

/// Jobs of runs are removed beyond the limit and after their time, however they were started; the status keeps the
/// results.
pub async fn removed(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "a"), Object::of_bytes("b", "b")]).await?;
    let mut job = case.job();
    job["spec"]["runsHistoryLimit"] = json!(LIMIT);
    job["spec"]["trigger"] = json!({"manual": "1"});
    case.apply(&job).await?;
    let mut runs = vec![ended(case, &[], 2).await?];
    left(case, &["job-run-1"]).await?;
    for (number, jobs) in [("2", ["job-run-1", "job-run-2"]), ("3", ["job-run-2", "job-run-3"])] {
        added(case, number).await?;
        case.patch_spec(&json!({"trigger": {"manual": number}})).await?;
        runs.push(ended(case, &runs, 1).await?);
        left(case, &jobs).await?;
    }
    by_hand_and_scheduled(case, &mut runs).await?;
    after_their_time(case, &mut runs).await?;
    case.note(format!("{} runs in the status, each with its objects", runs.len()));
    case.note(case.check("")?);
    Ok(())
}

/// A Job that a person creates from the `CronJob` is a run like those of the schedule, and removed like theirs.
async fn by_hand_and_scheduled(case: &mut Case, runs: &mut Vec<String>) -> anyhow::Result<()> {
    added(case, "by hand").await?;
    kubectl(&["-n", &case.namespace, "create", "job", "--from=cronjob/job-jobsender", BY_HAND]).await?;
    runs.push(ended(case, runs, 1).await?);
    left(case, &[BY_HAND, "job-run-3"]).await?;
    added(case, "scheduled").await?;
    case.patch_spec(&json!({"trigger": {"schedule": "* * * * *"}})).await?;
    case.watch("nextScheduleTime", SOON, async |job: Option<&Value>| {
        Ok(job.is_some_and(|job| job["status"]["nextScheduleTime"].is_string()).then_some(()))
    })
    .await?;
    runs.push(ended(case, runs, 1).await?);
    case.patch_spec(&json!({"trigger": {"schedule": null}})).await?;
    let names = senders(case).await?.into_iter().map(|job| job.name_any()).collect::<Vec<_>>();
    let scheduled = names.iter().find(|name| name.starts_with("job-jobsender-"));
    let scheduled = scheduled.with_context(|| format!("there are these Jobs: {names:?}"))?.clone();
    left(case, &[BY_HAND, &scheduled]).await?;
    let job = case.watch("no nextScheduleTime", SOON, async |job: Option<&Value>| {
        Ok(job.filter(|job| job["status"]["nextScheduleTime"].is_null()).cloned())
    });
    let started = job.await?["status"]["runsStarted"].clone();
    ensure!(started == 3, "the operator started 3 runs and counts {started}");
    case.note(format!("runsHistoryLimit {LIMIT}: of 5 Jobs the newest {LIMIT} were left each time, with their pods"));
    Ok(())
}

/// With a time to live, all Jobs go, each after its time; the next run has a number of its own.
async fn after_their_time(case: &mut Case, runs: &mut Vec<String>) -> anyhow::Result<()> {
    case.patch_spec(&json!({"ttlSecondsAfterFinished": TTL})).await?;
    left(case, &[]).await?;
    added(case, "later").await?;
    case.patch_spec(&json!({"trigger": {"manual": "4"}})).await?;
    let finished = until("the Job of the next run to end", RUN_LIMIT, EVERY, async || {
        let found = senders(case).await?;
        let names: BTreeSet<String> = found.iter().map(kube::ResourceExt::name_any).collect();
        ensure!(names.is_empty() || names == BTreeSet::from(["job-run-4".to_owned()]), "there are {names:?}");
        Ok(found.into_iter().find_map(|job| job.status?.completion_time))
    })
    .await?;
    left(case, &[]).await?;
    let kept = Timestamp::now().as_second() - finished.0.as_second();
    ensure!(kept >= TTL, "the Job was removed {kept} s after its end");
    runs.push(ended(case, runs, 1).await?);
    case.note(format!("ttlSecondsAfterFinished {TTL}: removed {kept} s after the end of the Job"));
    Ok(())
}

/// Writes an object for the next run.
async fn added(case: &Case, key: &str) -> anyhow::Result<()> {
    upload::put_all(&services::s3(Service::Source), &case.source, &[Object::of_bytes(key, key.to_owned())]).await
}

/// Waits until the next run ended with so many objects; returns its ID. The status has those before it too, the newest
/// one first.
async fn ended(case: &Case, before: &[String], objects: u64) -> anyhow::Result<String> {
    let job = case.run_ended("Complete", before.last().map(String::as_str), RUN_LIMIT).await?;
    let runs = job["status"]["runs"].as_array().context("the status has no runs")?;
    let ids: Vec<&str> = runs.iter().rev().filter_map(|run| run["id"].as_str()).collect();
    let (last, earlier) = ids.split_last().context("the runs have no IDs")?;
    ensure!(earlier == before, "the status has the runs {ids:?} and should have one after {before:?}");
    let (run, shown) = (&runs[0], &job["status"]["lastRun"]);
    for member in ["id", "startedAt", "endedAt", "result", "objects", "bytes", "failed"] {
        ensure!(run[member] == shown[member], "{member} differs between {run:#} and lastRun {shown:#}");
    }
    ensure!(run["objects"] == objects && run["failed"] == 0, "{objects} objects were to be copied: {run:#}");
    let times: Vec<Timestamp> = runs
        .iter()
        .rev()
        .flat_map(|run| [&run["startedAt"], &run["endedAt"]])
        .map(|time| time.as_str().context("a run has no time")?.parse().context("failed to read a time"))
        .collect::<anyhow::Result<_>>()?;
    ensure!(times.is_sorted(), "the runs are not one after the other: {runs:#?}");
    Ok((*last).to_owned())
}

/// Returns the Jobs of jobsenders.
async fn senders(case: &Case) -> anyhow::Result<Vec<Job>> {
    let api: Api<Job> = Api::namespaced(case.cluster.client(), &case.namespace);
    let of_job = format!("{SENDERS},s3migration.dev/job={JOB}");
    Ok(api.list(&ListParams::default().labels(&of_job)).await?.items)
}

/// Waits until exactly these Jobs of jobsenders are left, and pods of no others.
async fn left(case: &Case, expected: &[&str]) -> anyhow::Result<()> {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    let mut last = (BTreeSet::new(), BTreeSet::new());
    let what = format!("the Jobs {expected:?} to be left");
    let waited = until(&what, SOON, EVERY, async || {
        let jobs = senders(case).await?.iter().map(kube::ResourceExt::name_any).collect();
        let pods = case.cluster.pods(&case.namespace, SENDERS).await?;
        let of_pods = pods.iter().filter_map(|pod| pod.labels().get("batch.kubernetes.io/job-name").cloned()).collect();
        last = (jobs, of_pods);
        Ok((last.0 == expected && last.1.is_subset(&expected)).then_some(()))
    });
    waited.await.with_context(|| format!("at the end there were the Jobs {:?} and pods of {:?}", last.0, last.1))
}
