//! The commands of `s3migrate` about jobs of the cluster, by the program itself.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::case::{Case, JOB, RUN_LIMIT};
use crate::paths;
use crate::programs::{Program, own};
use crate::services::{self, Service};
use crate::tree::{Object, upload};

/// Time limit of a command that does not wait for a run.
const ANSWERS: Duration = Duration::from_secs(30);

/// Triggers, suspends and resumes a job by the program, under its own name and as a plugin of kubectl; and redrives a
/// dead letter.
pub async fn steered(case: &mut Case) -> anyhow::Result<()> {
    case.prepare(&[Object::of_bytes("a", "first"), Object::of_bytes("b", "second")]).await?;
    case.apply(&case.job()).await?;
    case.run_ended("Complete", None, RUN_LIMIT).await?;
    let changed = [Object::of_bytes("c", "third")];
    upload::put_all(&services::s3(Service::Source), &case.source, &changed).await?;

    let printed = cluster(case, &["trigger", JOB, "--wait"], 0, RUN_LIMIT).await?;
    let job = job(case).await?;
    let answered = job["status"]["lastManualRun"].as_str().context("the status names no trigger")?;
    ensure!(printed.lines().any(|line| line == answered), "{answered} was not printed: {printed}");
    ensure!(job["status"]["lastRun"]["objects"] == 1, "the run moved other objects: {:#}", job["status"]["lastRun"]);
    case.note(case.check("")?);

    cluster(case, &["suspend", JOB], 0, ANSWERS).await?;
    phase(case, "Suspended").await?;
    let refused = cluster(case, &["trigger", JOB, "--wait"], 1, ANSWERS).await?;
    ensure!(refused.contains("is suspended"), "it does not say why it can't wait: {refused}");
    plugin(case, &["resume", JOB]).await?;
    cluster(case, &["status", JOB, "--watch"], 0, RUN_LIMIT).await?;
    phase(case, "Complete").await?;
    let rows = plugin(case, &["status", "-o", "json"]).await?;
    ensure!(rows.contains(r#""phase":"Complete""#), "the status is not Complete: {rows}");

    let unknown = cluster(case, &["status", "absent"], 2, ANSWERS).await?;
    ensure!(unknown.contains("failed to find MigrationJob absent"), "the error is {unknown}");
    redriven(case, &job).await
}

/// Sends an event and a text to the dead letters. The event's object is copied after a redrive; the text stays.
async fn redriven(case: &mut Case, job: &Value) -> anyhow::Result<()> {
    let url = job["status"]["resources"]["deadLetterUrl"].as_str().context("the status names no dead letters")?;
    let added = [Object::of_bytes("d", "fourth")];
    upload::put_all(&services::s3(Service::Source), &case.source, &added).await?;
    let event = json!({"Records": [{
        "eventName": "ObjectCreated:Put", "eventSource": "aws:s3",
        "s3": {"bucket": {"name": case.source}, "object": {"key": "d", "size": 6, "sequencer": "1"}},
    }]});
    for body in [event.to_string(), "nonsense".to_owned()] {
        services::sqs().send_message().queue_url(url).message_body(body).send().await?;
    }
    let endpoint = Service::Control.endpoint();
    let printed = cluster(case, &["redrive", JOB, "--endpoint", &endpoint], 0, Duration::from_mins(1)).await?;
    ensure!(printed.contains("1 sent: events") && printed.contains("1 left: workers"), "it redrove {printed}");
    case.watch("the event's object to be copied", RUN_LIMIT, async |job: Option<&Value>| {
        let done = job.and_then(|job| job.pointer("/status/events/objects/done")).and_then(Value::as_u64);
        Ok((done == Some(1)).then_some(()))
    })
    .await?;
    case.note(case.check("")?);
    Ok(())
}

async fn phase(case: &Case, phase: &str) -> anyhow::Result<()> {
    case.watch(&format!("phase {phase}"), ANSWERS, async |job: Option<&Value>| {
        Ok(job.is_some_and(|job| job["status"]["phase"] == phase).then_some(()))
    })
    .await
}

async fn job(case: &Case) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(case.cluster.jobs(&case.namespace).get(JOB).await?)?)
}

/// Runs `s3migrate cluster`, which must end with this code. Returns what it printed.
async fn cluster(case: &Case, arguments: &[&str], code: i32, limit: Duration) -> anyhow::Result<String> {
    let mut command = Command::new(own("s3migrate")?);
    command.arg("cluster").args(arguments);
    ends(case, command, code, limit).await
}

/// Runs the program under the name by which kubectl calls it.
async fn plugin(case: &Case, arguments: &[&str]) -> anyhow::Result<String> {
    let link = paths::results()?.join(format!("{}-kubectl", case.namespace));
    std::fs::create_dir_all(&link).context("failed to make a directory for the plugin")?;
    let program = link.join("kubectl-s3migrate");
    if !program.exists() {
        std::os::unix::fs::symlink(own("s3migrate")?, &program).context("failed to link the plugin")?;
    }
    let mut command = Command::new(program);
    command.args(arguments);
    let printed = ends(case, command, 0, ANSWERS).await;
    std::fs::remove_dir_all(&link).context("failed to remove the plugin")?;
    printed
}

async fn ends(case: &Case, mut command: Command, code: i32, limit: Duration) -> anyhow::Result<String> {
    let kubeconfig = std::env::var_os("KUBECONFIG").context("failed to find the cluster: KUBECONFIG is not set")?;
    command.env("KUBECONFIG", kubeconfig).args(["--namespace", &case.namespace]);
    // The administrator's keys of the local services.
    command.env("AWS_ACCESS_KEY_ID", services::ROOT).env("AWS_SECRET_ACCESS_KEY", services::ROOT);
    let shown = format!("{command:?}");
    let program = Program::start(&format!("{}-s3migrate", case.namespace), &paths::results()?, &mut command)?;
    let (ended, printed) = program.ended_with(limit).await?;
    ensure!(ended == Some(code), "{shown} ended with {ended:?} instead of {code}: {printed}");
    Ok(printed)
}
