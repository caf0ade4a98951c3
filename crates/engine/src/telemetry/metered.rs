//! Adapters whose requests are counted.

mod ledger;
mod queue;
mod store;

use std::sync::Arc;

use migration_core::error::Service;
use migration_core::operation::Operation;

use super::{RequestTimer, Telemetry};

/// An adapter of a service whose requests, bytes and listed keys are counted. One call counts as one request, also
/// where the adapter repeats it or reads several pages. Clones count together.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    inner: S,
    side: Service,
    telemetry: Arc<Telemetry>,
}

impl<S> Metered<S> {
    /// Counts the requests to an adapter as those to this service.
    pub fn new(inner: S, side: Service, telemetry: &Arc<Telemetry>) -> Self {
        Self { inner, side, telemetry: telemetry.clone() }
    }

    fn begin(&self, operation: Operation) -> RequestTimer<'_> {
        self.telemetry.requests.begin(self.side, operation)
    }
}
