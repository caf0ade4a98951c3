//! The cases.

use std::env;

use anyhow::Context as _;
use migration_core::size::ByteSize;

use crate::proxy::log::Event;

pub mod bad_wire;
pub mod large;
pub mod overwritten;
pub mod plan;
pub mod quirks;
pub mod requests;
pub mod resent;

/// A size that an environment variable may change, as `5Gi` or in bytes.
fn size(variable: &str, default: u64) -> anyhow::Result<u64> {
    match env::var(variable) {
        Ok(text) => Ok(text.parse::<ByteSize>().with_context(|| format!("failed to read {variable}"))?.bytes()),
        Err(_) => Ok(default),
    }
}

/// Whether a request succeeded, as far as its status tells.
fn succeeded(event: &Event) -> bool {
    event.status == Some(200)
}

/// Whether a request is one of an operation.
fn is(event: &Event, operation: &str) -> bool {
    event.request.operation == operation
}
