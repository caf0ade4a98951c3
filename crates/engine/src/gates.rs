//! The gates of a process, one for each service.

use std::time::Duration;

use migration_core::error::Service;

use crate::gate::Gate;
use crate::{Interruption, Process, Runtime, Services};

/// Interval at which to check whether denials have settled.
const SETTLING: Duration = Duration::from_millis(200);

/// The gates of source, destination, queue and ledger.
pub(crate) struct Gates {
    pub(crate) source: Gate,
    pub(crate) destination: Gate,
    pub(crate) queue: Gate,
    pub(crate) ledger: Gate,
}

impl Gates {
    pub(crate) fn new(runtime: &Runtime) -> Self {
        let gate = |side| Gate::new(side, runtime);
        Self {
            source: gate(Service::Source),
            destination: gate(Service::Destination),
            queue: gate(Service::Queue),
            ledger: gate(Service::Ledger),
        }
    }
}

impl<P: Services> Process<P> {
    /// Returns true if a whole side is paused: messages received now could only wait.
    pub(crate) fn is_paused(&self) -> bool {
        [&self.gates.source, &self.gates.destination, &self.gates.ledger].into_iter().any(Gate::is_blocked)
    }

    /// Returns true if anything is paused or waits long for a limit: work that makes no progress meanwhile is not stuck.
    pub(crate) fn is_waiting(&self) -> bool {
        let Gates { source, destination, queue, ledger } = &*self.gates;
        [source, destination, queue, ledger].into_iter().any(Gate::is_waiting) || self.limits.is_waiting()
    }

    /// Returns the number of throttled answers of both sides so far.
    pub(crate) fn throttled(&self) -> u64 {
        self.gates.source.throttled() + self.gates.destination.throttled()
    }

    /// From now on, fails objects for which a permission is missing instead of holding them. For callers that have
    /// other objects to try.
    pub(crate) fn let_go_of_denied(&self) {
        self.gates.source.let_go();
        self.gates.destination.let_go();
    }

    /// Returns how long an operation has been paused because a permission is missing, if one is.
    pub(crate) fn right_missing(&self) -> Option<Duration> {
        self.gates.source.right_missing().max(self.gates.destination.right_missing())
    }

    /// Waits until the denials seen are attributed. Returns true if a permission is missing, false if they concern
    /// single objects.
    pub(crate) async fn is_right_missing(&self) -> Result<bool, Interruption> {
        loop {
            if self.right_missing().is_some() {
                return Ok(true);
            }
            if self.gates.source.is_settled() && self.gates.destination.is_settled() {
                return Ok(false);
            }
            self.pause(SETTLING).await?;
        }
    }
}
