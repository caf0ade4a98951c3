//! Environment of the tests and the demo; see `kind-tests --help`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kind_tests::report::Suite;
use kind_tests::{chart, demo, report, services};

/// Services, results and the demo for tests on a cluster.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the local services and the proxies that are not running.
    Up,
    /// Stop the services and proxies; their data is lost.
    Down,
    /// Succeed if all services and proxies are running.
    Running,
    /// Run the proxies in the foreground.
    #[command(hide = true)]
    Proxies,
    /// Copy a tree of real files and show the progress.
    Demo,
    /// Print the chart's README.
    #[command(hide = true)]
    ChartReadme,
    /// Remove the results of earlier tests.
    Clear {
        /// Suite of the tests.
        #[arg(long, default_value = "cluster")]
        suite: Suite,
    },
    /// Print the table of results. Fails if a test failed.
    Results {
        /// Suite of the tests.
        #[arg(long, default_value = "cluster")]
        suite: Suite,
        /// Also write the table, with a heading, to this file.
        #[arg(long)]
        write: Option<PathBuf>,
        /// Keep the rows of other cases that the file has.
        #[arg(long, requires = "write")]
        merge: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kind-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up => services::up().await,
        Command::Down => services::down().await,
        Command::Running => services::running(),
        Command::Proxies => services::run_proxies().await,
        Command::Demo => demo::run().await,
        Command::ChartReadme => {
            print!("{}", chart::readme()?);
            Ok(())
        }
        Command::Clear { suite } => report::clear(suite),
        Command::Results { suite, write, merge } => results(suite, write, merge),
    }
}

fn results(suite: Suite, write: Option<PathBuf>, merge: bool) -> anyhow::Result<()> {
    let rows = report::rows(suite)?;
    let table = report::table(&rows);
    println!("{table}");
    if let Some(path) = write {
        let earlier = if merge { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        std::fs::write(path, report::document(suite, &rows, &report::commit()?, &earlier))?;
    }
    let failed = rows.iter().filter(|row| !row.passed).count();
    anyhow::ensure!(failed == 0 && !rows.is_empty(), "{failed} of {} cases failed", rows.len());
    Ok(())
}
