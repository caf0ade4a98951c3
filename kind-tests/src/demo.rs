//! The demo: copies a tree of real files from one S3 service to another.

use std::io::{IsTerminal as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, ensure};
use kube::api::DeleteParams;
use serde_json::Value;

use crate::case::RUN_LIMIT;
use crate::kubernetes::{Cluster, condition};
use crate::paths;
use crate::report::human;
use crate::services::{self, AccessKey, Service};
use crate::tree::{FULL, Object, bytes_of, select, upload};
use crate::yaml::documents;

const NAMESPACE: &str = "demo";
const JOB: &str = "documents";
const SOURCE: &str = "demo-from";
const DESTINATION: &str = "demo-to";

/// Seeds the source, applies the example and shows its status until it is Complete.
pub async fn run() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    forget(&cluster).await?;
    let objects = select::tree(FULL)?;
    let began = Instant::now();
    upload::seed(&services::s3(Service::Source), SOURCE, &objects).await?;
    upload::create_bucket(&services::s3(Service::Destination), DESTINATION).await?;
    let (number, size) = (objects.len(), human(bytes_of(&objects)));
    println!("Put {number} real files, {size}, into bucket {SOURCE} in {:.1} s.", began.elapsed().as_secs_f64());
    cluster.create_namespace(NAMESPACE).await?;
    let keys = users(&cluster).await?;
    let example = paths::repository().join("examples/demo.yaml");
    for document in documents::<Value>(&fs::read_to_string(&example)?)? {
        cluster.apply(NAMESPACE, &document).await?;
    }
    println!("Applied {}.", example.display());
    let began = Instant::now();
    let job = show(&cluster).await?;
    summary(&job, &objects, began, &keys);
    Ok(())
}

/// Removes the resources of an earlier demo.
async fn forget(cluster: &Cluster) -> anyhow::Result<()> {
    let jobs = cluster.jobs(NAMESPACE);
    if jobs.get_opt(JOB).await?.is_some() {
        jobs.delete(JOB, &DeleteParams::default()).await?;
        let gone = async |job: Option<&Value>| Ok(job.is_none().then_some(()));
        cluster.watch_job(NAMESPACE, JOB, "the last demo's job to be gone", Duration::from_mins(2), gone).await?;
    }
    let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(cluster.client());
    if namespaces.get_opt(NAMESPACE).await?.is_some() {
        cluster.delete_namespace(NAMESPACE).await?;
        let gone = |n: Option<&_>| n.is_none();
        let wait = kube::runtime::wait::await_condition(namespaces, NAMESPACE, gone);
        tokio::time::timeout(Duration::from_mins(2), wait)
            .await
            .context("the last demo's namespace could not be deleted")??;
    }
    for (side, bucket) in [(Service::Source, SOURCE), (Service::Destination, DESTINATION)] {
        upload::delete_bucket(&services::s3(side), bucket).await?;
    }
    Ok(())
}

async fn users(cluster: &Cluster) -> anyhow::Result<Vec<(Service, AccessKey)>> {
    let mut keys = Vec::new();
    for (side, policy) in [
        (Service::Source, services::source_policy(SOURCE)),
        (Service::Destination, services::destination_policy(DESTINATION)),
        (Service::Control, services::control_policy()),
    ] {
        let name = format!("demo-{}-{}", side.name(), std::process::id());
        let key = services::create_user(side, &name, &policy)?;
        let secret = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{}-keys", side.name())},
            "stringData": {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret},
        });
        cluster.apply(NAMESPACE, &secret).await?;
        keys.push((side, key));
    }
    Ok(keys)
}

