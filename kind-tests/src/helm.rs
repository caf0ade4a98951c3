//! Helm, as users run it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::logs::OPERATOR_NAMESPACE;
use crate::paths;
use crate::yaml::documents;

/// Name of the release that the tests run with.
pub const RELEASE: &str = "s3-migration";
/// Time limit of Helm for what it waits for.
const LIMIT: &str = "180s";

/// Returns the path of this checkout's chart.
pub fn chart() -> PathBuf {
    paths::repository().join("charts/s3-migration")
}

/// Runs Helm with values on its standard input; returns its output.
///
/// # Errors
/// If it fails, with what it wrote.
pub fn helm(arguments: &[&str], values: &Value) -> anyhow::Result<String> {
    let mut command = Command::new("helm");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("failed to run helm: is the cluster's environment set?")?;
    let mut input = child.stdin.take().context("failed to write to helm")?;
    // Commands without values don't read them.
    let _ = input.write_all(values.to_string().as_bytes());
    drop(input);
    let output = child.wait_with_output().context("failed to run helm")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "helm {} ended with {}: {}{}",
        arguments.join(" "),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// Renders this checkout's chart; returns the documents.
pub fn render(namespace: &str, values: &Value, more: &[&str]) -> anyhow::Result<Vec<Value>> {
    template("r", namespace, values, more)
}

/// Renders this checkout's chart as the release of the tests, for a cluster that has these kinds too, as
/// `group/version/Kind`; returns the documents.
pub fn render_release(values: &Value, kinds: &[String]) -> anyhow::Result<Vec<Value>> {
    let more: Vec<&str> = kinds.iter().flat_map(|kind| ["--api-versions", kind]).collect();
    template(RELEASE, OPERATOR_NAMESPACE, values, &more)
}

fn template(release: &str, namespace: &str, values: &Value, more: &[&str]) -> anyhow::Result<Vec<Value>> {
    let chart = chart();
    let chart = chart.to_str().context("the path of the chart is not UTF-8")?;
    let arguments = [&["template", release, chart, "--namespace", namespace, "-f", "-"], more].concat();
    documents(&helm(&arguments, values)?)
}

/// Installs a chart as the release of the tests, or upgrades the release to it, with these values only.
pub fn upgrade(chart: &Path, values: &Value) -> anyhow::Result<()> {
    let chart = chart.to_str().context("the path of the chart is not UTF-8")?;
    let base = ["upgrade", "--install", RELEASE, chart, "--namespace", OPERATOR_NAMESPACE, "--reset-values"];
    helm(&[&base[..], &["--wait", "--timeout", LIMIT, "-f", "-"]].concat(), values).map(drop)
}

/// Rolls the release of the tests back to its previous revision.
pub fn rollback() -> anyhow::Result<()> {
    let arguments = ["rollback", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", LIMIT];
    helm(&arguments, &Value::Null).map(drop)
}

/// Uninstalls the release of the tests, if there is one.
pub fn uninstall() -> anyhow::Result<()> {
    let base = ["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--ignore-not-found"];
    helm(&[&base[..], &["--wait", "--timeout", LIMIT]].concat(), &Value::Null).map(drop)
}

/// Returns the values that the release of the tests was installed with.
pub fn values() -> anyhow::Result<Value> {
    let arguments = ["get", "values", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--output", "json"];
    serde_json::from_str(&helm(&arguments, &Value::Null)?).context("failed to read the release's values")
}
