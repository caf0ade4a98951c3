//! The program `worker`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use migration_engine::heartbeat;
use migration_engine::worker::Worker;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::setup::{self, Common};

/// Moves objects that a job's queue names, until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
}

/// Runs the program. Exit code 2 = the configuration can't be used.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.common.start_logging();
    match setup::boot(&cli.common).await {
        Ok((process, ignore)) => {
            let process = Arc::new(process);
            setup::stop_on_signals(&process.stop);
            info!(job = process.config.job.name, name = process.name, "worker");
            let beats = CancellationToken::new();
            let beating = tokio::spawn({
                let (process, beats) = (process.clone(), beats.clone());
                async move { heartbeat::beat(&process, beats).await }
            });
            Worker::new(process, ignore).run().await;
            beats.cancel();
            // It holds nothing that could be lost: a panic in it has been printed.
            let _ = beating.await;
            info!("worker ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "the worker can't start");
            crate::termination::write("ConfigInvalid", &error.to_string());
            ExitCode::from(2)
        }
    }
}
