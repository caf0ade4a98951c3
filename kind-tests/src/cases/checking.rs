//! A job with a mirror, patterns from a `ConfigMap` and verification.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::sleep;

use crate::case::{Case, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::services::{self, Service};
use crate::tree::{Object, upload};

/// Minimum age of an extra object before the scan, plus one second for truncation to whole seconds.
const CLEARLY_OLDER: Duration = Duration::from_secs(6);

/// Extra objects are deleted, those hidden by the patterns stay, and both sides are read again.
pub async fn verified_mirror(case: &mut Case) -> anyhow::Result<()> {
    let objects = [
        Object::of_bytes("a", "first"),
        Object::of_bytes("b/large", vec![7; 17 << 20]),
        Object::of_bytes("empty", ""),
        Object::of_bytes("secret/key", "not to be moved"),
    ];
    case.prepare(&objects).await?;
    case.allow_deletions().await?;
    let there = [Object::of_bytes("old", "gone at the source"), Object::of_bytes("secret/old", "hidden")];
    upload::put_all(&services::s3(Service::Destination), &case.destination, &there).await?;
    // Only objects older than the scan are deleted.
    sleep(CLEARLY_OLDER).await;
    let list = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lists"},
        "data": {"ignore": format!("{}/secret/*\n", case.source)},
    });
    let mut job = case.job();
    job["spec"]["filters"] = json!({"ignoreFrom": {"configMapKeyRef": {"name": "lists", "key": "ignore"}}});
    job["spec"]["mirror"] = json!({"deleteExtraneous": true, "maxDeletes": 1});
    job["spec"]["verify"] = json!({"mode": "Full", "method": "Read"});
    case.apply(&job).await?;
    let words = case.degraded("ConfigMapMissing", Duration::from_mins(1)).await?;
    case.note(format!("without the ConfigMap: {words}"));
    case.cluster.apply(&case.namespace, &list).await?;
    let job = case.run_ended("Complete", None, RUN_LIMIT).await?;
    let (status, reason, message) = condition(&job, "Verified").context("there is no condition Verified")?;
    ensure!((status, reason) == ("True", "CopyWhole"), "Verified is {status}, {reason}: {message}");
    case.note(format!("Verified: {message}"));
    let verification = &job["status"]["verification"];
    ensure!(verification["proven"] == 3 && verification["extra"] == 0, "verified: {verification:#}");
    let extraneous = &job["status"]["lastRun"]["extraneous"];
    ensure!(*extraneous == json!({"found": 1, "deleted": 1}), "extraneous: {extraneous:#}");
    let keys = keys(case).await?;
    ensure!(keys == ["a", "b/large", "empty", "secret/old"], "the destination has {keys:?}");
    Ok(())
}

async fn keys(case: &Case) -> anyhow::Result<Vec<String>> {
    let listed = services::s3(Service::Destination).list_objects_v2().bucket(&case.destination).send().await;
    let listed = listed.context("failed to list the destination")?;
    Ok(listed.contents().iter().filter_map(|object| object.key().map(ToOwned::to_owned)).collect())
}
