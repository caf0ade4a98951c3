//! The chart as Helm renders it: with sets of values that the API server accepts, with values that are refused, and its
//! own test.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, LogParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::case::Case;
use crate::helm::{self, RELEASE, helm, render};
use crate::logs::OPERATOR_NAMESPACE;
use crate::paths;
use crate::yaml::documents;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Values that create what the Prometheus operator reads, and its kind.
const MONITORING: &[(&str, &str)] =
    &[("serviceMonitor", "ServiceMonitor"), ("podMonitor", "PodMonitor"), ("prometheusRule", "PrometheusRule")];
/// Place of the pod in a Deployment.
const POD: &str = "/spec/template/spec";

/// A set of values, and what is rendered of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    name: String,
    values: Value,
    shown: Vec<Shown>,
    /// Kinds that are not rendered.
    #[serde(default)]
    absent: Vec<String>,
}

/// A value at a place of an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    kind: String,
    at: String,
    is: Value,
}

/// Renders the chart with sets of values, and has the API server check what comes out.
pub async fn rendered(case: &mut Case) -> anyhow::Result<()> {
    let chart = helm::chart();
    helm(&["lint", "--strict", chart.to_str().context("a path is not UTF-8")?], &Value::Null)?;
    let text = std::fs::read_to_string(paths::here("chart-values.yaml")).context("failed to read the sets")?;
    let text = text.replace("NAMESPACE", &case.namespace).replace("DIGEST", DIGEST);
    let (sets, mut checked) = (documents::<Set>(&text)?, 0);
    for set in &sets {
        // The definition of the installed release has other labels.
        let mut values = set.values.clone();
        values["crds"] = json!({"install": false});
        let documents = render(&case.namespace, &values, &[]).with_context(|| format!("values {:?}", set.name))?;
        check_set(set, &documents).with_context(|| format!("values {:?}", set.name))?;
        // As pods of their own they have to meet the namespace's Pod Security Standard, which is `restricted`.
        let pods = pods_of(&documents)?;
        for document in documents.iter().filter(|d| d["kind"] != "Pod").chain(&pods) {
            dry_run(case, document).await.with_context(|| format!("values {:?}", set.name))?;
            checked += 1;
        }
    }
    ensure!(checked >= 30, "there were only {checked} objects");
    definitions(&case.namespace)?;
    monitors(&case.namespace)?;
    render(&case.namespace, &guide()?, &[]).context("the values of docs/eks.md")?;
    case.note(format!("{} sets of values, {checked} objects accepted by the API server", sets.len()));
    refuses_values(case)
}

fn check_set(set: &Set, documents: &[Value]) -> anyhow::Result<()> {
    for Shown { kind, at, is } in &set.shown {
        let document = documents.iter().find(|d| d["kind"] == **kind).with_context(|| format!("there is no {kind}"))?;
        let found = document.pointer(at).unwrap_or(&Value::Null);
        ensure!(found == is, "{at} of {kind} is {found} and should be {is}");
    }
    let unwanted: Vec<_> = documents.iter().filter(|d| set.absent.iter().any(|kind| d["kind"] == **kind)).collect();
    ensure!(unwanted.is_empty(), "rendered: {unwanted:#?}");
    Ok(())
}

/// Returns the pods that a release consists of, each as an object that can be created by itself.
fn pods_of(documents: &[Value]) -> anyhow::Result<Vec<Value>> {
    let spec = |d: &Value| if d["kind"] == "Pod" { Some(d["spec"].clone()) } else { d.pointer(POD).cloned() };
    let mut pods: Vec<Value> = documents.iter().filter_map(spec).collect();
    ensure!(pods.len() == 2, "there are {} kinds of pods", pods.len());
    for (n, spec) in pods.iter_mut().enumerate() {
        // That of the release is not there.
        spec["serviceAccountName"] = json!("default");
        *spec =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{n}")}, "spec": spec.take()});
    }
    Ok(pods)
}

