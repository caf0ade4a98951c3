//! `s3migrate status`: the state of the jobs on this machine.

use std::time::Duration;

use clap::Args;
use migration_core::progress::eta_seconds;
use migration_engine::run::look;
use migration_ledger::{ReadError, view};
use serde::Serialize;

use super::{LocalError, OpenJob, rows};
use crate::exit::Exit;
use crate::state_dir::{JobDirectory, StateArgs, StateError};
use crate::table::{self, Output};

/// Interval between two looks with `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// Arguments of `s3migrate status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Name of a job. By default all jobs are shown.
    job: Option<String>,
    /// Show the state again every two seconds, until no run is live.
    #[arg(long, short)]
    watch: bool,
    /// Form of the output.
    #[arg(long, short, default_value = "table")]
    output: Output,
}

/// The state of a job.
#[derive(Debug, Serialize)]
struct StatusRow {
    job: String,
    phase: &'static str,
    objects: String,
    bytes: String,
    failed: u64,
    rate: String,
    eta: String,
    waiting: String,
    run: String,
}

/// Runs the command.
pub async fn status(args: &StatusArgs, state: &StateArgs) -> Result<Exit, LocalError> {
    let root = state.root()?;
    let jobs = match &args.job {
        Some(name) => vec![root.find(Some(name))?],
        None => root.jobs()?,
    };
    loop {
        let (mut rows, mut live) = (Vec::new(), false);
        for job in &jobs {
            let (row, is_live) = row(job).await?;
            rows.push(row);
            live |= is_live;
        }
        table::print(&rows, args.output)?;
        if !(args.watch && live) {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn row(directory: &JobDirectory) -> Result<(StatusRow, bool), LocalError> {
    let job = OpenJob::attach(directory)?;
    let nothing = StatusRow {
        job: directory.name.clone(),
        phase: "Pending",
        objects: String::new(),
        bytes: String::new(),
        failed: 0,
        rate: String::new(),
        eta: String::new(),
        waiting: String::new(),
        run: String::new(),
    };
    let Some(last) = look::last(&job.ledger, &job.uid, None).await? else { return Ok((nothing, false)) };
    // The heartbeats of a killed process outlive it; its lock does not.
    let is_running = last.is_live() && job.state.is_in_use().map_err(StateError::from)?;
    let beats = view::heartbeats(&job.ledger, &job.uid, job.clock.now()).await.map_err(ReadError::Request)?;
    let rate = beats.records.iter().map(|beat| beat.rate).sum();
    let blocked = beats.records.iter().flat_map(|beat| &beat.blocked).map(|blocked| blocked.message.clone()).next();
    let numbers = last.progress().unwrap_or_default();
    let human = migration_core::size::human;
    let phase = if last.is_live() && !is_running { "Interrupted" } else { rows::result(&last.record) };
    let row = StatusRow {
        phase,
        objects: format!("{}/{}", numbers.done, numbers.objects),
        bytes: format!("{}/{}", human(numbers.done_bytes), human(numbers.bytes)),
        failed: numbers.failed,
        rate: if is_running { format!("{}/s", human(rate)) } else { String::new() },
        eta: eta_seconds(&numbers, rate).filter(|_| is_running).map(|s| format!("{s}s")).unwrap_or_default(),
        waiting: blocked.filter(|_| is_running).unwrap_or_default(),
        run: last.record.run.clone(),
        ..nothing
    };
    Ok((row, is_running))
}
