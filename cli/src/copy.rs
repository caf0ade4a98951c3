//! `s3migrate copy`: copies one bucket or prefix to another, without a manifest.

mod location;
mod resource;

use std::sync::Arc;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use migration_core::size::ByteSize;
use migration_program::plan::{self, Output, PlanArgs, PlanError};
use migration_program::verification::Method;

use crate::display;
use crate::exit::Exit;
use crate::manifest::{self, ManifestError};
use crate::migration::Stop;
use crate::run::{self, RunError, RunOptions, SideArgs};
use crate::state_dir::StateArgs;

pub use location::Location;

/// Arguments of `s3migrate copy`.
#[derive(Args, Clone, Debug)]
pub struct CopyArgs {
    /// Where to copy from: s3://BUCKET or s3://BUCKET/PREFIX. A prefix means a directory: photo is photo/.
    #[arg(value_name = "SRC")]
    pub source: Location,
    /// Where to copy to, in the same form.
    #[arg(value_name = "DST")]
    pub destination: Location,
    /// Take both prefixes as plain strings, as S3 does: photo is the start of photos/a and of photo/b.
    #[arg(long)]
    pub prefix_as_string: bool,
    #[command(flatten)]
    pub sides: SideArgs,
    #[command(flatten)]
    pub services: ServiceArgs,
    #[command(flatten)]
    pub objects: ObjectArgs,
    #[command(flatten)]
    pub transfer: TransferArgs,
    /// Show what would be copied and what it would cost, and copy nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the MigrationJob of this command as YAML, and copy nothing.
    #[arg(long, conflicts_with = "dry_run")]
    pub print_manifest: bool,
    #[command(flatten)]
    pub run: RunOptions,
}

/// Options of the two services.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Services")]
pub struct ServiceArgs {
    /// Region of the source.
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    pub source_region: String,
    /// Region of the destination.
    #[arg(long, value_name = "REGION", env = "AWS_REGION", default_value = "us-east-1")]
    pub destination_region: String,
    /// URL of the source's service, if it is not the region's. Buckets are then addressed by path, except at Amazon.
    #[arg(long, value_name = "URL")]
    pub source_endpoint: Option<String>,
    /// URL of the destination's service.
    #[arg(long, value_name = "URL")]
    pub destination_endpoint: Option<String>,
    /// Address the source's buckets by path or not.
    #[arg(long, value_name = "BOOL")]
    pub source_path_style: Option<bool>,
    /// Address the destination's buckets by path or not.
    #[arg(long, value_name = "BOOL")]
    pub destination_path_style: Option<bool>,
    /// Read the source without credentials.
    #[arg(long, conflicts_with = "source_profile")]
    pub source_anonymous: bool,
    /// Pay for requests to the source's bucket.
    #[arg(long)]
    pub source_requester_pays: bool,
    /// File of CA certificates in PEM to trust at the source, besides those of the system.
    #[arg(long, value_name = "FILE")]
    pub source_ca_bundle: Option<std::path::PathBuf>,
    /// File of CA certificates in PEM to trust at the destination.
    #[arg(long, value_name = "FILE")]
    pub destination_ca_bundle: Option<std::path::PathBuf>,
}

/// Options that select objects.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Objects")]
pub struct ObjectArgs {
    /// Leave out objects whose BUCKET/KEY matches this pattern; may be repeated. * matches any characters, / included.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out smaller objects, as in 16Mi.
    #[arg(long, value_name = "SIZE")]
    pub min_size: Option<ByteSize>,
    /// Leave out larger objects.
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<ByteSize>,
    /// Leave out objects modified before this time, such as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub modified_after: Option<Timestamp>,
    /// Leave out objects modified at or after this time.
    #[arg(long, value_name = "TIME")]
    pub modified_before: Option<Timestamp>,
    /// How to find out which objects at the destination are up to date.
    #[arg(long, default_value = "default")]
    pub compare: Compare,
    /// Delete objects at the destination that the source does not have.
    #[arg(long, requires = "max_deletes")]
    pub delete: bool,
    /// Most objects that may be deleted; if more are extra, none is.
    #[arg(long, value_name = "N", requires = "delete")]
    pub max_deletes: Option<u64>,
}

/// How objects are compared; see spec.compare of a MigrationJob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compare {
    /// ETags; if they are inconclusive, times.
    #[default]
    Default,
    /// Sizes alone.
    Size,
    /// ETags, without times.
    Etag,
    /// ETags; if they are inconclusive, checksums.
    Checksum,
}

/// Options of the transfer.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Transfer")]
pub struct TransferArgs {
    /// Storage class at the destination. By default the object's own.
    #[arg(long, value_name = "CLASS")]
    pub storage_class: Option<String>,
    /// Most objects copied at the same time. By default up to 256: as many as both sides answer without queueing.
    #[arg(long, value_name = "N")]
    pub files_at_once: Option<u32>,
    /// Parts of one object copied at the same time.
    #[arg(long, value_name = "N")]
    pub parts_at_once: Option<u32>,
    /// Most bytes held in memory, as in 256Mi.
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<ByteSize>,
    /// Compare both sides again after the copy. `read` reads every byte of both.
    #[arg(long, value_name = "METHOD")]
    pub verify: Option<Method>,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file of certificates can't be read.
    #[error("failed to read {path}: {source}")]
    Certificates {
        /// Path of the file.
        path: std::path::PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The manifest could not be written.
    #[error("failed to write manifest: {0}")]
    Print(#[from] serde_yaml::Error),
    /// The plan failed.
    #[error(transparent)]
    Plan(Box<PlanError>),
    /// The copy failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CopyError {
    /// Returns the exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Certificates { .. } => Exit::Usage,
            Self::Print(_) | Self::Plan(_) => Exit::Failed,
            Self::Run(error) => error.exit(),
        }
    }
}

impl From<PlanError> for CopyError {
    fn from(error: PlanError) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl From<ManifestError> for CopyError {
    fn from(error: ManifestError) -> Self {
        Self::Run(error.into())
    }
}

/// Runs the command.
pub async fn copy(args: &CopyArgs, state: &StateArgs) -> Result<Exit, CopyError> {
    let manifest = resource::manifest(args)?;
    if args.print_manifest {
        print!("{manifest}");
        return Ok(Exit::Done);
    }
    let documents = manifest::load(&["-".into()], &mut manifest.as_bytes())?;
    let root = state.root().map_err(RunError::from)?;
    let stop = Stop::on_signals().map_err(RunError::Signals)?;
    let display = display::display(args.run.display);
    let jobs = run::local_jobs(&documents, &args.sides, &root)?;
    run::show_terms(&jobs, &args.run, display.as_ref());
    let mut exit = Exit::Done;
    for job in jobs {
        let directory = root.job(&job.config.job);
        if args.dry_run {
            let state = directory.open().map_err(RunError::from)?;
            let migration = run::connect(&job, state, &args.run, &stop).await;
            run::check_sides(&migration).await?;
            let output = if args.run.display.json { Output::Json } else { Output::Text };
            let plan_args = PlanArgs { list: None, prices: None, output };
            let plan = Box::pin(plan::plan(migration.process("planner", &stop), &plan_args)).await?;
            plan.print(output)?;
        } else {
            exit = exit.and(run::run_job(job, &directory, &args.run, &Arc::clone(&display), &stop).await?);
        }
    }
    Ok(exit)
}
