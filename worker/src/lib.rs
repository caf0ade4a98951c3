//! The programs `worker` and `jobsender`: they read the job's configuration, wire the engine to AWS, and end well.

pub mod boot;
pub mod jobsender;
pub mod termination;
pub mod worker;
