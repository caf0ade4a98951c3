//! Diagnostics of a failed case: the logs of all components, events and resources.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};

use crate::kubernetes::Cluster;
use crate::paths;

/// Namespace that the chart is installed in.
pub const OPERATOR_NAMESPACE: &str = "s3-migration-system";
/// Number of operators that the chart installs.
pub const OPERATORS: i32 = 2;

/// Writes the diagnostics of a namespace, the operator and the services to a directory.
pub async fn collect(cluster: &Cluster, namespace: &str, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    for namespace in [namespace, OPERATOR_NAMESPACE] {
        pod_logs(cluster, namespace, directory).await?;
    }
    let kinds = "migrationjobs,deployments,cronjobs,jobs,pods,configmaps,events";
    kubectl(&["-n", namespace, "get", kinds, "-o", "yaml"], &directory.join("resources.yaml"))?;
    kubectl(&["-n", namespace, "get", kinds, "-o", "wide"], &directory.join("resources.txt"))?;
    kubectl(
        &["-n", OPERATOR_NAMESPACE, "get", "deployments,pods,events", "-o", "wide"],
        &directory.join("operator.txt"),
    )?;
    for entry in fs::read_dir(paths::state()?)?.flatten() {
        if entry.path().extension().is_some_and(|e| e == "log") {
            fs::copy(entry.path(), directory.join(entry.file_name())).context("failed to copy a log")?;
        }
    }
    Ok(())
}

async fn pod_logs(cluster: &Cluster, namespace: &str, directory: &Path) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), namespace);
    for pod in pods.list(&ListParams::default()).await?.items {
        let name = pod.name_any();
        for previous in [false, true] {
            let parameters = LogParams { previous, ..LogParams::default() };
            // A container that has not started or not restarted has no such log.
            if let Ok(text) = pods.logs(&name, &parameters).await {
                let file = format!("{name}{}.log", if previous { ".previous" } else { "" });
                fs::write(directory.join(file), text).context("failed to write a log")?;
            }
        }
    }
    Ok(())
}

fn kubectl(arguments: &[&str], file: &Path) -> anyhow::Result<()> {
    let output = Command::new("kubectl").args(arguments).output().context("failed to run kubectl")?;
    fs::write(file, [output.stdout, output.stderr].concat()).context("failed to write the output of kubectl")
}
