//! `s3migrate plan` and `s3migrate verify`: scans that copy nothing.

use std::io;
use std::path::PathBuf;

use clap::Args;
use migration_aws::SystemClock;
use migration_core::ports::Clock as _;
use migration_program::plan::{self, PlanArgs};
use migration_program::verification::{self, VerifyArgs};

use super::LocalError;
use crate::exit::Exit;
use crate::manifest;
use crate::migration::{Migration, Stop};
use crate::run::{self, RunError, RunOptions, SideArgs};
use crate::state_dir::{KeptPlan, StateArgs};
use crate::stores::{DestinationStore, SourceStore};

/// Arguments of `s3migrate plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanFilesArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

/// Arguments of `s3migrate verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyFilesArgs {
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    verify: VerifyArgs,
}

/// Manifests to check.
#[derive(Args, Clone, Debug)]
struct FileArgs {
    /// Manifests, as for `s3migrate run`.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    sides: SideArgs,
}

/// Prints the plan of each job.
pub async fn plan(args: &PlanFilesArgs, state: &StateArgs) -> Result<Exit, LocalError> {
    let stop = Stop::on_signals().map_err(RunError::Signals)?;
    let root = state.root()?;
    for migration in migrations(&args.files, state, &stop).await? {
        let plan = Box::pin(plan::plan(migration.process("planner", &stop), &args.plan)).await?;
        plan.print(args.plan.output)?;
        // For the page, which shows what a run would do.
        let kept = KeptPlan { at: SystemClock.now(), plan: serde_json::to_value(&plan).map_err(io::Error::from)? };
        root.job(&migration.config.job).write_plan(&kept)?;
    }
    Ok(Exit::Done)
}

/// Verifies each job.
pub async fn verify(args: &VerifyFilesArgs, state: &StateArgs) -> Result<Exit, LocalError> {
    let stop = Stop::on_signals().map_err(RunError::Signals)?;
    let mut exit = Exit::Done;
    for migration in migrations(&args.files, state, &stop).await? {
        let process = migration.process("verifier", &stop);
        let found =
            Box::pin(verification::verify(process, args.verify.method.into(), args.verify.list.as_deref())).await?;
        println!("{}: {}", migration.config.job.name, verification::describe(&found));
        exit = exit.and(if found.is_whole() { Exit::Done } else { Exit::Different });
    }
    Ok(exit)
}

async fn migrations(
    args: &FileArgs,
    state: &StateArgs,
    stop: &Stop,
) -> Result<Vec<Migration<SourceStore, DestinationStore>>, LocalError> {
    let documents = manifest::load(&args.files, &mut io::stdin().lock()).map_err(RunError::from)?;
    let root = state.root()?;
    let mut migrations = Vec::new();
    for job in run::local_jobs(&documents, &args.sides, &root)? {
        let directory = root.job(&job.config.job);
        let state = directory.open()?;
        directory.write_resource(&job.job)?;
        let migration = run::connect(&job, state, &RunOptions::default(), stop).await;
        run::check_sides(&migration).await?;
        migrations.push(migration);
    }
    Ok(migrations)
}
