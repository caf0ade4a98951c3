//! Finds what is scraped as Prometheus' own discovery in Kubernetes does, which Debian's package is built without, and
//! writes it to files that Prometheus follows. Targets have the labels that the relabelling of the monitors uses. A search
//! that fails for a while is an error of whatever is asked of Prometheus next, see [`Discovery::check`].
//!
//! Source: `kubernetes_sd_config`, roles `pod` and `endpoints`, and `file_sd_config` in Prometheus' documentation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Interval between looks.
const EVERY: Duration = Duration::from_secs(1);
/// How long a search may be without a success. Single requests fail while the API server is busy.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ports of the containers of pods.
    Pod,
    /// Ports of the endpoints of Services.
    Endpoints,
}

/// Where a monitor's targets are looked for, and the file that they are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// What is looked for.
    pub role: Role,
    /// The namespaces; `None` for all.
    pub namespaces: Option<Vec<String>>,
    /// The file.
    pub file: PathBuf,
}

/// Searches that go on until this is dropped.
#[derive(Debug)]
pub struct Discovery {
    looks: Vec<Arc<Mutex<Looks>>>,
    _tasks: JoinSet<()>,
}

/// How the looks of one search ended.
#[derive(Debug)]
struct Looks {
    /// The last success, or the beginning.
    succeeded: Instant,
    /// Why the last look failed; `None` after a success.
    error: Option<String>,
}

impl Discovery {
    /// Looks for targets from now on.
    pub fn follow(client: &Client, searches: Vec<Search>) -> Self {
        let (mut tasks, mut all) = (JoinSet::new(), Vec::new());
        for search in searches {
            let looks = Arc::new(Mutex::new(Looks { succeeded: Instant::now(), error: None }));
            all.push(looks.clone());
            let client = client.clone();
            tasks.spawn(async move {
                loop {
                    let ended = search.look(&client).await;
                    lock(&looks).record(&ended, Instant::now());
                    tokio::time::sleep(EVERY).await;
                }
            });
        }
        Self { looks: all, _tasks: tasks }
    }

    /// Checks that the searches work.
    ///
    /// # Errors
    /// If one has not succeeded for a while, with the reason.
    pub fn check(&self) -> anyhow::Result<()> {
        self.looks.iter().try_for_each(|looks| lock(looks).check(Instant::now()))
    }
}

fn lock(looks: &Mutex<Looks>) -> MutexGuard<'_, Looks> {
    // What is recorded is whole.
    looks.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Looks {
    fn record(&mut self, ended: &anyhow::Result<()>, now: Instant) {
        match ended {
            Ok(()) => *self = Self { succeeded: now, error: None },
            Err(error) => self.error = Some(format!("{error:#}")),
        }
    }

    fn check(&self, now: Instant) -> anyhow::Result<()> {
        let silent = now.saturating_duration_since(self.succeeded);
        if silent < PATIENCE {
            return Ok(());
        }
        let why = self.error.as_deref().unwrap_or("the API server does not answer");
        bail!("failed to find what Prometheus scrapes for {:.0} s: {why}", silent.as_secs_f64())
    }
}

impl Search {
    async fn look(&self, client: &Client) -> anyhow::Result<()> {
        let pods = self.list(client, "pods").await?;
        let found = match self.role {
            Role::Pod => pods.iter().flat_map(of_pod).collect::<Vec<_>>(),
            Role::Endpoints => {
                let services = self.list(client, "services").await?;
                let endpoints = self.list(client, "endpoints").await?;
                endpoints.iter().flat_map(|one| of_endpoints(one, &services, &pods)).collect()
            }
        };
        write(&self.file, &Value::from(found))
    }

    async fn list(&self, client: &Client, kind: &str) -> anyhow::Result<Vec<Value>> {
        let paths = match &self.namespaces {
            Some(names) => names.iter().map(|name| format!("/api/v1/namespaces/{name}/{kind}")).collect(),
            None => vec![format!("/api/v1/{kind}")],
        };
        let mut items = Vec::new();
        for path in paths {
            let answer = client.request(hyper::Request::get(&path).body(Vec::new())?).await;
            items.extend(items_of(answer.with_context(|| format!("failed to list {path}"))?, &path)?);
        }
        Ok(items)
    }
}

