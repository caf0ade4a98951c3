//! `s3migrate retry`: copies the objects again that failed in a run, and nothing else.
//!
//! The failures become the work list of a run of its own, so that the objects are compared, copied and recorded as by
//! any run. What is copied is written down before: an interrupted retry is continued with the same list.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use migration_core::config::{ConfigError, JobConfig, ValidConfig};
use migration_core::outcome::FailureClass;
use migration_core::records::RunRecord;
use migration_ledger::{ReadError, view};
use migration_local::ledger::LocalLedger;

use crate::display::{self, Display};
use crate::event::Event;
use crate::exit::Exit;
use crate::manifest::{self, LocalJob};
use crate::migration::Stop;
use crate::run::{self, RunError, RunOptions, SideArgs};
use crate::state_dir::{JobDirectory, StateArgs, StateError};
use crate::stores::{self, Selection, WorkList, WorkListError};

/// Arguments of `s3migrate retry`.
#[derive(Args, Clone, Debug)]
pub struct RetryArgs {
    /// Manifests, as for `s3migrate run`.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub which: WhichArgs,
    #[command(flatten)]
    pub sides: SideArgs,
    #[command(flatten)]
    pub run: RunOptions,
}

/// Options that select failures.
#[derive(Args, Clone, Debug, Default)]
pub struct WhichArgs {
    /// Only objects whose BUCKET/KEY at the source matches this pattern; may be repeated. * matches any characters, /
    /// included.
    #[arg(long = "key", value_name = "PATTERN")]
    pub keys: Vec<String>,
    /// Only failures of this class, as `s3migrate failures` shows it; may be repeated.
    #[arg(long = "class", value_name = "CLASS", value_parser = class_parser())]
    pub classes: Vec<FailureClass>,
    /// ID of the run whose failures are retried. By default the last one.
    #[arg(long = "run", value_name = "RUN")]
    pub of_run: Option<String>,
}

/// Why nothing could be retried, or a retry failed.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// The failures can't be read.
    #[error(transparent)]
    Read(Box<ReadError>),
    /// The list of failures can't be read.
    #[error(transparent)]
    List(#[from] WorkListError),
    /// The job has no such run.
    #[error("failed to find run {0}; s3migrate runs lists the runs of a job")]
    NoRun(String),
    /// A run that is no retry is live, so that its failures are not final.
    #[error("failed to retry: run {0} has not ended; s3migrate run, with the same files, continues it")]
    RunIsLive(String),
    /// A retry of other objects is live.
    #[error(
        "failed to retry: run {0} is a retry of other objects and has not ended; s3migrate retry without --key, \
         --class and --run continues it"
    )]
    OtherIsLive(String),
    /// It was not written down what the live retry copies.
    #[error("failed to continue run {0}: the file retry.json in the state directory of the job is gone")]
    NoSelection(String),
    /// An object is in a bucket that the job does not have any more.
    #[error("failed to retry: objects of bucket {0} failed, which is the source of no pair in spec.buckets any more")]
    OtherBucket(String),
    /// The job can't have a work list.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The job can't be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<ReadError> for RetryError {
    fn from(error: ReadError) -> Self {
        Self::Read(Box::new(error))
    }
}

impl From<StateError> for RetryError {
    fn from(error: StateError) -> Self {
        Self::Run(error.into())
    }
}

impl RetryError {
    /// Returns the exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Run(error) => error.exit(),
            Self::Read(_) | Self::List(WorkListError::Ledger(_)) | Self::NoSelection(_) => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}

/// Runs the command.
pub async fn retry(args: &RetryArgs, state: &StateArgs) -> Result<Exit, RetryError> {
    let documents = manifest::load(&args.files, &mut io::stdin().lock()).map_err(RunError::from)?;
    let root = state.root()?;
    let display = display::display(args.run.display);
    let jobs = run::local_jobs(&documents, &args.sides, &root)?;
    run::show_terms(&jobs, &args.run, display.as_ref());
    let stop = Stop::on_signals().map_err(RunError::Signals)?;
    let mut exit = Exit::Done;
    for job in jobs {
        let directory = root.job(&job.config.job);
        exit = exit.and(retry_job(job, &directory, args, &display, &stop).await?);
    }
    display.end();
    Ok(exit)
}

