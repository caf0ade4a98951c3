//! Moves objects that the queue names, until it is told to end.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    s3_migration_worker::worker::main().await
}