/// Shows the job's line of `kubectl get`: updated in place on a terminal, otherwise one line per change.
async fn show(cluster: &Cluster) -> anyhow::Result<Value> {
    let terminal = std::io::stdout().is_terminal();
    let heading: Vec<String> = SHOWN.iter().map(|(name, width)| format!("{name:<width$}")).collect();
    println!("{}", heading.join("  "));
    let (mut last, mut wrong) = (String::new(), String::new());
    let job = cluster
        .watch_job(NAMESPACE, JOB, "phase Complete", RUN_LIMIT, async |job: Option<&Value>| {
            let Some(job) = job.filter(|j| !j["status"].is_null()) else { return Ok(None) };
            let line = line(&cluster.columns(NAMESPACE, JOB).await?);
            if line != last {
                if terminal {
                    print!("\r\x1b[2K{line}");
                    std::io::stdout().flush()?;
                } else {
                    println!("{line}");
                }
                last = line;
            }
            if let Some(("True", reason, message)) = condition(job, "Degraded")
                && wrong != message
            {
                println!("\n{reason}: {message}");
                message.clone_into(&mut wrong);
            }
            let phase = job.pointer("/status/phase").and_then(Value::as_str);
            ensure!(!matches!(phase, Some("Failed" | "PartiallyFailed")), "the job ended: {:#}", job["status"]);
            Ok((phase == Some("Complete")).then(|| job.clone()))
        })
        .await?;
    if terminal {
        println!();
    }
    Ok(job)
}

/// Columns to show, with their widths.
const SHOWN: [(&str, usize); 7] =
    [("Phase", 12), ("Objects", 11), ("Bytes", 21), ("Failed", 6), ("Rate", 11), ("ETA", 8), ("Workers", 7)];

fn line(columns: &[(String, String)]) -> String {
    let cell = |name: &str| columns.iter().find(|(n, _)| n == name).map_or("", |(_, c)| c.as_str());
    let cells: Vec<String> = SHOWN
        .iter()
        .map(|(name, width)| match cell(name) {
            "null" => format!("{:<width$}", ""),
            text => format!("{text:<width$}"),
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

fn summary(job: &Value, objects: &[Object], began: Instant, keys: &[(Service, AccessKey)]) {
    let number = |path: &str| job.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (done, bytes) = (number("/status/lastRun/objects"), number("/status/lastRun/bytes"));
    let ignored = objects.iter().filter(|o| select::ignored(&o.key)).count();
    let seconds = began.elapsed().as_secs_f64();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "shown with two digits"
    )]
    let rate = human((bytes as f64 / seconds) as u64);
    println!(
        "\nComplete: {done} objects, {} in {seconds:.1} s, {rate}/s; {ignored} left out by the ignore list.",
        human(bytes)
    );
    let kubeconfig = env::var("KUBECONFIG").unwrap_or_default();
    println!("\nLook around:");
    println!("  export KUBECONFIG={kubeconfig}");
    if let Some(directory) = kubectl_directory() {
        println!("  export PATH={directory}:$PATH");
    }
    println!("  kubectl -n {NAMESPACE} get mj,pods");
    println!("  kubectl -n {NAMESPACE} get mj {JOB} -o yaml");
    println!("  kubectl -n {NAMESPACE} describe mj {JOB}");
    println!("\nThe services, with the keys of the demo's users:");
    for (side, key) in keys {
        println!(
            "  {:<12} {}  AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}",
            side.name(),
            side.endpoint(),
            key.id,
            key.secret
        );
    }
    println!("  such as: aws --endpoint-url {} s3 ls --recursive s3://{DESTINATION}", Service::Destination.endpoint());
    println!("\nRun it again after a change at the source:");
    println!(
        "  kubectl -n {NAMESPACE} patch mj {JOB} --type merge -p '{{\"spec\": {{\"trigger\": {{\"manual\": \"2\"}}}}}}'"
    );
    println!("\nTear it down: make demo-clean");
}

/// Directory of kubectl if it is the cluster tool's own.
fn kubectl_directory() -> Option<String> {
    let output = Command::new("sh").args(["-c", "command -v kubectl"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    let directory = path.trim().rsplit_once('/')?.0.to_owned();
    directory.contains("s3-migration-operator").then_some(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_shown_columns_only() {
        let columns = [("Name", "documents"), ("Phase", "Pending"), ("Rate", "null"), ("Workers", "0/2")];
        let columns = columns.map(|(n, c)| (n.to_owned(), c.to_owned()));
        let line = line(&columns);
        assert!(line.starts_with("Pending") && line.ends_with("0/2") && !line.contains("null"), "{line}");
    }
}
