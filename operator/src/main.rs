//! The operator: watches `MigrationJobs` and carries them out.
//!
//! ```text
//! controller ─► reconcile: dereference ─► validate ─► build ─► apply (runs, scaling, dead letters) ─► status ─► events
//!            └► cleanup, when the resource is deleted
//! ```

mod act;
mod apply;
mod build;
mod cleanup;
mod cli;
mod cluster;
mod configs;
mod context;
mod controller;
mod dead_letters;
mod dereference;
mod error;
mod events;
mod followup;
mod give_way;
mod health;
mod names;
mod note;
mod ownership;
mod plans;
mod problem;
mod reconcile;
mod runs;
mod scaling;
mod secrets;
mod services;
mod sharing;
mod status;
mod validate;

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