/// Retries one job, or continues its retry.
async fn retry_job(
    mut job: LocalJob,
    directory: &JobDirectory,
    args: &RetryArgs,
    display: &Arc<dyn Display>,
    stop: &Stop,
) -> Result<Exit, RetryError> {
    let state = directory.open()?;
    let (ledger, uid) = (LocalLedger::new(&state), job.config.job.uid.clone());
    let notice = |message: String| display.show(&Event::Notice { message });
    let name = &directory.name;
    let last = view::last_run(&ledger, &uid).await?;
    let Some(selection) = select(last.as_ref(), directory.selection()?, &job, &args.which)? else {
        notice(format!("{name}: nothing to retry: the job has not run yet"));
        return Ok(Exit::Done);
    };
    let run = view::run(&ledger, &uid, &selection.run).await?;
    let run = run.ok_or_else(|| RetryError::NoRun(selection.run.clone()))?;
    if run.end.is_none() {
        return Err(RetryError::RunIsLive(run.run));
    }
    let failures = WorkList::open(ledger, &uid, run, &selection).await?;
    if failures.unreadable > 0 {
        notice(format!("{name}: {} records of failures can't be read and are left out", failures.unreadable));
    }
    if failures.objects == 0 {
        notice(format!("{name}: nothing to retry: {}", nothing(&selection)));
        return Ok(Exit::Done);
    }
    check_buckets(&job.config, &failures.buckets)?;
    directory.write_selection(&selection)?;
    directory.write_resource(&job.job)?;
    notice(format!("{name}: retrying {} objects that failed in run {}", failures.objects, selection.run));
    job.config = with_list(&job.config)?;
    let mut migration = run::connect(&job, state, &args.run, stop).await;
    migration.source = migration.source.with_list(failures);
    Ok(run::run_to_end(&migration, display, stop).await?)
}

/// Decides what is retried: what a live retry began with, or what the options select. Returns `None` if there has been
/// no run.
///
/// | last run | options | what is retried |
/// |---|---|---|
/// | none | | nothing |
/// | ended | any | its failures, or those of `--run`, that `--key` and `--class` select |
/// | a live retry | none, or those that it began with | what it began with |
/// | a live retry | others | an error |
/// | another live run | | an error |
fn select(
    last: Option<&RunRecord>,
    began_with: Option<Selection>,
    job: &LocalJob,
    which: &WhichArgs,
) -> Result<Option<Selection>, RetryError> {
    let WhichArgs { keys, classes, of_run } = which.clone();
    let Some(last) = last else {
        return of_run.map_or(Ok(None), |run| Err(RetryError::NoRun(run)));
    };
    let live = || last.run.clone();
    if last.end.is_some() {
        return Ok(Some(Selection { run: of_run.unwrap_or_else(live), keys, classes }));
    }
    if !stores::is_retry(last, job.job.spec.manifest.is_some()) {
        return Err(RetryError::RunIsLive(live()));
    }
    let began_with = began_with.ok_or_else(|| RetryError::NoSelection(live()))?;
    let is_same = keys == began_with.keys
        && classes == began_with.classes
        && of_run.as_ref().is_none_or(|run| *run == began_with.run);
    let is_any = keys.is_empty() && classes.is_empty() && of_run.is_none();
    if is_same || is_any { Ok(Some(began_with)) } else { Err(RetryError::OtherIsLive(live())) }
}

fn nothing(selection: &Selection) -> String {
    let Selection { run, keys, classes } = selection;
    let which = if keys.is_empty() && classes.is_empty() { "" } else { " that --key and --class select" };
    format!("run {run} has no failed objects{which}")
}

/// Checks that the job still has a pair for each bucket. Other rows would end the run.
fn check_buckets(config: &JobConfig, named: &BTreeSet<String>) -> Result<(), RetryError> {
    let is_source = |bucket: &&String| config.buckets.iter().any(|pair| pair.source_bucket == **bucket);
    match named.iter().find(|bucket| !is_source(bucket)) {
        None => Ok(()),
        Some(bucket) => Err(RetryError::OtherBucket(bucket.clone())),
    }
}

/// Returns the configuration of a run over the list: it replaces the job's own list, and deletes nothing, since a list
/// does not tell what else the source has.
fn with_list(config: &ValidConfig) -> Result<ValidConfig, ConfigError> {
    let config = JobConfig { manifest: Some(stores::location()), mirror: None, ..JobConfig::clone(config) };
    config.validate()
}

/// Parses a class by its name, and lists the names in the help.
fn class_parser() -> impl TypedValueParser<Value = FailureClass> {
    let names = FailureClass::ALL.map(FailureClass::as_str);
    PossibleValuesParser::new(names).try_map(|name| {
        let class = FailureClass::ALL.into_iter().find(|class| class.as_str() == name);
        class.ok_or("it is no class of failures")
    })
}

#[cfg(test)]
mod tests;