/// Returns the items of a list. One without any has an empty array.
fn items_of(mut answer: Value, path: &str) -> anyhow::Result<Vec<Value>> {
    let items = answer["items"].as_array_mut().map(std::mem::take);
    items.with_context(|| format!("failed to list {path}: the answer is no list: {answer}"))
}

/// Replaces a file as a whole: Prometheus must not read a part of it.
pub fn write(file: &Path, targets: &Value) -> anyhow::Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, targets.to_string()).with_context(|| format!("failed to write {}", new.display()))?;
    std::fs::rename(&new, file).with_context(|| format!("failed to write {}", file.display()))
}

/// Returns a target for each port of each container of a pod.
fn of_pod(pod: &Value) -> Vec<Value> {
    let Some(ip) = pod["status"]["podIP"].as_str() else { return Vec::new() };
    let mut targets = Vec::new();
    for container in list(&pod["spec"]["containers"]) {
        for port in list(&container["ports"]) {
            let mut labels = labels_of_pod(pod, Some(container));
            labels.extend(labels_of(&pod["metadata"], "pod"));
            labels.insert(meta("namespace"), text(&pod["metadata"]["namespace"]));
            labels.insert(meta("pod_container_port_name"), text(&port["name"]));
            targets.push(target(ip, &port["containerPort"], &labels));
        }
    }
    targets
}

/// Returns a target for each port of each address of the endpoints of a Service.
fn of_endpoints(endpoints: &Value, services: &[Value], pods: &[Value]) -> Vec<Value> {
    let metadata = &endpoints["metadata"];
    let is_named = |object: &&Value, of: &Value| {
        object["metadata"]["name"] == of["name"] && object["metadata"]["namespace"] == of["namespace"]
    };
    let Some(service) = services.iter().find(|service| is_named(service, metadata)) else { return Vec::new() };
    let mut targets = Vec::new();
    for subset in list(&endpoints["subsets"]) {
        for port in list(&subset["ports"]) {
            for address in list(&subset["addresses"]).iter().chain(list(&subset["notReadyAddresses"])) {
                let pod = pods.iter().find(|pod| is_named(pod, &address["targetRef"]));
                let has_port = |container: &&Value| {
                    list(&container["ports"]).iter().any(|open| open["containerPort"] == port["port"])
                };
                let mut labels = pod.map_or_else(BTreeMap::new, |pod| {
                    labels_of_pod(pod, list(&pod["spec"]["containers"]).iter().find(has_port))
                });
                labels.extend(labels_of(&service["metadata"], "service"));
                labels.insert(meta("namespace"), text(&metadata["namespace"]));
                labels.insert(meta("service_name"), text(&metadata["name"]));
                labels.insert(meta("endpoint_port_name"), text(&port["name"]));
                targets.push(target(address["ip"].as_str().unwrap_or_default(), &port["port"], &labels));
            }
        }
    }
    targets
}

fn labels_of_pod(pod: &Value, container: Option<&Value>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        (meta("pod_name"), text(&pod["metadata"]["name"])),
        (meta("pod_phase"), text(&pod["status"]["phase"])),
    ]);
    labels.extend(container.map(|container| (meta("pod_container_name"), text(&container["name"]))));
    labels
}

/// Returns the labels of an object in Prometheus' names.
fn labels_of(metadata: &Value, kind: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, value) in metadata["labels"].as_object().into_iter().flatten() {
        let name = sanitized(name);
        labels.insert(meta(&format!("{kind}_label_{name}")), text(value));
        labels.insert(meta(&format!("{kind}_labelpresent_{name}")), "true".to_owned());
    }
    labels
}

fn target(ip: &str, port: &Value, labels: &BTreeMap<String, String>) -> Value {
    json!({"targets": [format!("{ip}:{port}")], "labels": labels})
}

