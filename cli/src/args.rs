//! The command line.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use migration_program::{LogFormat, LogLevel, LogSettings};

#[cfg(feature = "cluster")]
use crate::cluster::{self, ClusterArgs};
use crate::copy::{self, CopyArgs};
use crate::demo::{self, DemoArgs};
use crate::exit::Exit;
use crate::generate::{self, CompletionArgs, CrdArgs, ManArgs};
use crate::iam_policy::{self, IamPolicyArgs};
use crate::import_config::{self, ImportConfigArgs};
use crate::local::{self, LocalArgs};
use crate::retry::{self, RetryArgs};
use crate::run::{self, RunArgs, print_error};
use crate::state_dir::StateArgs;
use crate::ui::{self, UiArgs, UiError};

/// Migrates S3 buckets from one machine: copies, resumes, verifies, reports.
#[derive(Debug, Parser)]
#[command(name = "s3migrate", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    state: StateArgs,
    /// Log to standard error what the engine does. RUST_LOG selects more precisely.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the MigrationJobs of manifests, or continue their runs.
    Run(Box<RunArgs>),
    /// Copy the objects of one bucket or prefix to another.
    Copy(Box<CopyArgs>),
    /// Copy the objects again that failed in the last run, and nothing else.
    Retry(Box<RetryArgs>),
    /// Show a migration on this machine: two servers, a run that is killed and continued, a verification.
    Demo(DemoArgs),
    #[command(flatten)]
    Local(LocalArgs),
    /// Show the jobs on this machine on a web page.
    Ui(UiArgs),
    /// Look at and steer the MigrationJobs of a cluster.
    #[cfg(feature = "cluster")]
    Cluster(ClusterArgs),
    #[command(flatten)]
    Print(PrintCommand),
}

/// Looks at and steers the MigrationJobs of a cluster.
#[cfg(feature = "cluster")]
#[derive(Debug, Parser)]
#[command(name = "kubectl s3migrate", bin_name = "kubectl s3migrate", version, propagate_version = true)]
struct Plugin {
    /// Log to standard error what is requested. RUST_LOG selects more precisely.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Commands that only print.
#[derive(Debug, Subcommand)]
enum PrintCommand {
    /// Convert the files of "Amazon S3 resumable upload" to a MigrationJob.
    ImportConfig(Box<ImportConfigArgs>),
    /// Print least-privilege IAM policies for a job.
    IamPolicy(Box<IamPolicyArgs>),
    /// Print the custom resource definition of MigrationJobs.
    Crd(CrdArgs),
    /// Print the completion script of a shell.
    Completion(CompletionArgs),
    /// Write the manual pages.
    Man(ManArgs),
}

/// Runs the program to its end. Not async, since an async function is compiled where it is awaited: here, and not once
/// more in `main.rs`.
pub fn main() -> ExitCode {
    migration_program::run(program())
}

async fn program() -> ExitCode {
    #[cfg(feature = "cluster")]
    if cluster::is_plugin(std::env::args_os().next().as_deref()) {
        let plugin = Plugin::parse();
        start_logging(plugin.verbose);
        return in_cluster(&plugin.cluster).await.into();
    }
    let cli = Cli::parse();
    start_logging(cli.verbose);
    execute(cli).await.into()
}

fn start_logging(verbose: bool) {
    // The log would disturb the bars, which show what matters of it.
    let filter = if verbose { LogLevel::Info.filter() } else { "off" };
    migration_program::start_logging(&LogSettings::new(LogFormat::Text, filter));
}

async fn execute(cli: Cli) -> Exit {
    let Cli { state, command, .. } = cli;
    // Boxed, since the compiler computes the size of a future from everything inside it.
    match command {
        Command::Run(args) => ended(Box::pin(run::run(&args, &state)).await, run::RunError::exit),
        Command::Copy(args) => ended(Box::pin(copy::copy(&args, &state)).await, copy::CopyError::exit),
        Command::Retry(args) => ended(Box::pin(retry::retry(&args, &state)).await, retry::RetryError::exit),
        Command::Demo(args) => ended(Box::pin(demo::demo(&args)).await, |_| Exit::Failed),
        Command::Print(command) => print(command),
        Command::Ui(args) => ended(Box::pin(ui::ui(&args, &state)).await, |_: &UiError| Exit::Failed),
        Command::Local(args) => ended(Box::pin(local::local(&args, &state)).await, local::LocalError::exit),
        #[cfg(feature = "cluster")]
        Command::Cluster(args) => in_cluster(&args).await,
    }
}

#[cfg(feature = "cluster")]
async fn in_cluster(args: &ClusterArgs) -> Exit {
    ended(Box::pin(cluster::cluster(args)).await, cluster::ClusterError::exit)
}

/// Runs a command that only prints.
fn print(command: PrintCommand) -> Exit {
    let out = &mut io::stdout().lock();
    match command {
        PrintCommand::ImportConfig(args) => ended(done(import_config::run(&args, out)), |_| Exit::Usage),
        PrintCommand::IamPolicy(args) => ended(done(iam_policy::run(&args, out)), |_| Exit::Usage),
        PrintCommand::Crd(args) => ended(done(generate::crd(args, out)), |_| Exit::Failed),
        PrintCommand::Completion(args) => {
            ended(done(generate::completion(args, &mut Cli::command(), out)), |_| Exit::Failed)
        }
        PrintCommand::Man(args) => ended(done(generate::man(&args, &mut Cli::command(), out)), |_| Exit::Failed),
    }
}

fn done<E>(result: Result<(), E>) -> Result<Exit, E> {
    result.map(|()| Exit::Done)
}

/// Returns the exit code of a command, and prints its error.
fn ended<E: std::error::Error>(result: Result<Exit, E>, exit: impl Fn(&E) -> Exit) -> Exit {
    match result {
        Ok(exit) => exit,
        Err(error) => {
            print_error(&error);
            exit(&error)
        }
    }
}

/// Returns the command, for completions and man pages.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn the_plugin_has_the_commands_of_cluster_at_the_top() {
        Plugin::command().debug_assert();
        let names = |command: &clap::Command| {
            command.get_subcommands().map(|command| command.get_name().to_owned()).collect::<Vec<_>>()
        };
        let mut cli = Cli::command();
        assert_eq!(names(&Plugin::command()), names(cli.find_subcommand_mut("cluster").unwrap()));
        for (program, expected) in [
            ("/usr/local/bin/kubectl-s3migrate", true),
            ("kubectl-s3migrate.exe", true),
            ("/usr/local/bin/s3migrate", false),
            ("kubectl-s3migrate/s3migrate", false),
        ] {
            assert_eq!(cluster::is_plugin(Some(program.as_ref())), expected, "{program}");
        }
        let help = Plugin::try_parse_from(["kubectl-s3migrate", "status", "--help"]).unwrap_err().to_string();
        assert!(help.contains("Usage: kubectl s3migrate status"), "{help}");
    }
}
