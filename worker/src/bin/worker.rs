//! Moves objects that the queue names, until it is told to end.

use std::process::ExitCode;

fn main() -> ExitCode {
    s3_migration_worker::setup::run(s3_migration_worker::worker::main())
}
