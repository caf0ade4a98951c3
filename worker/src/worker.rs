//! The program `worker`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use migration_engine::heartbeat;
use migration_engine::limits::Keeper;
use migration_engine::worker::Worker;
use tracing::{error, info};

use crate::metrics::{self, Sources};
use crate::setup::{self, Common, Pace};
use crate::traces::Traces;

/// Copies the objects named in a job's queue, until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// Seconds that objects and parts in flight have to end after a signal; then their messages are given back. Kubernetes
    /// has to wait for longer than that.
    #[arg(long, env = "GRACE_SECONDS", default_value_t = 100)]
    grace_seconds: u64,
}

/// Runs the program to its end. Exit code 2 = the configuration can't be used. Not async, since an async function is
/// compiled where it is awaited: here, once for both programs.
pub fn main() -> ExitCode {
    migration_program::run(program())
}

async fn program() -> ExitCode {
    let cli = Cli::parse();
    let mut traces = Traces::default();
    let (told, config) = cli.common.begin(|| {
        let (started, layer) = Traces::start("s3-migration-worker", &cli.common.name);
        traces = started;
        layer
    });
    traces.tell();
    match setup::connect(&cli.common, config, Pace::Limited, Duration::from_secs(cli.grace_seconds)).await {
        Ok((process, keeper)) => {
            setup::stop_when_told(&process, &told);
            let process = Arc::new(process);
            info!(name = process.runtime.name, "worker started");
            let work = Worker::new(process.clone());
            let sources = Sources::of(&process, Some(work.limits())).with_spans(traces.counts());
            metrics::serve(cli.common.metrics_port, &process.config.job, sources).await;
            Keeper::during(keeper, Box::pin(heartbeat::during(&process, work.run()))).await;
            traces.end().await;
            info!("worker stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "failed to start the worker");
            crate::termination::write("ConfigInvalid", &error.to_string());
            ExitCode::from(2)
        }
    }
}
