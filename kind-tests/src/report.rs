//! Results of the cases: one line each, kept in a file until the table is printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::paths;

/// Result of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the case.
    pub case: String,
    /// True if it passed.
    pub passed: bool,
    /// Duration in seconds.
    pub seconds: f64,
    /// Measurements and other notes.
    pub notes: Vec<String>,
}

/// Tests whose results form one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// Tests on a cluster.
    Cluster,
    /// Tests of the programs by themselves.
    Wire,
    /// Tests of `s3migrate`.
    Local,
}

impl Suite {
    fn file(self) -> anyhow::Result<PathBuf> {
        let name = match self {
            Self::Cluster => "rows.jsonl",
            Self::Wire => "wire.jsonl",
            Self::Local => "local.jsonl",
        };
        Ok(paths::results()?.join(name))
    }

    /// Returns the heading of the table.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Cluster => "Results of `make e2e`",
            Self::Wire => "Results of `make wire`",
            Self::Local => "Results of `make local`",
        }
    }
}

/// Removes the results of earlier runs.
pub fn clear(suite: Suite) -> anyhow::Result<()> {
    match std::fs::remove_file(suite.file()?) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("failed to clear the results"),
        _ => Ok(()),
    }
}

/// Appends a result.
pub fn add(suite: Suite, row: &Row) -> anyhow::Result<()> {
    let mut out = OpenOptions::new();
    let mut out = out.append(true).create(true).open(suite.file()?).context("failed to open the results")?;
    writeln!(out, "{}", serde_json::to_string(row)?).context("failed to write a result")
}

/// Returns the results so far, sorted by the names of their cases.
pub fn rows(suite: Suite) -> anyhow::Result<Vec<Row>> {
    let text = std::fs::read_to_string(suite.file()?).unwrap_or_default();
    let rows = text.lines().map(|line| serde_json::from_str(line).context("failed to read a result"));
    let mut rows = rows.collect::<anyhow::Result<Vec<Row>>>()?;
    rows.sort_by(|a, b| a.case.cmp(&b.case));
    Ok(rows)
}

/// Formats the table as Markdown that is also readable as plain text.
pub fn table(rows: &[Row]) -> String {
    let mut out = String::from("| case | result | seconds | what was seen |\n|---|---|---:|---|\n");
    for row in rows {
        // Writing to a string can't fail.
        let _ = writeln!(out, "| {} | {}", row.case, columns(row));
    }
    out
}

fn columns(row: &Row) -> String {
    let result = if row.passed { "passed" } else { "FAILED" };
    let notes = row.notes.join("; ").replace('|', "\\|").replace('\n', " ");
    format!("{result} | {:.1} | {notes} |", row.seconds)
}

/// Heading of the table in a document.
const HEADING: &str = "| case | commit | result | seconds | what was seen |";

/// Formats the document of a suite: the rows of a run of this commit, and of other cases those of the earlier document.
pub fn document(suite: Suite, rows: &[Row], commit: &str, earlier: &str) -> String {
    let of_earlier = earlier.lines().skip_while(|line| *line != HEADING).skip(2);
    let mut lines: BTreeMap<&str, String> =
        of_earlier.filter_map(|line| Some((line.strip_prefix("| ")?.split_once(" | ")?.0, line.to_owned()))).collect();
    for row in rows {
        lines.insert(&row.case, format!("| {} | {commit} | {}", row.case, columns(row)));
    }
    let lines: String = lines.into_values().map(|line| line + "\n").collect();
    format!(
        "# {}\n\nWritten by the runs themselves: each row by the last run of its case, on the commit that it names.\n\n\
         {HEADING}\n|---|---|---|---:|---|\n{lines}",
        suite.heading()
    )
}

/// Returns the checkout's commit, with a `+` if files differ from it, but for those that runs write.
pub fn commit() -> anyhow::Result<String> {
    let head = git(&["rev-parse", "--short=7", "HEAD"])?;
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!kind-tests/*.md", ":!bench/*.md"])?;
    Ok(if changed.is_empty() { head } else { head + "+" })
}

fn git(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").arg("-C").arg(paths::repository()).args(arguments).output();
    let output = output.context("failed to run git")?;
    ensure!(output.status.success(), "failed to find the commit: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Formats bytes with a unit.
pub fn human(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "two digits are shown")]
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1e9 => format!("{:.2} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stays_one_line() {
        let row = Row { case: "a".into(), passed: false, seconds: 1.26, notes: vec!["x|y".into(), "1\n2".into()] };
        let table = table(&[row]);
        assert!(table.ends_with("| a | FAILED | 1.3 | x\\|y; 1 2 |\n"), "{table}");
    }

    #[test]
    fn a_run_of_some_cases_keeps_the_rows_of_others() {
        let row = |case: &str, passed| Row { case: case.into(), passed, seconds: 1.0, notes: vec!["a | b".into()] };
        let whole = document(Suite::Wire, &[row("x: 1 | 2", true), row("b", false)], "1111111", "");
        assert!(whole.contains("| b | 1111111 | FAILED | 1.0 | a \\| b |\n| x: 1"), "{whole}");
        let whole = document(Suite::Wire, &[row("a", true), row("c", false)], "1111111", "");
        let later = document(Suite::Wire, &[row("b", true), row("c", true)], "2222222+", &whole);
        let lines: Vec<_> = later.lines().skip_while(|line| !line.starts_with("|---")).skip(1).collect();
        assert_eq!(
            lines,
            [
                "| a | 1111111 | passed | 1.0 | a \\| b |",
                "| b | 2222222+ | passed | 1.0 | a \\| b |",
                "| c | 2222222+ | passed | 1.0 | a \\| b |",
            ]
        );
        assert_eq!(document(Suite::Wire, &[], "3333333", &later), later);
    }
}
