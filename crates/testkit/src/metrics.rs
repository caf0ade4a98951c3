//! Compares exported metrics with the tables of `docs/METRICS.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Labels that every metric of a program has, which the document says once, and that of buckets of histograms.
const COMMON: [&str; 3] = ["job_namespace", "job_name", "le"];
/// What follows the name of a counter or a histogram in samples.
const SUFFIXES: [&str; 4] = ["_total", "_bucket", "_sum", "_count"];

#[derive(Default)]
struct Found<'a> {
    kind: &'a str,
    unit: &'a str,
    help: &'a str,
    labels: BTreeSet<&'a str>,
    has_samples: bool,
}

/// Returns the rows of a table of the metrics in an `OpenMetrics` text, in its order: name, type, unit, labels,
/// meaning.
///
/// # Errors
/// If a metric has no sample, so that its labels are unknown, or lacks a description.
pub fn rows(text: &str) -> Result<Vec<String>, String> {
    let (mut order, mut all) = (Vec::new(), BTreeMap::<&str, Found<'_>>::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if let ["#", what, name, rest] = words[..] {
            if what == "HELP" {
                order.push(name);
            }
            let found = all.entry(name).or_default();
            match what {
                "HELP" => found.help = rest,
                "TYPE" => found.kind = rest,
                "UNIT" => found.unit = rest,
                _ => return Err(format!("unknown line {line}")),
            }
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let base = SUFFIXES
            .iter()
            .find_map(|suffix| Some(name.strip_suffix(suffix)).flatten().filter(|n| all.contains_key(n)));
        let found = all.get_mut(base.unwrap_or(name)).ok_or_else(|| format!("{line} has no description"))?;
        found.has_samples = true;
        let labels = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
        found.labels.extend(names.filter(|name| !COMMON.contains(name)));
    }
    order.into_iter().map(|name| row(name, &all[name])).collect()
}

fn row(name: &str, found: &Found<'_>) -> Result<String, String> {
    let Found { kind, unit, help, labels, has_samples } = found;
    if !has_samples || kind.is_empty() || help.is_empty() {
        return Err(format!("{name} has no sample, type or description"));
    }
    let total = if *kind == "counter" { "_total" } else { "" };
    let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    Ok(format!("| `{name}{total}` | {kind} | {} | {} | {help} |", or_none(unit), or_none(&labels.join(", "))))
}

/// Returns the rows of the table under a heading of a document.
pub fn documented<'a>(document: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = document.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `")).collect()
}

/// Has promtool check metrics in the text format of Prometheus.
///
/// # Errors
/// If promtool is missing, or finds a fault in form or names.
pub fn promtool_check(text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("failed to run promtool (Debian's package prometheus): {error}");
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    let written = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() && written.trim().is_empty() { Ok(()) } else { Err(written) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_of_samples_and_descriptions() {
        let text = "# HELP a_seconds Time\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                    a_seconds_sum{job_name=\"x\",side=\"s\"} 1.0\n\
                    a_seconds_bucket{job_name=\"x\",side=\"s\",le=\"+Inf\"} 1\n\
                    # HELP b Things\n# TYPE b counter\nb_total 3\n# EOF\n";
        let expected =
            ["| `a_seconds` | histogram | seconds | `side` | Time |", "| `b_total` | counter | - | - | Things |"];
        assert_eq!(rows(text).unwrap(), expected);
        let document = format!("## A\n{}\n## B\n{}\n", expected[0], expected[1]);
        assert_eq!(documented(&document, "## B"), expected[1..]);
        assert!(rows("# HELP b Things\n# TYPE b counter\n# EOF\n").is_err(), "no sample");
        assert!(rows("c 1\n").is_err(), "no description");
    }
}