/// Has the API server check an object by a dry run, with unknown fields refused.
async fn dry_run(case: &Case, document: &Value) -> anyhow::Result<()> {
    let types: TypeMeta = serde_json::from_value(document.clone()).context("failed to read a document's kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let of_cluster = types.kind.starts_with("ClusterRole");
    let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(&case.namespace);
    let api: Api<DynamicObject> = if of_cluster {
        Api::all_with(case.cluster.client(), &resource)
    } else {
        Api::namespaced_with(case.cluster.client(), namespace, &resource)
    };
    let name = document.pointer("/metadata/name").and_then(Value::as_str).context("an object has no name")?;
    let strict = PatchParams { dry_run: true, ..PatchParams::apply("kind-tests").validation_strict() };
    api.patch(name, &strict, &Patch::Apply(document)).await.with_context(|| format!("{} {name}", types.kind))?;
    Ok(())
}

/// Checks what the values of `crds` do.
fn definitions(namespace: &str) -> anyhow::Result<()> {
    let definition = |values: Value| -> anyhow::Result<Option<Value>> {
        let documents = render(namespace, &json!({"crds": values}), &[])?;
        Ok(documents.into_iter().find(|d| d["kind"] == "CustomResourceDefinition"))
    };
    let policy = |crd: &Value| crd["metadata"]["annotations"]["helm.sh/resource-policy"].clone();
    let kept = definition(json!({"annotations": {"a": "b"}}))?.context("there is no definition")?;
    ensure!(policy(&kept) == "keep" && kept["metadata"]["annotations"]["a"] == "b", "{:#}", kept["metadata"]);
    let not_kept = definition(json!({"keep": false}))?.context("there is no definition")?;
    ensure!(policy(&not_kept).is_null(), "{:#}", not_kept["metadata"]);
    ensure!(definition(json!({"install": false}))?.is_none(), "the definition is rendered");
    Ok(())
}

/// Checks that what the Prometheus operator reads is rendered where there are such kinds, and is an error where there
/// are none.
fn monitors(namespace: &str) -> anyhow::Result<()> {
    for (value, kind) in MONITORING {
        let values = json!({*value: {"enabled": true, "labels": {"release": "prometheus"}}});
        let refused = render(namespace, &values, &[]).err().with_context(|| format!("{kind} without its kind"))?;
        ensure!(format!("{refused:#}").contains("Prometheus operator"), "{refused:#}");
        let kinds = format!("monitoring.coreos.com/v1/{kind}");
        let documents = render(namespace, &values, &["--api-versions", &kinds])?;
        let found = documents.iter().find(|d| d["kind"] == **kind).with_context(|| format!("there is no {kind}"))?;
        ensure!(found["metadata"]["labels"]["release"] == "prometheus", "{found:#}");
    }
    alerts(namespace)
}

/// Checks that alerts are about the release's own operators, can be left out by name, and link to the runbook.
fn alerts(namespace: &str) -> anyhow::Result<()> {
    let kinds = ["--api-versions", "monitoring.coreos.com/v1/PrometheusRule"];
    let rules = |values: Value| -> anyhow::Result<Vec<Value>> {
        let documents = render(namespace, &json!({"prometheusRule": values}), &kinds)?;
        let rule = documents.iter().find(|d| d["kind"] == "PrometheusRule").context("there is no PrometheusRule")?;
        let rules = rule.pointer("/spec/groups/0/rules").and_then(Value::as_array);
        rules.cloned().context("there are no rules")
    };
    let all = rules(json!({"enabled": true}))?;
    ensure!(all.iter().all(|rule| rule["annotations"]["runbook_url"].is_null()), "{all:#?}");
    let operators: Vec<&str> = all.iter().filter_map(|rule| rule["expr"].as_str()).filter(is_about_operators).collect();
    let own = format!("s3migration_leader{{namespace=\"{namespace}\", service=\"r-s3-migration\"}}");
    ensure!(
        !operators.is_empty() && operators.iter().all(|one| one.contains(&own) && !one.contains(OPERATOR_NAMESPACE)),
        "alerts are not about the operators of their release: {operators:#?}"
    );
    let values = json!({"enabled": true, "disabled": ["S3MigrationThrottled"], "runbookUrl": "https://a.example/r"});
    let fewer = rules(values)?;
    ensure!(fewer.len() + 1 == all.len(), "{} of {} alerts are left", fewer.len(), all.len());
    for rule in &fewer {
        let name = rule["alert"].as_str().unwrap_or_default().to_lowercase();
        ensure!(rule["annotations"]["runbook_url"] == format!("https://a.example/r#{name}"), "{rule:#}");
    }
    let unknown = rules(json!({"enabled": true, "disabled": ["Nothing"]})).err().context("an unknown alert")?;
    ensure!(format!("{unknown:#}").contains("prometheusRule.disabled"), "{unknown:#}");
    Ok(())
}

fn is_about_operators(expression: &&str) -> bool {
    expression.contains("s3migration_leader")
}

/// Returns the values that docs/eks.md shows.
fn guide() -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(paths::repository().join("docs/eks.md")).context("failed to read eks.md")?;
    let block = text.split_once("<!-- values of the chart").and_then(|(_, rest)| rest.split_once("```yaml\n"));
    let block = block.and_then(|(_, rest)| rest.split("```").next()).context("eks.md shows no values")?;
    serde_yaml::from_str(block).context("failed to read the values of eks.md")
}

