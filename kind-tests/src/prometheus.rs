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

pub use dashboard::{Query, queries};
use discovery::{Discovery, Search};

use crate::kubernetes::Cluster;
use crate::logs::{OPERATOR_NAMESPACE, OPERATORS};
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
/// How long it may take until a program that runs is read: Prometheus takes up new targets every 5 s, and a scrape may be
/// missed.
const FOUND: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_millis(500);

/// A running Prometheus, stopped on drop.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    directory: PathBuf,
    dashboard: Value,
    program: Program,
    discovery: Discovery,
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
    /// installed release; waits until it reads the operators.
    pub async fn start(cluster: &Cluster, name: &str) -> anyhow::Result<Self> {
        let directory = paths::results()?.join(format!("{name}-prometheus"));
        std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
        let documents = rendered()?;
        let (config, searches) = write_config(&directory, &documents)?;
        let discovery = Discovery::follow(&cluster.client(), searches);
        let address = free_address()?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let program = Program::start("prometheus", &directory, &mut command)
            .context("failed to run Prometheus: install it (Debian: prometheus)")?;
        let dashboard = dashboard_of(&documents)?;
        let mut this = Self { address, directory, dashboard, program, discovery };
        until("Prometheus to be ready", SOON, Duration::from_millis(100), async || {
            this.program.check_running()?;
            Ok(this.get("/-/ready").await.ok().map(drop))
        })
        .await?;
        this.until_operators_are_read().await?;
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
        queries(&self.dashboard, namespace, job)
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

    /// Waits until Prometheus reads all operators of the release.
    pub async fn until_operators_are_read(&self) -> anyhow::Result<()> {
        self.until_read(OPERATOR_NAMESPACE, "operator", usize::try_from(OPERATORS)?).await
    }

    /// Waits until Prometheus reads so many containers of a name in a namespace.
    ///
    /// # Errors
    /// If that does not happen, with what is read instead and why not.
    async fn until_read(&self, namespace: &str, container: &str, number: usize) -> anyhow::Result<()> {
        let (mut why, what) = (String::new(), format!("Prometheus to read each {container}"));
        let read = until(&what, FOUND, EVERY, async || {
            let unread = unread(&self.targets().await?, namespace, container, number);
            why = unread.clone().unwrap_or_default();
            Ok(unread.is_none().then_some(()))
        });
        read.await.with_context(|| why.clone())
    }

    /// Waits until an expression has a series, as comparisons have whose condition holds.
    pub async fn until_true(&self, what: &str, expression: &str, limit: Duration) -> anyhow::Result<()> {
        let holds = async || Ok((!self.query(expression).await?.is_empty()).then_some(()));
        until(what, limit, EVERY, holds).await.with_context(|| format!("{expression} has no series"))
    }

    async fn data(&self, path: &str) -> anyhow::Result<Value> {
        self.discovery.check()?;
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

/// Returns why fewer containers of a name are read than there should be, or none if all are.
fn unread(targets: &[Target], namespace: &str, container: &str, number: usize) -> Option<String> {
    let has = |target: &Target, name: &str, value: &str| target.labels.get(name).is_some_and(|found| found == value);
    let is_its = |target: &&Target| has(target, "namespace", namespace) && has(target, "container", container);
    let found: Vec<&Target> = targets.iter().filter(is_its).collect();
    let up = found.iter().filter(|target| target.health == "up").count();
    if up >= number {
        return None;
    }
    let down = found.iter().filter(|target| target.health != "up").map(|target| {
        let pod = target.labels.get("pod").map_or("a pod", String::as_str);
        let error = if target.last_error.is_empty() { "no scrape yet" } else { &target.last_error };
        format!("; {pod} is {}: {error}", target.health)
    });
    let down: String = down.collect();
    Some(format!(
        "{up} of {number} with the container {container} are read in {namespace}, and {} were found, among {} \
         targets{down}",
        found.len(),
        targets.len(),
    ))
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
    fn what_is_not_read_is_told_with_the_reason() {
        let target = |container: &str, health: &str, last_error: &str| Target {
            labels: [("namespace", "n"), ("container", container), ("pod", "p-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            health: health.to_owned(),
            last_error: last_error.to_owned(),
        };
        let up = target("operator", "up", "");
        assert_eq!(unread(&[up.clone(), up.clone()], "n", "operator", 2), None);
        let refused = target("operator", "down", "connection refused");
        let why = unread(&[up.clone(), refused], "n", "operator", 2).unwrap();
        assert!(why.contains("1 of 2") && why.contains("p-1 is down: connection refused"), "{why}");
        let why = unread(&[up.clone(), target("worker", "up", "")], "elsewhere", "operator", 1).unwrap();
        assert!(why.contains("0 of 1") && why.contains("0 were found, among 2 targets"), "{why}");
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
