//! The program `s3migrate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    s3migrate::args::main()
}
