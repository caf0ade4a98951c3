//! The expressions of the chart's dashboard, as Grafana sends them for one job.

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// An expression of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Title of the panel, or name of the variable.
    pub title: String,
    /// The expression, with the values of the variables.
    pub expression: String,
    /// Label that the answer has to have: that of a variable.
    pub label: Option<String>,
}

/// Returns the expressions of all panels and variables of a dashboard for a job.
///
/// # Errors
/// If an expression has a variable that the dashboard does not have, or a form that Grafana does not send as it is.
pub fn queries(dashboard: &Value, namespace: &str, job: &str) -> anyhow::Result<Vec<Query>> {
    let mut found = Vec::new();
    collect(&dashboard["panels"], &mut found);
    let variables = dashboard.pointer("/templating/list").and_then(Value::as_array);
    for variable in variables.context("the dashboard has no variables")? {
        if let Some(definition) = variable["definition"].as_str() {
            found.push(values(variable["name"].as_str().unwrap_or_default(), definition)?);
        }
    }
    for query in &mut found {
        query.expression = query.expression.replace("$job_namespace", namespace).replace("$job_name", job);
        ensure!(!query.expression.contains('$'), "an unknown variable: {}", query.expression);
    }
    Ok(found)
}

/// Collects the expressions of panels, and of those in rows.
fn collect(panels: &Value, found: &mut Vec<Query>) {
    for panel in panels.as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        let targets = panel["targets"].as_array().into_iter().flatten();
        found.extend(targets.filter_map(|target| target["expr"].as_str()).map(|expression| Query {
            title: title.to_owned(),
            expression: expression.to_owned(),
            label: None,
        }));
        collect(&panel["panels"], found);
    }
}

/// Returns the query of a variable. Grafana asks for the values of a label by the API of series; the same series answer
/// to an expression.
fn values(name: &str, definition: &str) -> anyhow::Result<Query> {
    let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let parts = inner.and_then(|inner| inner.rsplit_once(", "));
    let (selector, label) = parts.with_context(|| format!("variable {name} has no values of a label: {definition}"))?;
    Ok(Query {
        title: format!("variable {name}"),
        expression: format!("count by ({label}) ({selector})"),
        label: Some(label.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_found_in_rows_and_variables_have_values() {
        let dashboard = json!({
            "panels": [
                {"title": "a", "targets": [{"expr": "x{n=~\"$job_namespace\"}"}, {"expr": "y"}]},
                {"title": "row", "panels": [{"title": "b", "targets": [{"expr": "z{j=~\"$job_name\"}"}]}]},
            ],
            "templating": {"list": [
                {"name": "datasource", "query": "prometheus"},
                {"name": "job_name", "definition": "label_values(p{n=~\"$job_namespace\"}, job_name)"},
            ]},
        });
        let found = queries(&dashboard, "media", "photos").unwrap();
        let found: Vec<_> =
            found.iter().map(|q| (q.title.as_str(), q.expression.as_str(), q.label.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("a", "x{n=~\"media\"}", None),
                ("a", "y", None),
                ("b", "z{j=~\"photos\"}", None),
                ("variable job_name", "count by (job_name) (p{n=~\"media\"})", Some("job_name")),
            ]
        );
    }

    #[test]
    fn unknown_variables_are_errors() {
        let of =
            |expression: &str| json!({"panels": [{"targets": [{"expr": expression}]}], "templating": {"list": []}});
        assert!(queries(&of("rate(x[$__rate_interval])"), "n", "j").is_err());
        let list = json!([{"name": "v", "definition": "metrics(x)"}]);
        assert!(queries(&json!({"templating": {"list": list}}), "n", "j").is_err());
    }

    #[test]
    fn the_dashboard_of_the_chart_has_an_expression_in_each_panel() {
        let path = crate::paths::repository().join("charts/s3-migration/files/dashboard.json");
        let text = std::fs::read_to_string(path).unwrap();
        let found = queries(&serde_json::from_str(&text).unwrap(), "media", "photos").unwrap();
        let places = text.matches("\"expr\": ").count() + text.matches("\"definition\": ").count();
        assert_eq!(found.len(), places);
        assert!(found.iter().all(|query| !query.title.is_empty()), "{found:#?}");
    }
}
