//! A real Prometheus on this machine. It chooses the programs of the cluster by what the Prometheus operator would make of
//! the chart's monitors, and has the chart's alerts.

mod dashboard;
mod discovery;
mod monitors;
mod rules;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub use dashboard::Query;
use discovery::Search;

use crate::kubernetes::Cluster;
use crate::programs::Program;
use crate::wait::until;
use crate::{helm, paths};

/// Every time of an alert is divided by this: a condition that has to hold for 30 minutes has to hold for one.
pub const FASTER: u64 = 30;
/// Interval between scrapes. A jobsender of a few seconds is seen several times.
const INTERVAL: &str = "1s";
/// Kinds of the Prometheus operator.
const KINDS: [&str; 3] = ["PodMonitor", "ServiceMonitor", "PrometheusRule"];
const SOON: Duration = Duration::from_secs(30);

/// A running Prometheus, stopped on drop.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    directory: PathBuf,
    dashboard: Value,
    program: Program,
    _discovery: JoinSet<()>,
}

/// A series with its value, as the answer to an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Labels of the series.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// An alert whose condition holds.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// Its labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// `pending`, or `firing` once the condition has held for long enough.
    pub state: String,
}

/// What is scraped.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Labels of all its series.
    pub labels: BTreeMap<String, String>,
    /// `up`, `down`, or `unknown` before the first scrape.
    pub health: String,
    /// Why the last scrape failed; empty if it did not.
    pub last_error: String,
}

impl Prometheus {
    /// Starts Prometheus for a cluster with the monitors and alerts of this checkout's chart, and the values of the
    /// installed release.
    pub async fn start(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        let directory = paths::results()?.join(format!("{name}-prometheus"));
        std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
        let documents = rendered()?;
        let (config, searches) = write_config(&directory, &documents)?;
        let discovery = discovery::follow(&cluster.client(), searches);
        let address = free_address()?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let program = Program::start("prometheus", &directory, &mut command)
            .context("failed to run Prometheus: install it (Debian: prometheus)")?;
        let dashboard = dashboard_of(&documents)?;
        let mut this = Self { address, directory, dashboard, program, _discovery: discovery };
        until("Prometheus to be ready", SOON, Duration::from_millis(100), async || {
            this.program.check_running()?;
            Ok(this.get("/-/ready").await.ok().map(drop))
        })
        .await?;
        Ok(this)
    }

    /// Stops Prometheus and removes its data. After a failure both data and log are left.
    pub fn remove(self) -> anyhow::Result<()> {
        self.program.kill()?;
        std::fs::remove_dir_all(&self.directory)
            .with_context(|| format!("failed to remove {}", self.directory.display()))
    }

    /// Returns the expressions of the dashboard for a job.
    pub fn queries(&self, namespace: &str, job: &str) -> anyhow::Result<Vec<Query>> {
        dashboard::queries(&self.dashboard, namespace, job)
    }

    /// Evaluates an expression now.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Sample>> {
        let encoded = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let data = self.data(&format!("/api/v1/query?query={encoded}")).await?;
        samples(&data).with_context(|| format!("failed to read the answer to {expression}"))
    }

    /// Returns the alerts whose condition holds.
    pub async fn alerts(&self) -> anyhow::Result<Vec<Alert>> {
        let mut data = self.data("/api/v1/alerts").await?;
        serde_json::from_value(data["alerts"].take()).context("failed to read the alerts")
    }

    /// Returns the names of all alerts.
    pub async fn alert_names(&self) -> anyhow::Result<Vec<String>> {
        let data = self.data("/api/v1/rules?type=alert").await?;
        let groups = data["groups"].as_array().context("Prometheus has no rules")?;
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        Ok(rules.filter_map(|rule| rule["name"].as_str().map(ToOwned::to_owned)).collect())
    }

    /// Returns what is scraped.
    pub async fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let mut data = self.data("/api/v1/targets?state=active").await?;
        serde_json::from_value(data["activeTargets"].take()).context("failed to read the targets")
    }

    async fn data(&self, path: &str) -> anyhow::Result<Value> {
        let mut answer: Value = serde_json::from_slice(&self.get(path).await?).context("failed to read an answer")?;
        ensure!(answer["status"] == "success", "Prometheus answered {path} with {answer}");
        Ok(answer["data"].take())
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let client: Client<_, crate::proxy::Body> = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.get(format!("http://{}{path}", self.address).parse()?).await;
        let answer = answer.context("failed to ask Prometheus")?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "Prometheus answered {path} with {status}: {}", String::from_utf8_lossy(&body));
        Ok(body.to_vec())
    }
}

/// Renders the chart as the installed release would be with everything that is read by the Prometheus operator.
fn rendered() -> anyhow::Result<Vec<Value>> {
    let mut values = helm::values()?;
    if values.is_null() {
        values = json!({});
    }
    for (name, value) in [
        ("podMonitor", json!({"enabled": true, "interval": INTERVAL})),
        ("serviceMonitor", json!({"enabled": true, "interval": INTERVAL})),
        ("prometheusRule", json!({"enabled": true})),
        ("dashboard", json!({"enabled": true})),
    ] {
        values[name] = value;
    }
    let kinds: Vec<String> = KINDS.iter().map(|kind| format!("monitoring.coreos.com/v1/{kind}")).collect();
    helm::render_release(&values, &kinds)
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> anyhow::Result<&'a Value> {
    documents.iter().find(|document| document["kind"] == *kind).with_context(|| format!("there is no {kind}"))
}

