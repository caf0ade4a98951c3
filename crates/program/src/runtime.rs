//! The async runtime of a program.

use std::process::ExitCode;

/// Stack size per thread, in bytes. The futures of SDK requests, with retries and metering inside transfers of many
/// objects, exceed a megabyte and pass through the stack while they are built. Only touched pages use memory.
const STACK: usize = 8 << 20;

/// Runs a program to its end, on one thread per core.
pub fn run(program: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build() {
        Ok(runtime) => runtime.block_on(program),
        Err(error) => {
            eprintln!("failed to start the async runtime: {error}");
            ExitCode::FAILURE
        }
    }
}
