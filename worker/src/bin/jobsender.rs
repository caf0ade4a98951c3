//! Compares both sides of a job and sends the differences to its queue.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Boxed: the future is as large as that of the largest subcommand.
    migration_program::run(Box::pin(s3_migration_worker::jobsender::main()))
}
