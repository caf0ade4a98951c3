//! What watches the programs: the chart's alerts and dashboard use metrics that exist, and each alert has a section of
//! the runbook and fires. The tests that need promtool are run by `make metrics-check`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use kind_tests::paths;
use serde_json::Value;

const ALERTS: &str = "charts/s3-migration/files/alerts.yaml";
const DASHBOARD: &str = "charts/s3-migration/files/dashboard.json";
const UNIT_TESTS: &str = "kind-tests/alerts.test.yaml";
const RUNBOOK: &str = "docs/RUNBOOK.md";
const METRICS: &str = "docs/METRICS.md";

/// Labels that all metrics of jobs have, and that of buckets of histograms.
const COMMON: [&str; 3] = ["job_namespace", "job_name", "le"];
/// Metrics of the operator itself, which have no job.
const WITHOUT_JOB: &str = "s3migration_leader";
/// Labels that Prometheus gives what it reads through the chart's `ServiceMonitor`.
const OF_OPERATORS: [&str; 2] = ["namespace", "service"];
/// What the file of the alerts has in place of the release's own operators, and the chart replaces.
const NAMED: &str = r#"namespace="s3-migration-system", service="s3-migration""#;

fn read(path: &str) -> String {
    std::fs::read_to_string(paths::repository().join(path)).unwrap()
}

/// Returns the rules of the alerts.
fn rules() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&read(ALERTS)).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{value} has no {name}"))
}

/// Returns all metrics of the document by their names in samples, with their labels.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for line in read(METRICS).lines().filter(|line| line.starts_with("| `s3migration_")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, kind, _, labels, ..] = cells[..] else { panic!("{line} is no row") };
        let name = name.trim_matches('`');
        let labels: BTreeSet<String> = labels.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
        let samples: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        all.extend(samples.iter().map(|suffix| (format!("{name}{suffix}"), labels.clone())));
    }
    assert!(all.len() > 40, "there are only {} metrics", all.len());
    all
}

/// Returns the metrics that an expression names, each with the labels of the braces that follow.
fn used(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let places: Vec<_> = expression.match_indices("s3migration_").map(|(place, _)| place).collect();
    let uses = places.into_iter().map(|place| {
        let rest = &expression[place..];
        let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
        let braces = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = braces.map_or("", |(labels, _)| labels).split('"').step_by(2);
        let names = labels.map(|part| part.trim_matches([',', ' ', '=', '~', '!']).to_owned());
        (name, names.filter(|name| !name.is_empty()).collect())
    });
    uses.collect()
}

/// Returns the labels after `by` and `on`.
fn grouped(expression: &str) -> Vec<String> {
    let lists = [" by (", " on ("].into_iter().flat_map(|word| expression.split(word).skip(1));
    let lists = lists.filter_map(|rest| rest.split_once(')')).flat_map(|(list, _)| list.split(','));
    lists.map(|label| label.trim().to_owned()).collect()
}

/// Returns what of an expression does not exist.
fn unknown(expression: &str, metrics: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> = COMMON.into();
    for (name, labels) in used(expression) {
        let Some(own) = metrics.get(&name) else {
            wrong.push(name);
            continue;
        };
        known.extend(own.iter().map(String::as_str));
        let common = if name == WITHOUT_JOB { &OF_OPERATORS[..] } else { &COMMON[..] };
        known.extend(common);
        let is_known = |label: &String| own.contains(label) || common.contains(&label.as_str());
        wrong.extend(labels.into_iter().filter(|label| !is_known(label)).map(|label| format!("{name}{{{label}}}")));
    }
    wrong.extend(grouped(expression).into_iter().filter(|label| !known.contains(label.as_str())));
    wrong
}

/// Collects all expressions of a dashboard: of its panels and of its variables.
fn expressions(value: &Value, found: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        if let (true, Some(text)) = (["expr", "definition"].contains(&name.as_str()), inner.as_str()) {
            found.push(text.to_owned());
        }
        expressions(inner, found);
    }
    for inner in value.as_array().into_iter().flatten() {
        expressions(inner, found);
    }
}

#[test]
fn alerts_and_dashboard_use_metrics_and_labels_that_exist() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut all: Vec<String> = rules().iter().map(|rule| text(rule, "expr").to_owned()).collect();
    let alerts = all.len();
    expressions(&dashboard, &mut all);
    assert!(alerts >= 9 && all.len() > alerts + 40, "{alerts} alerts, {} expressions", all.len());
    let metrics = metrics();
    let wrong: Vec<_> = all.iter().map(|one| (one, unknown(one, &metrics))).filter(|(_, w)| !w.is_empty()).collect();
    assert!(wrong.is_empty(), "{METRICS} does not have {wrong:#?}");
}

