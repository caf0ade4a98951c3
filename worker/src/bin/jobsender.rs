//! Compares both sides of a job and sends what differs to its queue.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    s3_migration_worker::jobsender::main().await
}
