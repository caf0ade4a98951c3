//! Compares both sides of a job and sends the differences to its queue.

use std::process::ExitCode;

fn main() -> ExitCode {
    s3_migration_worker::jobsender::main()
}
