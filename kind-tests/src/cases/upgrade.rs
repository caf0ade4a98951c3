//! The chart is upgraded from an earlier version, rolled back and upgraded again while a run is live.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::deletion::open_uploads;
use super::migration::totals;
use crate::case::{Case, JOB, RUN_LIMIT};
use crate::services::{self, Service};
use crate::tree::{Amount, Object, bytes_of, select};
use crate::wait::until;
use crate::{helm, paths};

/// The last commit before workers were scaled by KEDA, events were followed, and policies restricted authors.
const BEFORE: &str = "5936381cfbe573ec1bbe2bdfe176c4d02f0ad123";
const DEFINITION: &str = "migrationjobs.s3migration.dev";
const SOON: Duration = Duration::from_mins(3);
const AMOUNT: Amount = Amount { files: 4_000, bytes: 60 << 20, large: 96 << 20 };
/// Further large objects, and their size in bytes.
const LARGE: (u8, usize) = (3, 40 << 20);

/// A version of chart and programs.
struct Version {
    chart: PathBuf,
    values: Value,
    worker: String,
}

impl Version {
    /// Returns the installed version, which is this checkout's.
    fn present() -> anyhow::Result<Self> {
        let values = helm::values()?;
        let image = &values["worker"]["image"];
        let part = |name: &str| image[name].as_str().with_context(|| format!("the release has no worker.image.{name}"));
        let worker = format!("{}:{}", part("repository")?, part("tag")?);
        Ok(Self { chart: helm::chart(), worker, values })
    }

    /// Builds the version before, unless it is kept from an earlier time, and loads its images.
    async fn before() -> anyhow::Result<Self> {
        let mut command = Command::new("bash");
        command.arg(paths::here("cluster/release.sh")).arg(BEFORE).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output =
            tokio::task::spawn_blocking(move || command.output()).await?.context("failed to run release.sh")?;
        ensure!(output.status.success(), "release.sh ended with {}", output.status);
        let text = String::from_utf8(output.stdout).context("release.sh wrote no text")?;
        let named: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let get = |name: &str| named.get(name).copied().with_context(|| format!("release.sh named no {name}"));
        let image = |reference: &str| -> anyhow::Result<Value> {
            let (repository, tag) = reference.rsplit_once(':').context("an image has no tag")?;
            Ok(json!({"repository": repository, "tag": tag}))
        };
        let (operator, worker) = (get("OPERATOR_IMAGE")?, get("WORKER_IMAGE")?);
        Ok(Self {
            chart: get("CHART")?.into(),
            values: json!({"image": image(operator)?, "worker": {"image": image(worker)?}, "logFormat": "text"}),
            worker: worker.to_owned(),
        })
    }
}

/// Installs the version before, starts a run, and upgrades, rolls back and upgrades again while it is live.
pub async fn upgraded_and_rolled_back(case: &mut Case) -> anyhow::Result<()> {
    let (new, old) = (Version::present()?, Version::before().await?);
    ensure!(new.worker != old.worker, "both versions have the same programs");
    // Helm takes away the role for the Lease while an operator that ends still gives its Lease back.
    case.roles_change = true;
    let result = with_versions(case, &new, &old).await;
    // The other cases need this checkout's version, whatever the result.
    helm::upgrade(&new.chart, &new.values)?;
    result
}

async fn with_versions(case: &mut Case, new: &Version, old: &Version) -> anyhow::Result<()> {
    install_alone(case, old).await?;
    ensure!(!takes_new_fields(case).await?, "the definition of the version before has the new fields");
    let objects = objects()?;
    let kept: Vec<Object> = objects.iter().filter(|o| !select::ignored(&o.key)).cloned().collect();
    case.prepare(&objects).await?;
    let proxies = services::proxies();
    proxies.delay(&case.destination, "PutObject", 300).await?;
    proxies.delay(&case.destination, "UploadPart", 2_000).await?;
    let mut job = case.job();
    job["spec"]["transfer"] = json!({"filesPerWorker": 8, "partsPerFile": 2});
    case.apply(&job).await?;

    moved(case, kept.len() / 8).await?;
    change(case, "upgraded", new, || helm::upgrade(&new.chart, &new.values)).await?;
    ensure!(takes_new_fields(case).await?, "the upgraded definition does not have the new fields");
    moved(case, kept.len() * 3 / 8).await?;
    change(case, "rolled back", old, helm::rollback).await?;
    ensure!(!takes_new_fields(case).await?, "the definition was not rolled back");
    moved(case, kept.len() * 5 / 8).await?;
    change(case, "upgraded again", new, || helm::upgrade(&new.chart, &new.values)).await?;
    ended(case, &kept).await
}

