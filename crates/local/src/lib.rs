//! The ports for one machine: a ledger and a queue in one state file, and an S3 backend in memory or on disk.

pub mod ledger;
mod lock;
pub mod queue;
pub mod state;
pub mod store;
