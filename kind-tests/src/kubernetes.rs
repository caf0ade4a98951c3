//! The cluster as its users see it: through the API server, with resources as plain documents.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::runtime::watcher::watch_object;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// The tests' name in `metadata.managedFields`.
const MANAGER: &str = "kind-tests";

/// A connection to the cluster of `KUBECONFIG`.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Connects to the cluster of `KUBECONFIG`.
    pub async fn connect() -> anyhow::Result<Self> {
        let client = Client::try_default().await.context("failed to reach the cluster: is KUBECONFIG set?")?;
        Ok(Self { client })
    }

    /// Uses an existing client.
    pub fn of(client: Client) -> Self {
        Self { client }
    }

    /// Returns the client, for requests without a method here.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the API of `MigrationJob`s in a namespace.
    pub fn jobs(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), namespace, &job_type())
    }

    /// Applies a document like `kubectl apply --server-side`.
    pub async fn apply(&self, namespace: &str, document: &Value) -> anyhow::Result<()> {
        self.patch(namespace, document, &PatchParams::apply(MANAGER).force()).await
    }

    /// Checks by a dry run whether the API server accepts a document.
    pub async fn try_apply(&self, namespace: &str, document: &Value) -> anyhow::Result<()> {
        let parameters = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER) };
        self.patch(namespace, document, &parameters).await
    }

    async fn patch(&self, namespace: &str, document: &Value, parameters: &PatchParams) -> anyhow::Result<()> {
        self.api_of(namespace, document)?.patch(name_of(document)?, parameters, &Patch::Apply(document)).await?;
        Ok(())
    }

    /// Returns the API of a document's kind.
    pub fn api_of(&self, namespace: &str, document: &Value) -> anyhow::Result<Api<DynamicObject>> {
        let types: TypeMeta = serde_json::from_value(document.clone()).context("failed to read a document's kind")?;
        let kind = GroupVersionKind::try_from(&types)?;
        Ok(Api::namespaced_with(self.client(), namespace, &ApiResource::from_gvk(&kind)))
    }

    /// Returns the object with a document's kind and name, if it exists.
    pub async fn find(&self, namespace: &str, document: &Value) -> anyhow::Result<Option<DynamicObject>> {
        Ok(self.api_of(namespace, document)?.get_opt(name_of(document)?).await?)
    }

    /// Creates a namespace that only admits pods of the restricted standard.
    pub async fn create_namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespace: Namespace = serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))?;
        let api: Api<Namespace> = Api::all(self.client());
        api.create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("failed to make namespace {name}"))?;
        // Pods can't be created before the namespace has its service account.
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(self.client(), name);
        let wait = kube::runtime::wait::await_condition(accounts, "default", |a: Option<&_>| a.is_some());
        tokio::time::timeout(Duration::from_secs(30), wait).await.context("the namespace got no service account")??;
        Ok(())
    }

    /// Returns true if there is a namespace of this name.
    pub async fn has_namespace(&self, name: &str) -> anyhow::Result<bool> {
        let api: Api<Namespace> = Api::all(self.client());
        Ok(api.get_opt(name).await.with_context(|| format!("failed to look for namespace {name}"))?.is_some())
    }

    /// Deletes a namespace without waiting.
    pub async fn delete_namespace(&self, name: &str) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        api.delete(name, &DeleteParams::default())
            .await
            .with_context(|| format!("failed to delete namespace {name}"))?;
        Ok(())
    }

    /// Watches a job until `check` returns a value; `check` gets `None` if the job is gone. Fails after `limit` with
    /// the last state.
    pub async fn watch_job<T>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        mut check: impl AsyncFnMut(Option<&Value>) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let mut last = Value::Null;
        let watch = async {
            let stream = watch_object(self.jobs(namespace), name);
            pin_mut!(stream);
            while let Some(seen) = stream.next().await {
                // The watch recovers from connection errors by itself.
                let Ok(object) = seen else { continue };
                let object = object.map(serde_json::to_value).transpose()?;
                last = object.clone().unwrap_or_default();
                if let Some(value) = check(object.as_ref()).await? {
                    return Ok(value);
                }
            }
            bail!("the watch ended")
        };
        let waited = tokio::time::timeout(limit, watch).await;
        waited.unwrap_or_else(|_| {
            Err(anyhow!("timed out after {limit:?} waiting for {what}; the job's status is {:#}", last["status"]))
        })
    }

    /// Returns the pods of a namespace, optionally with a label.
    pub async fn pods(&self, namespace: &str, labels: &str) -> anyhow::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        Ok(api.list(&ListParams::default().labels(labels)).await?.items)
    }

    /// Deletes a pod like `kubectl delete --grace-period=0 --force`.
    pub async fn force_delete_pod(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        match api.delete(name, &DeleteParams::default().grace_period(0)).await {
            Err(kube::Error::Api(e)) if e.code == 404 => Ok(()),
            other => other.map(drop).with_context(|| format!("failed to delete pod {name}")),
        }
    }

    /// Returns the worker Deployment of a namespace's only job.
    pub async fn worker_deployment(&self, namespace: &str) -> anyhow::Result<Deployment> {
        let api: Api<Deployment> = Api::namespaced(self.client(), namespace);
        let labels = ListParams::default().labels("app.kubernetes.io/component=worker");
        api.list(&labels).await?.items.into_iter().next().context("there is no worker Deployment")
    }

    /// Watches a Deployment until it meets a condition.
    pub async fn watch_deployment(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        limit: Duration,
        check: impl Fn(&Deployment) -> bool,
    ) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.client(), namespace);
        let wait = kube::runtime::wait::await_condition(api, name, |d: Option<&Deployment>| d.is_some_and(&check));
        tokio::time::timeout(limit, wait)
            .await
            .with_context(|| format!("timed out after {limit:?} waiting for {what}"))??;
        Ok(())
    }

    /// Returns the cells of a job's line in `kubectl get`, with the names of their columns.
    pub async fn columns(&self, namespace: &str, name: &str) -> anyhow::Result<Vec<(String, String)>> {
        let path = format!("/apis/s3migration.dev/v1alpha1/namespaces/{namespace}/migrationjobs/{name}");
        let request = http_get(&path, "application/json;as=Table;v=v1;g=meta.k8s.io")?;
        let table: Value = self.client.request(request).await.context("failed to read a job's columns")?;
        let names = table["columnDefinitions"].as_array().context("the table has no columns")?;
        let cells = table.pointer("/rows/0/cells").and_then(Value::as_array).context("the table has no line")?;
        let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        Ok(names.iter().map(|n| text(&n["name"])).zip(cells.iter().map(text)).collect())
    }
}

