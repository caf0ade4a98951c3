//! The web page of jobs: read-only, and for bearers of tokens only.
//!
//! Any operator serves it, the one that leads or not: it has a watch of its own, and what it shows of a job is the
//! status. Only failures are read from the ledger, when somebody asks for them.

mod guard;
mod ledgers;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use migration_aws::SystemClock;
use migration_core::ports::Clock as _;
use migration_web::{Board, Site};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::fence::Fence;
use crate::job_controller::context::Context;
use crate::job_controller::watched::WatchedJob;
use crate::names;
use crate::pod_defaults::PodDefaults;
use crate::policy::Policy;
use guard::ReviewGuard;
use ledgers::Ledgers;

/// Interval between two points of a series.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Settings of the page.
pub struct Settings {
    /// The address that it is served at.
    pub address: SocketAddr,
    /// The namespace that is watched; none for all.
    pub namespace: Option<String>,
    /// The audience that tokens must be for; none for the API server's.
    pub audience: Option<String>,
    /// What authors of resources may do. What it refuses is not read for the page either.
    pub policy: Policy,
}

/// Serves the page until the process ends; waits for ever without settings.
pub async fn serve(client: Client, settings: Option<Settings>) -> std::io::Result<()> {
    let Some(Settings { address, namespace, audience, policy }) = settings else { return std::future::pending().await };
    let listener = TcpListener::bind(address).await?;
    info!(%address, "serving the page");
    let board = Board::new(SystemClock.now());
    let (jobs, writer) = reflector::store::<WatchedJob>();
    let api = match &namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let watch = watcher(api, watcher::Config::default()).default_backoff().reflect(writer).for_each(|event| {
        if let Err(error) = event {
            warn!(%error, "failed to watch MigrationJobs for the page");
        }
        std::future::ready(())
    });
    let guard = ReviewGuard::new(client.clone(), namespace, audience);
    let site = Arc::new(Site::new(guard, Arc::new(Ledgers::new(reader(client, policy), jobs.clone())), board.clone()));
    tokio::select! {
        never = site.serve(listener) => match never {},
        () = watch => Ok(()),
        () = look(&jobs, &board) => Ok(()),
    }
}

/// Returns a context that reads, and whose clients of services create and change nothing.
fn reader(client: Client, policy: Policy) -> Context {
    let recorder = Recorder::new(client.clone(), Reporter { controller: names::MANAGER.to_owned(), instance: None });
    let closed = Fence::open();
    closed.close();
    // It starts no pods.
    let pods = PodDefaults {
        image: String::new(),
        image_pull_secrets: Vec::new(),
        log_format: None,
        log_level: None,
        fixed_ids: true,
    };
    let context = Context::new(client, recorder, pods, Arc::new(SystemClock));
    context.with_policy(policy).with_fence(closed)
}

/// Puts all jobs on the board again and again, once they have been listed.
async fn look(jobs: &Store<WatchedJob>, board: &Board) {
    if jobs.wait_until_ready().await.is_err() {
        return;
    }
    loop {
        let views = jobs.state().iter().map(|job| view::watched(job)).collect();
        board.set(views, SystemClock.now());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests;
