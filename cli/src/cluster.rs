//! Commands about the MigrationJobs of a cluster, through its API server. `kubectl s3migrate` has the same ones.

mod connection;
mod failures;
mod jobs;
mod redrive;
mod rows;
mod status;
mod suspend;
#[cfg(test)]
mod tests;
mod trigger;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use kube::Client;
use migration_core::error::ServiceError;

use crate::exit::Exit;
use connection::{ConnectError, Connection, ConnectionArgs};
use failures::FailuresArgs;
use jobs::{Jobs, RequestError};
use redrive::RedriveArgs;
use status::StatusArgs;
use suspend::SuspendArgs;
use trigger::TriggerArgs;

/// The name by which kubectl calls the program.
const PLUGIN: &str = "kubectl-s3migrate";

/// Arguments of `s3migrate cluster` and `kubectl s3migrate`.
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(subcommand)]
    command: ClusterCommand,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
enum ClusterCommand {
    /// Show the state of MigrationJobs.
    Status(StatusArgs),
    /// Start a run of a MigrationJob.
    Trigger(TriggerArgs),
    /// Suspend a MigrationJob: its pods stop, and no work is lost.
    Suspend(SuspendArgs),
    /// Resume a suspended MigrationJob.
    Resume(SuspendArgs),
    /// List the first objects that failed in the last run, with the reasons.
    Failures(FailuresArgs),
    /// Send the messages among the dead letters to the workers again.
    Redrive(RedriveArgs),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no cluster to talk to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The API server did not do what it was asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The run can't be waited for, because it will not start by itself.
    #[error(
        "failed to wait for the run: MigrationJob {name} is suspended; the run starts after `s3migrate cluster resume {name}`"
    )]
    Suspended {
        /// Name of the job.
        name: String,
    },
    /// Another trigger replaced this one.
    #[error("failed to wait for the run: spec.trigger.manual of MigrationJob {name} was changed to {now:?} meanwhile")]
    Superseded {
        /// Name of the job.
        name: String,
        /// The trigger now.
        now: String,
    },
    /// The run took too long for this command. It continues.
    #[error(
        "failed to wait for the run: it has not ended within {0}, and continues; `s3migrate cluster status` shows it"
    )]
    TimedOut(String),
    /// The watch ended, which it does not do by itself.
    #[error("failed to watch MigrationJobs: the watch ended")]
    WatchEnded,
    /// The job has no queue.
    #[error(
        "failed to find the queue of MigrationJob {0}: its status names none; `s3migrate cluster status {0}` tells why"
    )]
    NoQueue(String),
    /// The queue can't be used.
    #[error("failed to redrive dead letters: {0}")]
    Queue(#[from] ServiceError),
    /// The queue does not take a message.
    #[error("failed to redrive dead letters: the queue rejected a message, which stays among the dead letters")]
    Rejected,
    /// The output could not be written.
    #[error("failed to write output: {0}")]
    Write(#[from] io::Error),
}

impl ClusterError {
    /// Returns the exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Connect(_) | Self::Request(RequestError::NotFound { .. }) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Returns true if the program was called as a plugin of kubectl.
pub fn is_plugin(program: Option<&OsStr>) -> bool {
    program.and_then(|path| Path::new(path).file_stem()).is_some_and(|name| name == PLUGIN)
}

/// Connects to the cluster and runs a command.
pub async fn cluster(args: &ClusterArgs) -> Result<Exit, ClusterError> {
    let Connection { client, namespace } = args.connection.connect().await?;
    run(&args.command, client, &namespace, &mut io::stdout()).await
}

async fn run(
    command: &ClusterCommand,
    client: Client,
    namespace: &str,
    out: &mut (dyn Write + Send),
) -> Result<Exit, ClusterError> {
    let jobs = |client| Jobs::new(client, Some(namespace));
    match command {
        ClusterCommand::Status(args) => {
            let jobs = if args.all_namespaces { Jobs::new(client, None) } else { jobs(client) };
            status::status(args, &jobs, out).await
        }
        ClusterCommand::Trigger(args) => trigger::trigger(args, &jobs(client), &trigger::fresh(), out).await,
        ClusterCommand::Suspend(args) => suspend::set(args, true, &jobs(client), out).await,
        ClusterCommand::Resume(args) => suspend::set(args, false, &jobs(client), out).await,
        ClusterCommand::Failures(args) => failures::failures(args, &jobs(client), out).await,
        ClusterCommand::Redrive(args) => redrive::redrive(args, &jobs(client), out).await,
    }
}
