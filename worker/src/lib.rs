//! The programs `worker` and `jobsender`: they read the job's configuration, connect the engine to AWS, and handle
//! signals.

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
mod verify;
pub mod worker;
