//! The independent checker `checker/check.py`.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{paths, services};

/// Runs the checker on `work`; returns its last line, or fails with its output.
pub fn compare(name: &str, work: &Value) -> anyhow::Result<String> {
    let file = paths::results()?.join(format!("{}-check.json", paths::file_name(name)));
    std::fs::write(&file, work.to_string()).context("failed to write the checker's work")?;
    let program = paths::here("checker/check.py");
    let output = Command::new(services::python()?).arg(program).arg(file).output().context("failed to run check.py")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the independent checker found differences:\n{printed}{errors}");
    Ok(printed.lines().last().unwrap_or_default().to_owned())
}
