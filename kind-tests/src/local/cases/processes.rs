//! Processes beside a live run.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::local::case::{Case, Place, bucket};
use crate::local::job::{Side, manifest};
use crate::proxy::delays::Delay;
use crate::tree::Object;
use crate::tree::upload::seed;
use crate::wait::until;
use crate::wire::services::Kind;

const FROM: &str = "beside-from";
const TO: &str = "beside-to";
const OBJECTS: usize = 400;
const LIMIT: Duration = Duration::from_mins(3);
const INTERVAL: Duration = Duration::from_millis(100);

/// A second run of a job is told which process has it; `status` shows the live run, and what is left of a killed one.
pub async fn two_processes(case: &mut Case) -> anyhow::Result<()> {
    let source = case.server(Kind::MiniStack, "source").await?;
    let destination = case.server(Kind::VersityGw, "destination").await?;
    let objects: Vec<Object> = (0..OBJECTS).map(|n| Object::of_bytes(format!("{n:04}"), vec![7; 20_000])).collect();
    seed(&source.s3(), FROM, &objects).await?;
    bucket(&destination, TO).await?;
    let (from, to) = (case.counted("source", &source).await?, case.counted("destination", &destination).await?);
    let sides = (Side::new(&from, source.keys(), FROM), Side::new(&to, destination.keys(), TO));
    case.write("job.yaml", &manifest("beside", &sides.0, &sides.1, json!({}))?)?;
    case.log.delays.set(Delay { bucket: TO.into(), operation: "PutObject".into(), millis: 1_000 });
    let first = case.start(&["run", "job.yaml", "--plain"])?;
    let live = until("status to show progress", LIMIT, INTERVAL, async || {
        let row = status(case).await?;
        let done = row.as_ref().and_then(|row| row["objects"].as_str()?.split_once('/')?.0.parse::<u64>().ok());
        Ok(row.filter(|row| row["phase"] == "Transferring" && done > Some(0)))
    })
    .await?;
    case.note(format!("status beside the live run: {live}"));

    let second = case.s3migrate(&["run", "job.yaml"], LIMIT).await?;
    second.expect(1)?;
    let id = first.id().to_string();
    ensure!(second.stderr.contains(&id), "the process {id} is not named: {}", second.stderr);
    case.note(format!("second run: {}", second.stderr.trim().replace(&id, "PID")));
    for command in ["runs", "failures", "report"] {
        case.s3migrate(&[command, "beside"], LIMIT).await?.expect(0)?;
    }

    first.kill()?;
    let left = status(case).await?.context("the job is gone")?;
    ensure!(left["phase"] == "Interrupted", "a killed run is shown as {left}");
    case.log.delays.set(Delay { bucket: TO.into(), operation: "PutObject".into(), millis: 0 });
    case.s3migrate(&["run", "job.yaml", "--quiet"], LIMIT).await?.expect(0)?;
    let done = status(case).await?.context("the job is gone")?;
    ensure!(done["phase"] == "Complete", "a run that ended is shown as {done}");
    let checked = case.check("beside", Place::new(&source, FROM), Place::new(&destination, TO), &[])?;
    case.note(format!("killed, then run to its end: {checked}"));
    Ok(())
}

async fn status(case: &Case) -> anyhow::Result<Option<Value>> {
    let shown = case.s3migrate(&["status", "-o", "json"], LIMIT).await?;
    shown.expect(0)?;
    Ok(shown.rows::<Value>()?.into_iter().next())
}
