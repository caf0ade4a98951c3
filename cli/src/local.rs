//! Commands about the state of jobs on this machine. They may run beside a live run.

mod check;
mod rows;
mod status;

use std::io;
use std::sync::Arc;

use clap::{Args, Subcommand};
use migration_aws::SystemClock;
use migration_core::ports::Clock;
use migration_core::records::RunRecord;
use migration_ledger::{ReadError, view};
use migration_local::ledger::LocalLedger;
use migration_local::state::State;
use migration_program::plan::PlanError;
use migration_program::verification::VerifyError;

use crate::exit::Exit;
use crate::run::RunError;
use crate::state_dir::{StateArgs, StateError};
use crate::table::{self, Output};
use check::{PlanFilesArgs, VerifyFilesArgs};
use status::StatusArgs;

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum LocalArgs {
    /// Show what a run would do and cost, without doing it.
    Plan(PlanFilesArgs),
    /// Compare both sides again, independently of the run.
    Verify(VerifyFilesArgs),
    /// Show the state of jobs.
    Status(StatusArgs),
    /// List the runs of a job.
    Runs(JobArgs),
    /// List the objects that failed in a run, with the reasons.
    Failures(FailureArgs),
    /// Summarize a run: what was copied, what failed and why, and its verification.
    Report(ReportArgs),
}

/// Arguments of commands about one job.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// Name of the job: NAME, or NAMESPACE/NAME. May be left out if there is only one.
    job: Option<String>,
    /// Form of the output.
    #[arg(long, short, default_value = "table")]
    output: Output,
}

/// Arguments of `s3migrate failures`.
#[derive(Args, Clone, Debug)]
pub struct FailureArgs {
    #[command(flatten)]
    job: JobArgs,
    /// ID of the run. By default the last one.
    #[arg(long)]
    run: Option<String>,
    /// Most objects to list.
    #[arg(long, default_value_t = 1_000)]
    limit: u32,
}

/// Arguments of `s3migrate report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    #[command(flatten)]
    job: JobArgs,
    /// ID of the run. By default the last one.
    #[arg(long)]
    run: Option<String>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The state can't be used.
    #[error(transparent)]
    State(Box<StateError>),
    /// A record can't be read.
    #[error(transparent)]
    Read(Box<ReadError>),
    /// The job has no run, or not this one.
    #[error("failed to find {0}; s3migrate runs lists the runs of a job")]
    NoRun(String),
    /// The output could not be written.
    #[error("failed to write output: {0}")]
    Write(#[from] io::Error),
    /// The job can't be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The plan failed.
    #[error(transparent)]
    Plan(Box<PlanError>),
    /// The verification failed.
    #[error(transparent)]
    Verify(Box<VerifyError>),
}

impl From<StateError> for LocalError {
    fn from(error: StateError) -> Self {
        Self::State(Box::new(error))
    }
}

impl From<ReadError> for LocalError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}

impl From<PlanError> for LocalError {
    fn from(error: PlanError) -> Self {
        Self::Plan(Box::new(error))
    }
}

impl From<VerifyError> for LocalError {
    fn from(error: VerifyError) -> Self {
        Self::Verify(Box::new(error))
    }
}

impl LocalError {
    /// Returns the exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Run(error) => error.exit(),
            Self::NoRun(_) => Exit::Usage,
            Self::State(error) if matches!(**error, StateError::NoJob { .. }) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Runs a command.
pub async fn local(args: &LocalArgs, state: &StateArgs) -> Result<Exit, LocalError> {
    match args {
        LocalArgs::Plan(args) => check::plan(args, state).await,
        LocalArgs::Verify(args) => check::verify(args, state).await,
        LocalArgs::Status(args) => status::status(args, state).await,
        LocalArgs::Runs(args) => runs(args, state).await,
        LocalArgs::Failures(args) => failures(args, state).await,
        LocalArgs::Report(args) => report(args, state).await,
    }
}

/// The ledger of a job, and the UID that its records have.
struct OpenJob {
    ledger: LocalLedger,
    uid: String,
    clock: Arc<dyn Clock>,
    state: State,
}

impl OpenJob {
    fn attach(directory: &crate::state_dir::JobDirectory) -> Result<Self, LocalError> {
        let resource = directory.resource()?;
        let uid = resource.and_then(|job| job.metadata.uid).unwrap_or_default();
        let state = directory.attach()?;
        Ok(Self { ledger: LocalLedger::new(&state), uid, clock: Arc::new(SystemClock), state })
    }

    fn find(args: &JobArgs, state: &StateArgs) -> Result<Self, LocalError> {
        Self::attach(&state.root()?.find(args.job.as_deref())?)
    }

    /// Reads a run, or the last one.
    async fn run(&self, id: Option<&str>) -> Result<RunRecord, LocalError> {
        let found = match id {
            Some(id) => view::run(&self.ledger, &self.uid, id).await?,
            None => view::last_run(&self.ledger, &self.uid).await?,
        };
        found.ok_or_else(|| LocalError::NoRun(id.map_or_else(|| "a run".to_owned(), |id| format!("run {id}"))))
    }
}

async fn runs(args: &JobArgs, state: &StateArgs) -> Result<Exit, LocalError> {
    let job = OpenJob::find(args, state)?;
    let mut rows = Vec::new();
    let found = view::runs(&job.ledger, &job.uid).await.map_err(ReadError::Request)?;
    for run in &found.records {
        rows.push(rows::RunRow::new(run, &view::tally(&job.ledger, &job.uid, run).await?));
    }
    table::print(&rows, args.output)?;
    warn_unreadable(found.unreadable.count);
    Ok(Exit::Done)
}

async fn failures(args: &FailureArgs, state: &StateArgs) -> Result<Exit, LocalError> {
    let job = OpenJob::find(&args.job, state)?;
    let run = job.run(args.run.as_deref()).await?;
    let found = view::failures(&job.ledger, &job.uid, &run, args.limit).await.map_err(ReadError::Request)?;
    let rows: Vec<_> = found.records.iter().map(|failure| rows::FailureRow::new(failure, &run.pairs)).collect();
    table::print(&rows, args.job.output)?;
    if rows.len() >= usize::try_from(args.limit).unwrap_or(usize::MAX) {
        eprintln!("s3migrate: there may be more; --limit sets how many are listed");
    }
    warn_unreadable(found.unreadable.count);
    Ok(Exit::Done)
}

async fn report(args: &ReportArgs, state: &StateArgs) -> Result<Exit, LocalError> {
    let job = OpenJob::find(&args.job, state)?;
    let run = job.run(args.run.as_deref()).await?;
    let tally = view::tally(&job.ledger, &job.uid, &run).await?;
    let verification = view::verification(&job.ledger, &job.uid, &run.run).await?;
    let failures = view::failures(&job.ledger, &job.uid, &run, u32::MAX).await.map_err(ReadError::Request)?;
    let rows = rows::summary(&run, &tally, verification.as_ref(), &failures.records);
    table::print(&rows, args.job.output)?;
    warn_unreadable(failures.unreadable.count);
    Ok(Exit::Done)
}

fn warn_unreadable(count: u64) {
    if count > 0 {
        eprintln!("s3migrate: {count} records can't be read and are left out");
    }
}
