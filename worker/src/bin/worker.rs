//! Copies the objects named in the queue until it is stopped.

use std::process::ExitCode;

fn main() -> ExitCode {
    s3_migration_worker::worker::main()
}
