//! Cases of `make wire`.

use std::env;

use anyhow::Context as _;
use migration_core::size::ByteSize;

use crate::proxy::log::Event;

pub mod bad_wire;
pub mod event_rate;
pub mod large;
pub mod overwritten;
pub mod plan;
pub mod quirks;
pub mod requests;
pub mod resent;

/// Returns a size from an environment variable, in bytes or as `5Gi`.
pub fn size(variable: &str, default: u64) -> anyhow::Result<u64> {
    match env::var(variable) {
        Ok(text) => Ok(text.parse::<ByteSize>().with_context(|| format!("failed to read {variable}"))?.bytes()),
        Err(_) => Ok(default),
    }
}

/// Returns true if a request has status 200.
pub fn succeeded(event: &Event) -> bool {
    event.status == Some(200)
}

/// Returns true if a request has this operation.
pub fn is(event: &Event, operation: &str) -> bool {
    event.request.operation == operation
}
