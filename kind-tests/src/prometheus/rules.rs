//! The chart's alerts with shorter times, so that a test can wait for them.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// Units of Prometheus' durations, in milliseconds. Source: "Time Durations" in Prometheus' documentation of its queries.
const UNITS: [(&str, u64); 7] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
    ("y", 31_536_000_000),
];

/// Returns the groups of a `PrometheusRule` with all times divided: how long a condition has to hold, the ranges of
/// expressions, and the seconds that a time since something is compared with. Numbers of anything else stay.
///
/// # Errors
/// If a rule has a time that is not understood.
pub fn faster(groups: &Value, factor: u64) -> anyhow::Result<Value> {
    let mut groups = groups.clone();
    for group in groups.as_array_mut().context("there are no groups of rules")? {
        for rule in group["rules"].as_array_mut().context("a group has no rules")? {
            let expression = rule["expr"].as_str().context("a rule has no expression")?;
            rule["expr"] = Value::from(faster_expression(expression, factor)?);
            if let Some(time) = rule.get("for") {
                let time = time.as_str().context("a rule holds for a time that is no text")?;
                rule["for"] = Value::from(divided(time, factor)?);
            }
        }
    }
    Ok(groups)
}

fn faster_expression(expression: &str, factor: u64) -> anyhow::Result<String> {
    ensure!(!expression.contains(" offset "), "failed to divide an offset: {expression}");
    let mut parts = expression.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (range, rest) = part.split_once(']').with_context(|| format!("a range has no end: {expression}"))?;
        for piece in ["[", &divided(range, factor)?, "]", rest] {
            text.push_str(piece);
        }
    }
    if !text.contains("time()") {
        return Ok(text);
    }
    let (before, rest) = text.split_once("> ").with_context(|| format!("no time is compared: {expression}"))?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let seconds: u64 = rest[..digits].parse().with_context(|| format!("failed to read the seconds: {expression}"))?;
    Ok(format!("{before}> {}{}", seconds / factor, &rest[digits..]))
}

/// Returns a duration divided, in milliseconds.
fn divided(duration: &str, factor: u64) -> anyhow::Result<String> {
    let divided = milliseconds(duration)? / factor;
    ensure!(divided > 0, "failed to divide {duration} by {factor}: nothing is left");
    Ok(format!("{divided}ms"))
}

/// Returns a duration such as `1h30m` in milliseconds.
pub fn milliseconds(duration: &str) -> anyhow::Result<u64> {
    let (mut rest, mut sum) = (duration, 0_u64);
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = rest[..number].parse().with_context(|| format!("{duration} is no duration"))?;
        rest = &rest[number..];
        // `ms` comes before `m`, of which it would be one with something left.
        let Some((unit, each)) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)) else {
            bail!("{duration} is no duration");
        };
        sum += count * each;
        rest = &rest[unit.len()..];
    }
    ensure!(sum > 0, "{duration:?} is no duration");
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_read() {
        for (text, expected) in
            [("5m", Some(300_000)), ("1h30m", Some(5_400_000)), ("250ms", Some(250)), ("1m1ms", Some(60_001))]
                .into_iter()
                .chain(["", "5", "m", "5x", "1h ", "$__range", "0s"].map(|text| (text, None)))
        {
            assert_eq!(milliseconds(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn times_are_divided_and_other_numbers_are_not() {
        let groups = json!([{"name": "g", "rules": [
            {"alert": "A", "expr": "rate(x[10m]) / rate(y[1h]) > 0.05 and increase(x[10m]) > 20", "for": "30m"},
            {"alert": "B", "expr": "(time() - max by (a) (t)) > 3600\nunless z == 1", "for": "5m"},
            {"alert": "C", "expr": "x == 1"},
        ]}]);
        let rules = faster(&groups, 30).unwrap()[0]["rules"].clone();
        let expected = json!([
            {
                "alert": "A",
                "expr": "rate(x[20000ms]) / rate(y[120000ms]) > 0.05 and increase(x[20000ms]) > 20",
                "for": "60000ms",
            },
            {"alert": "B", "expr": "(time() - max by (a) (t)) > 120\nunless z == 1", "for": "10000ms"},
            {"alert": "C", "expr": "x == 1"},
        ]);
        assert_eq!(rules, expected);
    }

    #[test]
    fn a_time_that_is_not_understood_is_an_error() {
        for rule in [
            json!({"expr": "x[5m:1m]"}),
            json!({"expr": "x offset 5m"}),
            json!({"expr": "time() - x"}),
            json!({"expr": "x", "for": "1ms"}),
            json!({"for": "1m"}),
        ] {
            assert!(faster(&json!([{"rules": [rule]}]), 30).is_err(), "{rule}");
        }
    }

    #[test]
    fn the_alerts_of_the_chart_can_be_divided() {
        let path = crate::paths::repository().join("charts/s3-migration/files/alerts.yaml");
        let file: Value = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let before = file["groups"][0]["rules"].as_array().unwrap().clone();
        let after = faster(&file["groups"], super::super::FASTER).unwrap();
        for (before, after) in before.iter().zip(after[0]["rules"].as_array().unwrap()) {
            assert_eq!(before["alert"], after["alert"]);
            let has_range = before["expr"].as_str().unwrap().contains('[');
            assert_eq!(
                has_range || before["expr"].as_str().unwrap().contains("time()"),
                before["expr"] != after["expr"]
            );
            assert_eq!(before.get("for").is_some(), before.get("for") != after.get("for"), "{after:#}");
        }
    }
}
