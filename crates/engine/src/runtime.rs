//! What a process needs besides its services and settings.

use std::sync::Arc;

use migration_core::ports::Clock;
use tokio_util::sync::CancellationToken;

use crate::heartbeat::Activity;

/// Name, clock, stop signal and activity of a process. Clones share all of them.
#[derive(Clone)]
pub struct Runtime {
    /// Name of this process in the ledger: the name of its pod.
    pub name: String,
    /// Source of the current time.
    pub clock: Arc<dyn Clock>,
    /// Cancelled when the process has to stop: no new work is begun.
    pub stop: CancellationToken,
    /// Current activity of this process, for its heartbeats.
    pub activity: Arc<Activity>,
}

impl Runtime {
    /// Creates the runtime of a process that is idle and not stopping.
    pub fn new(name: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { name: name.into(), clock, stop: CancellationToken::new(), activity: Arc::default() }
    }
}
