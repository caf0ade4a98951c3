//! The program as a person runs it, between two S3 servers in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod cost;
mod events;
mod interruptions;
mod limits;
mod page;
mod refusals;
mod retry;
mod support;
