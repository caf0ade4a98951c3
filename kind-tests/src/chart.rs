//! The chart's README: the table of its values, from the comments of `values.yaml`, in the style of helm-docs.

use anyhow::{Context as _, ensure};
use serde_yaml::Value;

use crate::paths;

/// Line of the README's template in whose place the table is.
const PLACE: &str = "{{ template \"chart.valuesTable\" . }}";

/// A documented value.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    path: String,
    kind: String,
    default: String,
    text: String,
}

/// Returns the README of the chart, made of its template and its values.
///
/// # Errors
/// If a file can't be read, or a value has no comment.
pub fn readme() -> anyhow::Result<String> {
    let chart = paths::repository().join("charts/s3-migration");
    let read = |name: &str| {
        std::fs::read_to_string(chart.join(name)).with_context(|| format!("failed to read {name} of the chart"))
    };
    let template = read("README.md.gotmpl")?;
    ensure!(template.matches(PLACE).count() == 1, "README.md.gotmpl has no line {PLACE}");
    Ok(template.replace(PLACE, &table(&rows(&read("values.yaml")?)?)))
}

fn table(rows: &[Row]) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let line = |row: &Row| format!("| {} | {} | `{}` | {} |", row.path, row.kind, cell(&row.default), cell(&row.text));
    let lines: Vec<String> = rows.iter().map(line).collect();
    format!("| Key | Type | Default | Description |\n|---|---|---|---|\n{}", lines.join("\n"))
}

/// Returns the values that have a comment `# -- `, in the order of the file. What is below one belongs to it.
fn rows(text: &str) -> anyhow::Result<Vec<Row>> {
    let values: Value = serde_yaml::from_str(text).context("failed to read values")?;
    let (mut rows, mut above, mut comment) = (Vec::<Row>::new(), Vec::<(usize, String)>::new(), Vec::<&str>::new());
    for line in text.lines() {
        if let Some(rest) = line.trim_start().strip_prefix('#') {
            comment.push(rest.strip_prefix(' ').unwrap_or(rest));
            continue;
        }
        let words = std::mem::take(&mut comment).join(" ");
        let Some((indent, key)) = key_of(line) else { continue };
        above.retain(|(before, _)| *before < indent);
        above.push((indent, key.to_owned()));
        let path = above.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
        let is_below = |row: &Row| path.strip_prefix(&row.path).is_some_and(|rest| rest.starts_with('.'));
        if rows.iter().any(is_below) {
            continue;
        }
        let value = above.iter().try_fold(&values, |value, (_, key)| value.get(key));
        let value = value.with_context(|| format!("{path} is not in the values"))?;
        match words.strip_prefix("-- ") {
            Some(text) => rows.push(row(&path, value, text)?),
            None => ensure!(value.as_mapping().is_some_and(|m| !m.is_empty()), "{path} has no comment `# -- `"),
        }
    }
    ensure!(!rows.is_empty(), "there are no values");
    Ok(rows)
}

/// Returns indentation and key of a line `key: …` that is not in a list.
fn key_of(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start();
    let (key, _) = text.split_once(':')?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric());
    is_key.then(|| (line.len() - text.len(), key))
}

/// `text` may begin with the type in brackets, for values that don't show it.
fn row(path: &str, value: &Value, text: &str) -> anyhow::Result<Row> {
    let given = text.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    let (kind, text) = given.unwrap_or_else(|| (kind_of(value), text));
    let default = serde_json::to_string(value).with_context(|| format!("failed to write {path}"))?;
    Ok(Row { path: path.to_owned(), kind: kind.to_owned(), default, text: text.to_owned() })
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "any",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Sequence(_) => "list",
        Value::Mapping(_) | Value::Tagged(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rows_and_groups_are_not() {
        let text = "# Of all.\na:\n  # -- First,\n  # in two lines.\n  b: \"\"\n  # -- (list) Second.\n  c: null\n\
                    # -- Whole.\nd:\n  - e: 1\n    f: 2\n  - g: 3\n";
        let row = |path: &str, kind: &str, default: &str, text: &str| Row {
            path: path.to_owned(),
            kind: kind.to_owned(),
            default: default.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            rows(text).unwrap(),
            [
                row("a.b", "string", "\"\"", "First, in two lines."),
                row("a.c", "list", "null", "Second."),
                row("d", "list", "[{\"e\":1,\"f\":2},{\"g\":3}]", "Whole."),
            ]
        );
    }

    #[test]
    fn a_value_needs_a_comment() {
        for text in ["a: 1\n", "# About it.\na: 1\n", "a:\n  # -- One.\n  b: 1\n  c: 2\n", "# -- x\na: 1\nb: {}\n"] {
            assert!(rows(text).is_err(), "{text}");
        }
    }
}
