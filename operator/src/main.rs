//! The operator: watches `MigrationJobs` and carries them out.
//!
//! ```text
//! controller ─► reconcile: dereference ─► validate ─► build ─► apply (runs, scaling, dead letters) ─► status ─► events
//!            └► cleanup, when the resource is deleted
//! ```

mod cli;
mod controller;
mod event;
mod health;
mod job_controller;
mod names;
mod problem;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::main(cli::Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not have begun.
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
