//! Pods with settings of their own, in a namespace that admits only pods of the standard `restricted`.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

use crate::case::{Case, JOB, RUN_LIMIT};
use crate::kubernetes::condition;
use crate::tree::Object;

/// A user and a group as a security context constraint of `OpenShift` assigns them.
const ASSIGNED: i64 = 1_000_640_000;

/// A run whose pods have volumes, labels, a spread and assigned IDs completes; sizes are numbers and fractions.
pub async fn run_with_settings(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "first"), Object::of_bytes("b/large", vec![7; 17 << 20])]).await?;
    let mut job = case.job();
    let pods = json!({
        "labels": {"team": "media"},
        "topologySpreadConstraints":
            [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}},
            {"name": "more", "projected": {"sources": [{"secret": {"name": "source-keys"}}]}},
        ],
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/mnt/scratch"}, {"name": "more", "mountPath": "/mnt/more", "readOnly": true},
        ],
        "securityContext": {"fixedIds": false, "runAsUser": ASSIGNED, "fsGroup": ASSIGNED},
    });
    job["spec"]["worker"] = pods.clone();
    job["spec"]["worker"]["terminationGracePeriodSeconds"] = json!(60);
    job["spec"]["jobsender"] = pods;
    job["spec"]["transfer"] =
        json!({"multipartThreshold": 16_777_216, "memoryLimit": "0.25Gi", "splitThreshold": "1.5Gi"});
    case.apply(&job).await?;
    let ended = case.run_ended("Complete", None, RUN_LIMIT).await?;
    for (kind, expected) in [("Ready", "True"), ("Failed", "False"), ("Reconciling", "False"), ("Stalled", "False")] {
        let (status, reason, message) = condition(&ended, kind).with_context(|| format!("there is no {kind}"))?;
        ensure!(status == expected, "{kind} is {status}, {reason}: {message}");
    }
    let display = &ended["status"]["display"];
    ensure!(display["source"] == case.source.as_str(), "the display is {display:#}");
    let api: Api<Deployment> = Api::namespaced(case.cluster.client(), &case.namespace);
    let deployment = serde_json::to_value(api.get(&format!("{JOB}-worker")).await?)?;
    let template = &deployment["spec"]["template"];
    ensure!(template["metadata"]["labels"]["team"] == "media", "the labels are {:#}", template["metadata"]["labels"]);
    let spec = &template["spec"];
    ensure!(spec["securityContext"].get("runAsGroup").is_none_or(Value::is_null), "{:#}", spec["securityContext"]);
    ensure!(
        spec["terminationGracePeriodSeconds"] == 60,
        "the grace period is {}",
        spec["terminationGracePeriodSeconds"]
    );
    case.note(format!("pods ran as user {ASSIGNED} with volumes of their own"));
    Ok(())
}
