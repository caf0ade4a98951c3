//! The program `s3migrate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    migration_program::run(s3migrate::args::main())
}