/// Installs a version where there was none, not even a definition.
async fn install_alone(case: &Case, version: &Version) -> anyhow::Result<()> {
    helm::uninstall()?;
    let definitions: Api<CustomResourceDefinition> = Api::all(case.cluster.client());
    match definitions.delete(DEFINITION, &DeleteParams::default()).await {
        Err(kube::Error::Api(e)) if e.code == 404 => {}
        other => drop(other.context("failed to delete the definition")?),
    }
    let gone = kube::runtime::wait::await_condition(definitions, DEFINITION, |d: Option<&_>| d.is_none());
    tokio::time::timeout(SOON, gone).await.context("the definition was not deleted")??;
    helm::upgrade(&version.chart, &version.values)
}

/// Files of this machine, and some large objects.
fn objects() -> anyhow::Result<Vec<Object>> {
    let mut objects = select::tree(AMOUNT)?;
    let (number, size) = LARGE;
    for n in 0..number {
        let bytes = (0..size).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[1] ^ n).collect::<Vec<u8>>();
        objects.push(Object::of_bytes(format!("large/{n}"), bytes));
    }
    Ok(objects)
}

/// Returns true if the API server knows a field that the version before does not have.
async fn takes_new_fields(case: &Case) -> anyhow::Result<bool> {
    let mut job = case.job();
    job["metadata"]["name"] = json!("with-new-fields");
    job["spec"]["scaling"] = json!({"driver": "Fixed", "replicas": 1});
    let strict = PatchParams { dry_run: true, ..PatchParams::apply("kind-tests").validation_strict() };
    match case.cluster.jobs(&case.namespace).patch("with-new-fields", &strict, &Patch::Apply(&job)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(e)) if e.message.contains("driver") => Ok(false),
        Err(error) => Err(error).context("failed to try the new fields"),
    }
}

/// Waits until so many objects are moved; fails if the run ends before.
async fn moved(case: &Case, number: usize) -> anyhow::Result<()> {
    until("objects to be moved", RUN_LIMIT, Duration::from_millis(300), async || {
        let done = moves(case).await?;
        let job = case.cluster.jobs(&case.namespace).get(JOB).await?;
        let ended = !job.data["status"]["lastRun"].is_null() && job.data["status"]["currentRun"].is_null();
        ensure!(!ended, "the run ended with {done} objects, before {number} were moved: {:#}", job.data["status"]);
        Ok((done >= number).then_some(()))
    })
    .await
}

async fn moves(case: &Case) -> anyhow::Result<usize> {
    let events = case.events(Service::Destination, None).await?;
    Ok(events.iter().filter(|e| e.status == Some(200) && e.request.operation == "PutObject").count())
}

/// Changes the version in the middle of the run, and waits until all workers are of it.
async fn change(
    case: &mut Case,
    what: &str,
    to: &Version,
    act: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let before = moves(case).await?;
    let began = Instant::now();
    act().with_context(|| format!("not {what}"))?;
    let helm = began.elapsed();
    let deployment = case.cluster.worker_deployment(&case.namespace).await?;
    let name = deployment.metadata.name.unwrap_or_default();
    let replaced = |d: &Deployment| {
        let image = d.spec.template.spec.as_ref().and_then(|s| s.containers.first()).and_then(|c| c.image.as_deref());
        let counts = d.status.as_ref().map(|s| (s.updated_replicas, s.replicas, s.ready_replicas));
        image == Some(to.worker.as_str())
            && counts.is_some_and(|(updated, all, ready)| all > Some(0) && updated == all && ready == all)
    };
    case.cluster.watch_deployment(&case.namespace, &name, "the workers to be replaced", SOON, replaced).await?;
    case.note(format!(
        "{what} with {before} objects moved: helm {:.1} s, workers replaced {:.1} s after it began",
        helm.as_secs_f64(),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

async fn ended(case: &mut Case, kept: &[Object]) -> anyhow::Result<()> {
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    totals(&job, kept.len() as u64, bytes_of(kept))?;
    let runs = job.pointer("/status/runsStarted").and_then(Value::as_u64);
    ensure!(runs == Some(1), "{runs:?} runs were started");
    let open = open_uploads(case).await?;
    ensure!(open.is_empty(), "uploads were left open: {open:?}");
    let written = moves(case).await?;
    case.note(format!("Complete: {} objects, totals exact, one run, {written} PUTs", kept.len()));
    case.note(case.check("")?);
    Ok(())
}