/// Runs kubectl, as people do.
///
/// # Errors
/// If it fails, with what it wrote.
pub async fn kubectl(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("kubectl");
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("failed to run kubectl")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("kubectl {} ended with {}: {}", arguments.join(" "), output.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}

fn name_of(document: &Value) -> anyhow::Result<&str> {
    document.pointer("/metadata/name").and_then(Value::as_str).context("the document has no name")
}

fn http_get(path: &str, accept: &str) -> anyhow::Result<hyper::Request<Vec<u8>>> {
    Ok(hyper::Request::get(path).header(hyper::header::ACCEPT, accept).body(Vec::new())?)
}

/// Returns the type of `MigrationJob`.
pub fn job_type() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("s3migration.dev", "v1alpha1", "MigrationJob"))
}

/// Returns name and restarts of each container of pods.
pub fn restarts(pods: &[Pod]) -> Vec<(String, i32)> {
    pods.iter()
        .flat_map(|pod| {
            let statuses = pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten());
            statuses.map(|s| (pod.name_any(), s.restart_count))
        })
        .collect()
}

/// Returns status, reason and message of a job's condition.
pub fn condition<'a>(job: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = job.pointer("/status/conditions")?.as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind)?;
    Some((found["status"].as_str()?, found["reason"].as_str()?, found["message"].as_str()?))
}