#[test]
fn what_does_not_exist_is_found() {
    let metrics = metrics();
    for (expression, expected) in [
        (r#"rate(s3migration_requests_total{status!="ok", job_name=~"$job"}[5m])"#, None),
        (r#"rate(s3migration_requests{status="ok"}[5m])"#, Some("s3migration_requests")),
        (r#"s3migration_requests_total{status="ok", verb="get"}"#, Some("s3migration_requests_total{verb}")),
        ("sum by (verb) (s3migration_requests_total)", Some("verb")),
        (r#"s3migration_leader{job_name="a"}"#, Some("s3migration_leader{job_name}")),
        (r#"max by (service) (s3migration_leader{namespace="a"})"#, None),
        ("max by (service) (s3migration_job_phase)", Some("service")),
    ] {
        assert_eq!(unknown(expression, &metrics), Vec::from_iter(expected), "{expression}");
    }
}

#[test]
fn alerts_about_operators_are_about_those_of_one_release() {
    let all: Vec<String> = rules().iter().map(|rule| text(rule, "expr").to_owned()).collect();
    let uses: Vec<&str> = all.iter().flat_map(|one| one.split(WITHOUT_JOB).skip(1)).collect();
    assert!(!uses.is_empty(), "no alert is about operators");
    let selected = format!("{{{NAMED}}}");
    let wrong: Vec<_> = uses.iter().filter(|rest| !rest.starts_with(&selected)).collect();
    assert!(wrong.is_empty(), "another release's operator would stand for this one's: {wrong:#?}");
    let template = read("charts/s3-migration/templates/prometheusrule.yaml");
    assert!(template.contains(&format!("`{NAMED}`")), "the chart does not replace {NAMED}");
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let dashboard = read(DASHBOARD);
    // Ends of batches by process, and when the next run is due, are for alerts of one's own.
    let left_out = ["s3migration_last_end_timestamp_seconds", "s3migration_next_schedule_timestamp_seconds"];
    let shown: BTreeSet<String> = used(&dashboard).into_iter().map(|(name, _)| name).collect();
    let missing: Vec<_> = metrics()
        .into_keys()
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"))
        .filter(|name| !shown.contains(name) && !left_out.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "the dashboard lacks {missing:#?}");
}

#[test]
fn every_alert_has_a_section_of_the_runbook_and_a_unit_test() {
    let sections: BTreeSet<String> =
        read(RUNBOOK).lines().filter_map(|line| line.strip_prefix("## ")).map(ToOwned::to_owned).collect();
    let names: BTreeSet<String> = rules().iter().map(|rule| text(rule, "alert").to_owned()).collect();
    assert_eq!(sections, names);
    let tests: Value = serde_yaml::from_str(&read(UNIT_TESTS)).unwrap();
    let cases = tests["tests"].as_array().unwrap().iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let fired: BTreeSet<String> =
        cases.filter(|case| case["exp_alerts"].is_array()).map(|case| text(case, "alertname").to_owned()).collect();
    assert_eq!(fired, names, "alerts that a unit test makes fire");
    for rule in rules() {
        let annotations = &rule["annotations"];
        assert!(annotations["summary"].is_string() && annotations["description"].is_string(), "{rule:#}");
        assert!(["critical", "warning", "info"].contains(&text(&rule["labels"], "severity")), "{rule:#}");
    }
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(paths::repository()).output();
    let output = output.unwrap_or_else(|error| panic!("failed to run promtool (Debian's package prometheus): {error}"));
    let written = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {}: {written}", arguments.join(" "));
}

#[test]
#[ignore = "needs promtool: make metrics-check"]
fn promtool_accepts_the_alerts_and_each_fires() {
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", UNIT_TESTS]);
}

#[test]
#[ignore = "needs promtool: make metrics-check"]
fn promtool_can_read_the_expressions_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut all = Vec::new();
    expressions(&dashboard, &mut all);
    all.retain(|expression| !expression.starts_with("label_values("));
    let rules: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(n, one)| serde_json::json!({"record": format!("panel:{n}"), "expr": one}))
        .collect();
    let file = format!("{}/dashboard-rules.yaml", env!("CARGO_TARGET_TMPDIR"));
    let groups = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, groups.to_string()).unwrap();
    promtool(&["check", "rules", &file]);
}
