//! What `make bench` needs besides the programs that it measures: services that cost little, a link with delay and a
//! rate, and the clients that show floor and ceiling. See `bench-tools --help`.

mod accept;
mod await_run;
mod client;
mod computed;
mod counts;
mod link;
mod load;
mod memory;
mod pattern;
mod relay;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Services, links and clients of `make bench`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve S3 in memory, as the demo does.
    ServeS3(memory::Settings),
    /// Serve S3 whose objects are computed, and whose uploads are compared with what they should be and not kept.
    Computed(computed::Settings),
    /// Pass TCP connections on with a delay and a rate, and count requests to services of the AWS JSON protocol.
    Link(link::Settings),
    /// Copy by GET and PUT alone: no signatures, no digests, no checks. The floor of what a copy costs.
    RawRelay(work::Settings),
    /// Send the same GETs and PUTs with nothing between them. The ceiling of the services.
    Load(load::Settings),
    /// Wait until the last run of a job is over, and end it as the operator does. Prints its result as JSON.
    AwaitRun(await_run::Settings),
}

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::ServeS3(settings) => memory::serve(settings).await,
        Command::Computed(settings) => computed::serve(settings).await,
        Command::Link(settings) => link::serve(settings).await,
        Command::RawRelay(settings) => relay::run(settings).await,
        Command::Load(settings) => load::run(settings).await,
        Command::AwaitRun(settings) => await_run::run(settings).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tools: {error:#}");
            ExitCode::FAILURE
        }
    }
}
