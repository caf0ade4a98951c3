//! The web page of the jobs on this machine: `s3migrate ui`, and `s3migrate run --ui`.
//!
//! Served on the loopback interface alone, to whoever has the token of this process. The token is in the part of the
//! address that browsers send to nobody.

mod jobs;
mod ledgers;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use migration_aws::SystemClock;
use migration_core::config::JobIdentity;
use migration_core::ports::Clock;
use migration_web::{Board, LoopbackGuard, Site};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::migration::Stop;
use crate::state_dir::{StateArgs, StateError, StateRoot};
use jobs::{Jobs, Selection};
use ledgers::Ledgers;

/// Interval between two looks at the jobs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time in which open pages have to have taken the last state, before the process ends.
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// Arguments of `s3migrate ui`.
#[derive(Args, Clone, Debug)]
pub struct UiArgs {
    /// Port of the page. By default any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

/// Options of a command that can show what it does on a page.
#[derive(Args, Clone, Debug, Default)]
pub struct PageArgs {
    /// Show the jobs of these manifests on a web page on this machine while they run. Its address, which holds a token, is
    /// printed to standard error.
    #[arg(long)]
    ui: bool,
    /// Show all jobs of the state directory on that page, as s3migrate ui does.
    #[arg(long, requires = "ui")]
    ui_all: bool,
    /// Port of that page. By default any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0, requires = "ui")]
    ui_port: u16,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    /// The state can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The port can't be used.
    #[error("failed to serve the page at port {port}: {source}; choose another one, or none for any free one")]
    Listen {
        /// The port.
        port: u16,
        /// Cause.
        source: io::Error,
    },
    /// Signals can't be handled.
    #[error("failed to listen for signals: {0}")]
    Signals(io::Error),
}

/// Runs the command: shows the jobs until a signal.
pub async fn ui(args: &UiArgs, state: &StateArgs) -> Result<Exit, UiError> {
    let stop = Stop::on_signals().map_err(UiError::Signals)?;
    let page = Page::start(Selection::All(state.root()?), args.port).await?;
    stop.given().await;
    page.end().await;
    Ok(Exit::Done)
}

impl PageArgs {
    /// Starts the page of jobs below a root, if it is asked for.
    pub async fn start<'a>(
        &self,
        root: &StateRoot,
        jobs: impl Iterator<Item = &'a JobIdentity>,
    ) -> Result<Option<Page>, UiError> {
        if !self.ui {
            return Ok(None);
        }
        let selection = if self.ui_all {
            Selection::All(root.clone())
        } else {
            Selection::Only(jobs.map(|job| root.job(job)).collect())
        };
        Page::start(selection, self.ui_port).await.map(Some)
    }
}

/// A page that is served.
pub struct Page {
    site: Arc<Site<LoopbackGuard, Ledgers>>,
    stop: CancellationToken,
    looking: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Page {
    /// Serves the page of jobs, and prints the address.
    async fn start(selection: Selection, port: u16) -> Result<Self, UiError> {
        let failed = |source| UiError::Listen { port, source };
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let token = hex::encode(rand::random::<[u8; 32]>());
        let (board, ledgers) = (Board::new(SystemClock.now()), Arc::new(Ledgers::default()));
        let guard = LoopbackGuard::new(&token, port);
        let site = Arc::new(Site::new(guard, ledgers.clone(), board.clone()));
        let stop = CancellationToken::new();
        let looking = tokio::spawn(look(Jobs::new(selection, ledgers), board, stop.clone()));
        let served = site.clone();
        let serving = tokio::spawn(async move { match served.serve(listener).await {} });
        eprintln!("s3migrate: the page is at http://127.0.0.1:{port}/#token={token}");
        Ok(Self { site, stop, looking, serving })
    }

    /// Shows the last state to open pages, and ends.
    pub async fn end(self) {
        self.stop.cancel();
        // A panic has been printed, and the page then lacks the last state.
        let _ = self.looking.await;
        let _ = timeout(ENDED_WITHIN, self.site.drained()).await;
        self.serving.abort();
    }
}

/// Looks at the jobs until the stop, and once more.
async fn look(mut jobs: Jobs, board: Board, stop: CancellationToken) {
    loop {
        let is_last = stop.is_cancelled();
        let now = SystemClock.now();
        if let Some(views) = jobs.look(now).await {
            board.set(views, now);
        }
        if is_last {
            return board.close();
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}