/// Returns the name of a label that Prometheus gives what it finds in Kubernetes.
pub fn meta(name: &str) -> String {
    format!("__meta_kubernetes_{name}")
}

/// Returns a label of Kubernetes as Prometheus writes it in the names of its own.
pub fn sanitized(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app.kubernetes.io/name": "x"}},
            "spec": {"containers": [
                {"name": "c", "ports": [{"name": "metrics", "containerPort": 8080}, {"name": "ui", "containerPort": 8081}]},
                {"name": "without"},
            ]},
            "status": {"phase": "Running", "podIP": "10.0.0.1"},
        })
    }

    #[test]
    fn a_search_that_fails_for_a_while_is_an_error_with_its_reason() {
        let began = Instant::now();
        let mut looks = Looks { succeeded: began, error: None };
        let after = |seconds| began + Duration::from_secs(seconds);
        looks.record(&Err(anyhow::anyhow!("connection refused").context("failed to list /api/v1/pods")), after(1));
        looks.check(after(14)).unwrap();
        let error = looks.check(after(15)).unwrap_err().to_string();
        assert!(error.contains("/api/v1/pods: connection refused"), "{error}");
        looks.record(&Ok(()), after(16));
        looks.check(after(30)).unwrap();
        // A request that hangs ends neither way.
        let error = looks.check(after(31)).unwrap_err().to_string();
        assert!(error.contains("does not answer"), "{error}");
    }

    #[test]
    fn an_answer_that_is_no_list_is_an_error() {
        assert_eq!(items_of(json!({"items": []}), "/p").unwrap(), Vec::<Value>::new());
        assert_eq!(items_of(json!({"items": [1]}), "/p").unwrap(), [json!(1)]);
        let error = items_of(json!({"kind": "Status", "message": "forbidden"}), "/p").unwrap_err().to_string();
        assert!(error.contains("/p") && error.contains("forbidden"), "{error}");
    }

    #[test]
    fn each_port_of_a_pod_is_a_target() {
        let found = of_pod(&pod());
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            json!({"targets": ["10.0.0.1:8080"], "labels": {
                "__meta_kubernetes_namespace": "n", "__meta_kubernetes_pod_name": "p",
                "__meta_kubernetes_pod_phase": "Running", "__meta_kubernetes_pod_container_name": "c",
                "__meta_kubernetes_pod_container_port_name": "metrics",
                "__meta_kubernetes_pod_label_app_kubernetes_io_name": "x",
                "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name": "true",
            }})
        );
        let mut without = pod();
        without["status"] = json!({"phase": "Pending"});
        assert!(of_pod(&without).is_empty(), "it has no address");
    }

    #[test]
    fn each_address_of_a_service_is_a_target() {
        let service = json!({"metadata": {"name": "s", "namespace": "n", "labels": {"a": "b"}}});
        let endpoints = json!({
            "metadata": {"name": "s", "namespace": "n"},
            "subsets": [{
                "ports": [{"name": "metrics", "port": 8080}],
                "addresses": [{"ip": "10.0.0.1", "targetRef": {"name": "p", "namespace": "n"}}],
                "notReadyAddresses": [{"ip": "10.0.0.2", "targetRef": {"name": "gone", "namespace": "n"}}],
            }],
        });
        let found = of_endpoints(&endpoints, std::slice::from_ref(&service), &[pod()]);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            json!({"targets": ["10.0.0.1:8080"], "labels": {
                "__meta_kubernetes_namespace": "n", "__meta_kubernetes_service_name": "s",
                "__meta_kubernetes_service_label_a": "b", "__meta_kubernetes_service_labelpresent_a": "true",
                "__meta_kubernetes_endpoint_port_name": "metrics", "__meta_kubernetes_pod_name": "p",
                "__meta_kubernetes_pod_phase": "Running", "__meta_kubernetes_pod_container_name": "c",
            }})
        );
        assert_eq!(found[1]["targets"], json!(["10.0.0.2:8080"]));
        assert!(of_endpoints(&endpoints, &[], &[]).is_empty(), "it has no Service");
    }
}
