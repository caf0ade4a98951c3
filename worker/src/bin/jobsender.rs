//! Compares both sides of a job and sends what differs to its queue.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Of all that it may do, the state of each is as large as that of the largest.
    s3_migration_worker::setup::run(Box::pin(s3_migration_worker::jobsender::main()))
}