/// Writes configuration, alerts, and empty files of targets; returns the path of the configuration, and how targets are
/// found.
fn write_config(directory: &Path, documents: &[Value]) -> anyhow::Result<(PathBuf, Vec<Search>)> {
    let write = |name: &str, value: &Value| {
        let path = directory.join(name);
        // JSON is YAML.
        std::fs::write(&path, value.to_string()).with_context(|| format!("failed to write {}", path.display()))?;
        anyhow::Ok(path)
    };
    let (mut jobs, mut searches) = (Vec::new(), Vec::new());
    for kind in ["PodMonitor", "ServiceMonitor"] {
        let (configs, search) = monitors::scrape_configs(of_kind(documents, kind)?, directory)?;
        discovery::write(&search.file, &json!([]))?;
        jobs.extend(configs);
        searches.push(search);
    }
    let groups = rules::faster(&of_kind(documents, "PrometheusRule")?["spec"]["groups"], FASTER)?;
    let rules = write("rules.yaml", &json!({"groups": groups}))?;
    let config = json!({
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [rules],
        "scrape_configs": jobs,
    });
    Ok((write("prometheus.yaml", &config)?, searches))
}

/// Returns the dashboard that Grafana would load.
fn dashboard_of(documents: &[Value]) -> anyhow::Result<Value> {
    let mut texts = documents.iter().filter_map(|document| document["data"]["s3-migration.json"].as_str());
    serde_json::from_str(texts.next().context("there is no dashboard")?).context("failed to read the dashboard")
}

/// Returns an address of the loopback interface that nothing listens on now.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
    listener.local_addr().context("failed to find a free port")
}

/// Reads the answer to an expression: a vector, or one number.
fn samples(data: &Value) -> anyhow::Result<Vec<Sample>> {
    let value = |pair: &Value| -> anyhow::Result<f64> {
        let text = pair[1].as_str().with_context(|| format!("{pair} is no value"))?;
        text.parse().with_context(|| format!("{text} is no number"))
    };
    match data["resultType"].as_str() {
        Some("scalar") => Ok(vec![Sample { labels: BTreeMap::new(), value: value(&data["result"])? }]),
        Some("vector") => {
            let series = data["result"].as_array().context("the answer has no series")?;
            let sample = |series: &Value| {
                anyhow::Ok(Sample {
                    labels: BTreeMap::deserialize(&series["metric"])?,
                    value: value(&series["value"])?,
                })
            };
            series.iter().map(sample).collect()
        }
        other => anyhow::bail!("the answer is of type {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let series = |value: &str| json!({"metric": {"side": "source"}, "value": [1.5, value]});
        let vector = json!({"resultType": "vector", "result": [series("0.25"), series("NaN"), series("+Inf")]});
        let found = samples(&vector).unwrap();
        assert_eq!((found[0].labels["side"].as_str(), found[0].value), ("source", 0.25));
        assert!(found[1].value.is_nan() && found[2].value.is_infinite());
        let scalar = json!({"resultType": "scalar", "result": [1.5, "7"]});
        assert_eq!(samples(&scalar).unwrap(), [Sample { labels: BTreeMap::new(), value: 7.0 }]);
        assert!(samples(&json!({"resultType": "matrix", "result": []})).is_err());
        assert!(samples(&json!({"resultType": "vector", "result": [series("x")]})).is_err());
    }

    #[test]
    #[ignore = "needs promtool: make metrics-check"]
    fn promtool_accepts_the_configuration() {
        let directory = std::env::temp_dir().join(format!("kind-tests-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let monitor = |kind: &str, endpoints: &str| {
            json!({
                "kind": kind,
                "metadata": {"name": "s3-migration", "namespace": "s3-migration-system"},
                "spec": {
                    "selector": {"matchLabels": {"app.kubernetes.io/name": "s3-migration"}},
                    endpoints: [{"port": "metrics", "path": "/metrics", "interval": INTERVAL}],
                },
            })
        };
        let alerts = paths::repository().join("charts/s3-migration/files/alerts.yaml");
        let alerts: Value = serde_yaml::from_str(&std::fs::read_to_string(alerts).unwrap()).unwrap();
        let groups = alerts["groups"].as_array().unwrap();
        let rules: usize = groups.iter().map(|group| group["rules"].as_array().unwrap().len()).sum();
        let documents = [
            monitor("PodMonitor", "podMetricsEndpoints"),
            monitor("ServiceMonitor", "endpoints"),
            json!({"kind": "PrometheusRule", "spec": alerts}),
        ];
        let config = write_config(&directory, &documents).unwrap().0;
        let output = Command::new("promtool").args(["check", "config"]).arg(config).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(output.status.success() && said.contains(&format!("{rules} rules found")), "{said}");
    }
}
