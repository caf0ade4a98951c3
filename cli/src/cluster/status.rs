//! `s3migrate cluster status`.

use std::io::Write;
use std::pin::pin;

use clap::Args;
use kube::core::DeserializeGuard;

use super::ClusterError;
use super::jobs::{Found, Jobs};
use super::rows::{StatusRow, is_at_rest};
use crate::exit::Exit;
use crate::table::{self, Output};

/// Arguments of `s3migrate cluster status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Name of a MigrationJob. By default all of the namespace are shown.
    #[arg(value_name = "NAME", conflicts_with = "all_namespaces")]
    job: Option<String>,
    /// Show the MigrationJobs of all namespaces.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// Show the state again after each change, until nothing is going on.
    #[arg(long, short)]
    watch: bool,
    /// Form of the output.
    #[arg(long, short, default_value = "table")]
    output: Output,
}

/// Runs the command.
pub async fn status(args: &StatusArgs, jobs: &Jobs, out: &mut (dyn Write + Send)) -> Result<Exit, ClusterError> {
    if args.watch {
        return watch(args, jobs, out).await;
    }
    let found = match &args.job {
        Some(name) => vec![DeserializeGuard(Ok(jobs.get(name).await?))],
        None => jobs.list().await?,
    };
    if found.is_empty() {
        eprintln!("s3migrate: there are no MigrationJobs in {}", jobs.place());
        return Ok(Exit::Done);
    }
    table::write(out, &rows(&found), args.output)?;
    Ok(Exit::Done)
}

async fn watch(args: &StatusArgs, jobs: &Jobs, out: &mut (dyn Write + Send)) -> Result<Exit, ClusterError> {
    let mut changes = pin!(jobs.watch(args.job.as_deref()));
    let mut shown = Vec::new();
    while let Some(found) = jobs.next_change(&mut changes, args.job.as_deref()).await? {
        let rows = rows(&found);
        if rows != shown {
            table::write(out, &rows, args.output)?;
            shown = rows;
        }
        if found.iter().all(is_at_rest) {
            return Ok(Exit::Done);
        }
    }
    Err(ClusterError::WatchEnded)
}

fn rows(found: &[Found]) -> Vec<StatusRow> {
    found.iter().map(StatusRow::new).collect()
}
