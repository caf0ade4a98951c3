//! Invalid resources that the API server must reject, and examples that it must accept.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::case::Case;
use crate::paths;
use crate::yaml::documents;

/// A resource that must be rejected, and part of the expected message.
#[derive(Debug, serde::Deserialize)]
struct Bad {
    name: String,
    message: String,
    /// Resource to create first, for a rejected update.
    #[serde(default)]
    before: Value,
    manifest: Value,
}

/// Checks that every invalid resource is rejected with its message.
pub async fn refuses_bad_resources(case: &mut Case) -> anyhow::Result<()> {
    let table: Vec<Bad> = documents(&fs::read_to_string(paths::here("bad-resources.yaml"))?)?;
    ensure!(table.len() >= 50, "there are only {} bad resources", table.len());
    let mut wrong = Vec::new();
    for bad in &table {
        if !bad.before.is_null() {
            case.apply(&bad.before).await.with_context(|| format!("the state before {} was refused", bad.name))?;
        }
        let tried = case.cluster.try_apply(&case.namespace, &bad.manifest).await;
        if !bad.before.is_null() {
            case.delete(&bad.name, Duration::from_mins(1)).await?;
        }
        match tried {
            Ok(()) => wrong.push(format!("{} was accepted", bad.name)),
            // The Debug format includes the API server's whole response.
            Err(error) if format!("{error:#}").contains(&bad.message) => {}
            Err(error) => wrong.push(format!("{}: {:?} is not in: {error:#}", bad.name, bad.message)),
        }
    }
    ensure!(wrong.is_empty(), "{} of {} bad resources: {}", wrong.len(), table.len(), wrong.join("\n"));
    case.note(format!("{} bad resources refused, each with its message", table.len()));
    Ok(())
}

/// Checks that every example is accepted.
pub async fn takes_the_examples(case: &mut Case) -> anyhow::Result<()> {
    let mut number = 0;
    for entry in fs::read_dir(paths::repository().join("examples"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "yaml") {
            number += takes(case, &path).await?;
        }
    }
    ensure!(number > 0, "there are no examples");
    case.note(format!("{number} documents of examples/ accepted"));
    Ok(())
}

/// Checks that what `import-config` makes of the predecessor's samples is accepted.
pub async fn takes_imported_configurations(case: &mut Case) -> anyhow::Result<()> {
    let mut number = 0;
    for entry in fs::read_dir(paths::repository().join("cli/tests/golden/import_config"))? {
        number += takes(case, &entry?.path().join("expected.yaml")).await?;
    }
    ensure!(number > 0, "there are no samples");
    case.note(format!("{number} documents of import-config accepted"));
    Ok(())
}

/// Checks that the documents of a file are accepted, in the case's namespace; returns their number.
async fn takes(case: &Case, path: &Path) -> anyhow::Result<usize> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    let mut number = 0;
    for mut document in documents::<Value>(&text)? {
        if document["kind"] == "Namespace" {
            continue;
        }
        if let Some(metadata) = document["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        let taken = case.cluster.try_apply(&case.namespace, &document).await;
        taken.with_context(|| format!("{} in {} was refused", document["kind"], path.display()))?;
        number += 1;
    }
    Ok(number)
}