/// Values that are refused, each with a word of the message.
const REFUSED: &[(&str, &str)] = &[
    (r#"{"imgae": {"tag": "1"}}"#, "imgae"),
    (r#"{"image": {"tagg": "1"}}"#, "tagg"),
    (r#"{"worker": {"image": {"digest": "sha256:1"}}}"#, "digest"),
    (r#"{"networkPolicy": {"enable": true}}"#, "enable"),
    (r#"{"networkPolicy": {"egressPorts": ["https"]}}"#, "egressPorts"),
    (r#"{"podDisruptionBudget": {"maxUnavailable": "half"}}"#, "maxUnavailable"),
    (r#"{"podSecurityContext": {"runAsUser": 0}}"#, "runAsUser"),
    (r#"{"podSecurityContext": {"runAsNonRoot": false}}"#, "runAsNonRoot"),
    (r#"{"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}"#, "seccompProfile"),
    (r#"{"containerSecurityContext": {"privileged": true}}"#, "privileged"),
    (r#"{"containerSecurityContext": {"allowPrivilegeEscalation": true}}"#, "allowPrivilegeEscalation"),
    (r#"{"containerSecurityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}"#, "capabilities"),
    (r#"{"serviceAccount": {"create": false}}"#, "serviceAccount.name"),
    (r#"{"serviceMonitor": {"interval": "often"}}"#, "interval"),
    (r#"{"crds": {"keeep": true}}"#, "keeep"),
    (r#"{"policy": {"image": []}}"#, "image"),
    (r#"{"logFormat": "xml"}"#, "logFormat"),
    (r#"{"logLevel": "trace"}"#, "logLevel"),
];

/// Checks that wrong values are refused, with a message that names them.
fn refuses_values(case: &mut Case) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (values, word) in REFUSED {
        match render(&case.namespace, &serde_json::from_str(values)?, &[]) {
            Ok(_) => wrong.push(format!("{values} was accepted")),
            Err(error) if format!("{error:#}").contains(word) => {}
            Err(error) => wrong.push(format!("{values}: {word} is not in {error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    case.note(format!("{} wrong values refused by name", REFUSED.len()));
    Ok(())
}

/// Runs `helm test` on the installed release, and the same check where there is no operator.
pub async fn tested(case: &mut Case) -> anyhow::Result<()> {
    helm(&["test", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--timeout", "120s"], &Value::Null)?;
    let hooks = helm(&["get", "hooks", RELEASE, "--namespace", OPERATOR_NAMESPACE], &Value::Null)?;
    let mut pod: Value = documents(&hooks)?.pop().context("the release has no hook")?;
    let name = "check-of-nobody";
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["annotations"] = json!({});
    let arguments = ["check", "--operator=http://nobody.invalid:1", "--seconds=1"];
    pod["spec"]["containers"][0]["args"] = json!(arguments);
    case.cluster.apply(OPERATOR_NAMESPACE, &pod).await?;
    let result = failed(case, name).await;
    case.cluster.force_delete_pod(OPERATOR_NAMESPACE, name).await?;
    let said = result?;
    ensure!(said.contains("failed to connect to operator at nobody.invalid:1"), "the check said: {said}");
    case.note(format!("helm test succeeds; without an operator: {}", said.trim()));
    Ok(())
}

/// Waits until a pod has failed; returns its log.
async fn failed(case: &Case, name: &str) -> anyhow::Result<String> {
    let pods: Api<Pod> = Api::namespaced(case.cluster.client(), OPERATOR_NAMESPACE);
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|s| s.phase.clone());
    let ended = kube::runtime::wait::await_condition(pods.clone(), name, |pod: Option<&_>| {
        pod.and_then(phase).is_some_and(|phase| phase == "Failed" || phase == "Succeeded")
    });
    let pod = tokio::time::timeout(Duration::from_mins(1), ended).await.context("the check did not end")??;
    ensure!(pod.as_ref().and_then(phase).as_deref() == Some("Failed"), "the check succeeded without an operator");
    pods.logs(name, &LogParams::default()).await.context("failed to read the log of the check")
}
