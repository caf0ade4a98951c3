//! The programs `worker` and `jobsender`: they read the job's configuration, wire the engine to AWS, and end well.

pub mod boot;
mod findings;
pub mod jobsender;
mod plan;
mod report;
pub mod termination;
mod verify;
pub mod worker;
