//! What the Prometheus operator makes of the chart's monitors: the scrape configurations, with the relabelling. Targets
//! come from files, see [`discovery`](super::discovery).
//!
//! Source: `generatePodMonitorConfig`, `generateServiceMonitorConfig` and `generateK8SSDConfig` in `pkg/prometheus/promcfg.go`
//! of prometheus-operator. A monitor with a field that is not translated here is an error, and not tested by halves.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::discovery::{Role, Search, meta, sanitized};

/// The specification of a `PodMonitor` or `ServiceMonitor`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    namespace_selector: NamespaceSelector,
    selector: Selector,
    #[serde(alias = "podMetricsEndpoints")]
    endpoints: Vec<Endpoint>,
}

/// The namespaces of what is scraped: by default the monitor's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct NamespaceSelector {
    any: bool,
    match_names: Vec<String>,
}

/// The labels of what is scraped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

/// A port that is scraped.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
}

/// Returns the scrape configurations of a `PodMonitor` or `ServiceMonitor`, and how their targets are found. These are
/// in a file of the directory.
///
/// # Errors
/// If the document is another one, or has fields that are not translated.
pub fn scrape_configs(monitor: &Value, directory: &Path) -> anyhow::Result<(Vec<Value>, Search)> {
    let (role, prefix) = match monitor["kind"].as_str() {
        Some("PodMonitor") => (Role::Pod, "podMonitor"),
        Some("ServiceMonitor") => (Role::Endpoints, "serviceMonitor"),
        other => anyhow::bail!("failed to translate a monitor: its kind is {other:?}"),
    };
    let text = |name: &str| monitor["metadata"][name].as_str().with_context(|| format!("the monitor has no {name}"));
    let (namespace, name) = (text("namespace")?, text("name")?);
    let spec = Spec::deserialize(&monitor["spec"]).with_context(|| format!("failed to translate monitor {name}"))?;
    let NamespaceSelector { any, match_names } = &spec.namespace_selector;
    let names = if match_names.is_empty() { vec![namespace.to_owned()] } else { match_names.clone() };
    let file = directory.join(format!("{prefix}.json"));
    let search = Search { role, namespaces: (!any).then_some(names), file };
    let configs = spec.endpoints.iter().enumerate().map(|(number, endpoint)| {
        json!({
            "job_name": format!("{prefix}/{namespace}/{name}/{number}"),
            "file_sd_configs": [{"files": [search.file]}],
            "scrape_interval": endpoint.interval,
            "metrics_path": endpoint.path,
            "relabel_configs": relabelling(role, &spec.selector, endpoint, &format!("{namespace}/{name}")),
        })
    });
    Ok((configs.collect(), search))
}

fn relabelling(role: Role, selector: &Selector, endpoint: &Endpoint, monitor: &str) -> Vec<Value> {
    let (object, port) = match role {
        Role::Pod => ("pod", "pod_container_port_name"),
        Role::Endpoints => ("service", "endpoint_port_name"),
    };
    let copy = |from: &str, to: &str| json!({"source_labels": [meta(from)], "target_label": to});
    let set = |label: &str, value: &str| json!({"target_label": label, "replacement": value});
    let mut rules = vec![json!({"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"})];
    // Pods that have ended are no targets. The operator puts this first for pods and later for services: the same.
    rules.push(json!({"action": "drop", "source_labels": [meta("pod_phase")], "regex": "(Failed|Succeeded)"}));
    rules.extend(selector.match_labels.iter().map(|(label, value)| {
        let label = sanitized(label);
        let names = [meta(&format!("{object}_label_{label}")), meta(&format!("{object}_labelpresent_{label}"))];
        json!({"action": "keep", "source_labels": names, "regex": format!("({value});true")})
    }));
    rules.push(json!({"action": "keep", "source_labels": [meta(port)], "regex": endpoint.port}));
    rules.push(copy("namespace", "namespace"));
    if role == Role::Endpoints {
        rules.push(copy("service_name", "service"));
    }
    rules.push(copy("pod_container_name", "container"));
    rules.push(copy("pod_name", "pod"));
    rules.push(match role {
        Role::Pod => set("job", monitor),
        Role::Endpoints => {
            json!({"source_labels": [meta("service_name")], "target_label": "job", "replacement": "${1}"})
        }
    });
    rules.push(set("endpoint", &endpoint.port));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(kind: &str, endpoints: &str) -> Value {
        json!({
            "kind": kind,
            "metadata": {"name": "m", "namespace": "n"},
            "spec": {
                "selector": {"matchLabels": {"app.kubernetes.io/name": "x"}},
                endpoints: [{"port": "metrics", "path": "/metrics", "interval": "1s"}],
            },
        })
    }

    fn has(rules: &Value, rule: &Value) -> bool {
        rules.as_array().unwrap().contains(rule)
    }

    #[test]
    fn a_pod_monitor_keeps_ports_of_pods_with_the_labels() {
        let mut monitor = monitor("PodMonitor", "podMetricsEndpoints");
        monitor["spec"]["namespaceSelector"] = json!({"any": true});
        let (configs, search) = scrape_configs(&monitor, Path::new("/d")).unwrap();
        assert_eq!(configs.len(), 1);
        let config = &configs[0];
        assert_eq!(config["job_name"], "podMonitor/n/m/0");
        assert_eq!(config["file_sd_configs"], json!([{"files": ["/d/podMonitor.json"]}]));
        assert_eq!(search, Search { role: Role::Pod, namespaces: None, file: "/d/podMonitor.json".into() });
        assert_eq!((&config["scrape_interval"], &config["metrics_path"]), (&json!("1s"), &json!("/metrics")));
        let rules = &config["relabel_configs"];
        let labels = [
            "__meta_kubernetes_pod_label_app_kubernetes_io_name",
            "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name",
        ];
        assert!(has(rules, &json!({"action": "keep", "source_labels": labels, "regex": "(x);true"})), "{rules:#}");
        let port = ["__meta_kubernetes_pod_container_port_name"];
        assert!(has(rules, &json!({"action": "keep", "source_labels": port, "regex": "metrics"})), "{rules:#}");
        assert!(has(rules, &json!({"target_label": "job", "replacement": "n/m"})), "{rules:#}");
    }

    #[test]
    fn a_service_monitor_looks_in_its_own_namespace_or_in_those_that_it_names() {
        let mut monitor = monitor("ServiceMonitor", "endpoints");
        for (selector, expected) in
            [(json!({}), vec!["n"]), (json!({"any": false, "matchNames": ["a", "b"]}), vec!["a", "b"])]
        {
            monitor["spec"]["namespaceSelector"] = selector;
            let (_, search) = scrape_configs(&monitor, Path::new("/d")).unwrap();
            assert_eq!(search.role, Role::Endpoints);
            assert_eq!(search.namespaces.unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_translated_is_an_error() {
        let mut monitor = monitor("PodMonitor", "podMetricsEndpoints");
        monitor["spec"]["podMetricsEndpoints"][0]["honorLabels"] = json!(true);
        let error = format!("{:#}", scrape_configs(&monitor, Path::new("/d")).unwrap_err());
        assert!(error.contains("honorLabels"), "{error}");
        assert!(scrape_configs(&json!({"kind": "Probe"}), Path::new("/d")).is_err());
    }
}
