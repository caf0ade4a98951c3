//! `s3migrate demo`: a first look that needs nothing. Two S3 servers in this process, a tree of objects, a run in a
//! process of its own that is killed in the middle, its continuation, a verification that reads both sides, the report.

mod script;
mod servers;
mod tree;

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::exit::Exit;
use crate::private_file;
use script::{JOB, manifest};
use servers::{Servers, ServersError};
use tree::{Tree, TreeError};

/// Interval between two looks at how far the run is.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Time after which the demo gives up on a run.
const PATIENCE: Duration = Duration::from_mins(10);

/// Arguments of `s3migrate demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Copy the files of this directory instead of generated objects.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Number of small objects to generate.
    #[arg(long, default_value_t = 1_500, conflicts_with = "from")]
    objects: u32,
    /// Print plain lines, even on a terminal.
    #[arg(long)]
    plain: bool,
}

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The servers could not be started or filled.
    #[error(transparent)]
    Servers(#[from] ServersError),
    /// The objects could not be made.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file or process failed.
    #[error("failed to {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// A run did not end well.
    #[error("failed to run the migration: it ended with {0}")]
    Run(ExitStatus),
    /// A run did not end in time.
    #[error("failed to run the migration: it did not end within {} s", PATIENCE.as_secs())]
    Late,
    /// The copy is not what was copied.
    #[error("failed to compare the servers: {0}")]
    Different(String),
}

fn io(action: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |source| DemoError::Io { action, source }
}

/// Runs the demo.
pub async fn demo(args: &DemoArgs) -> Result<Exit, DemoError> {
    let begun = Instant::now();
    let directory = tempfile::tempdir().map_err(io("create a directory"))?;
    let tree = match &args.from {
        Some(from) => Tree::of_directory(from)?,
        None => Tree::generated(args.objects),
    };
    let servers = Servers::start().await?;
    let size = servers.fill(&tree).await?;
    say(&format!("1. two S3 servers with keys of their own, and {size} in the first one"));
    let file = directory.path().join("job.yaml");
    private_file::write(&file, &manifest(&servers)).map_err(io("write the manifest"))?;
    let program = Program { directory: directory.path().to_owned(), plain: args.plain };

    say("2. s3migrate run job.yaml, and kill -9 in the middle");
    let mut run = program.start(&["run", "job.yaml"])?;
    let killed = kill_in_the_middle(&mut run, &servers).await?;
    if let Some(there) = killed {
        say(&format!("   killed: {there} are at the destination, and parts of others"));
    }
    say("3. the same command again: it continues, and verifies by reading both sides");
    program.run_to_end(&["run", "job.yaml"]).await?;
    say("4. s3migrate report");
    program.run_to_end(&["report", JOB]).await?;
    let compared = servers.compare()?;
    let seconds = begun.elapsed().as_secs_f64();
    say(&format!("5. {compared} compared byte by byte inside the servers: all equal ({seconds:.1} s in all)"));
    Ok(Exit::Done)
}

/// Prints what the demo does; the runs print the rest.
fn say(line: &str) {
    eprintln!("{line}");
}

/// The program itself, in the directory of the demo.
struct Program {
    directory: PathBuf,
    plain: bool,
}

impl Program {
    fn start(&self, arguments: &[&str]) -> Result<Child, DemoError> {
        let program = std::env::current_exe().map_err(io("find this program"))?;
        let mut command = Command::new(program);
        command.args(arguments).arg("--state-dir").arg(self.directory.join("state"));
        if self.plain && arguments.first() == Some(&"run") {
            command.arg("--plain");
        }
        let command = command.current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        command.spawn().map_err(io("start a process"))
    }

    async fn run_to_end(&self, arguments: &[&str]) -> Result<(), DemoError> {
        let mut child = self.start(arguments)?;
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await.map_err(|_| DemoError::Late)?;
        let status = ended.map_err(io("wait for a process"))?;
        if status.success() { Ok(()) } else { Err(DemoError::Run(status)) }
    }
}

/// Kills a run once a part of the objects is at the destination and a large object is under way. Returns what is there
/// then, or `None` if the run ended before.
async fn kill_in_the_middle(run: &mut Child, servers: &Servers) -> Result<Option<String>, DemoError> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(status) = run.try_wait().map_err(io("look after a process"))? {
            return if status.success() { Ok(None) } else { Err(DemoError::Run(status)) };
        }
        if servers.is_in_the_middle() {
            // SIGKILL: nothing can be tidied up.
            run.start_kill().map_err(io("kill a process"))?;
            run.wait().await.map_err(io("wait for a process"))?;
            return Ok(Some(servers.progress()));
        }
        sleep(LOOK_EVERY).await;
    }
    Err(DemoError::Late)
}
