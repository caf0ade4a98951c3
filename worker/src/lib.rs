//! The programs `worker` and `jobsender`: they read the job's configuration, connect the engine to AWS, and handle
//! signals.

// The futures of a worker are nested types of more than 128 levels.
#![recursion_limit = "256"]

mod exit;
pub mod jobsender;
mod metrics;
mod notify;
mod plan;
mod preflight;
mod report;
mod send;
pub mod setup;
pub mod termination;
mod traces;
mod verify;
pub mod worker;
