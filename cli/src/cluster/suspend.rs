//! `s3migrate cluster suspend` and `resume`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::ClusterError;
use super::jobs::Jobs;
use crate::exit::Exit;

/// Arguments of `s3migrate cluster suspend` and `resume`.
#[derive(Args, Clone, Debug)]
pub struct SuspendArgs {
    /// Name of the MigrationJob.
    #[arg(value_name = "NAME")]
    job: String,
}

/// Sets spec.suspend.
pub async fn set(
    args: &SuspendArgs,
    suspend: bool,
    jobs: &Jobs,
    out: &mut (dyn Write + Send),
) -> Result<Exit, ClusterError> {
    let job = jobs.patch(&args.job, &json!({"spec": {"suspend": suspend}})).await?;
    let state = if job.spec.suspend { "suspended" } else { "resumed" };
    writeln!(out, "{} {state}", args.job)?;
    Ok(Exit::Done)
}
