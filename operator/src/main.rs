//! The operator: watches `MigrationJobs` and reconciles them.
//!
//! ```text
//! leader ─► controller ─► job_controller: dereference ─► validate ─► build ─► apply, runs, scale ─► status
//!                     └► job_controller::cleanup, when the resource is deleted
//! ```

mod backoff;
mod check;
mod cli;
mod controller;
mod event;
mod fence;
mod health;
mod job_controller;
mod leader;
mod metrics;
mod names;
mod notify;
mod page;
mod pod_defaults;
mod policy;
mod problem;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::main(cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not have been set up.
            eprintln!("{error}");
            // At once: a process that does not lead any more must not wait for what it still does.
            std::process::exit(1)
        }
    }
}
