//! What a process needs besides its services and settings.

use std::sync::Arc;
use std::time::Duration;

use migration_core::ports::Clock;
use migration_core::records::VERIFIED_EVERY_MS;
use tokio_util::sync::CancellationToken;

use crate::heartbeat::Activity;
use crate::observer::{ObjectName, TransferObserver};
use crate::telemetry::Telemetry;
use crate::telemetry::transfer_lines::{Way, tell};

/// The grace of a process that is given none: Kubernetes allows 120 s in all.
pub const GRACE: Duration = Duration::from_secs(100);

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
    /// What this process did, for metrics.
    pub telemetry: Arc<Telemetry>,
    /// Watches the objects in transfer.
    pub observer: Option<Arc<dyn TransferObserver>>,
    /// Time that a stopping process waits for objects and parts in flight, before it returns their messages unfinished.
    pub grace: Duration,
    /// Longest interval between two records of the verified parts of one upload, which are more frequent after it was
    /// begun or continued: what a killed process may have to send again.
    pub verified_every: Duration,
}

impl Runtime {
    /// Creates the runtime of a process that is idle, not stopping and not watched, and that pays for each write to its
    /// ledger.
    pub fn new(name: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        let (stop, activity) = (CancellationToken::new(), Arc::default());
        Self {
            name: name.into(),
            clock,
            stop,
            activity,
            telemetry: Arc::default(),
            observer: None,
            grace: GRACE,
            verified_every: Duration::from_millis(VERIFIED_EVERY_MS),
        }
    }

    /// Tells the observer that bytes of an object are at the destination and need not be written.
    pub(crate) fn found(&self, object: ObjectName<'_>, bytes: u64) {
        if let Some(observer) = &self.observer {
            observer.found(object, bytes);
        }
    }

    /// Records that bytes of an object were written at the destination.
    pub(crate) fn moved(&self, object: ObjectName<'_>, bytes: u64) {
        self.activity.moved(bytes);
        tell(Way::Complete, bytes, object.bucket, object.key);
        if let Some(observer) = &self.observer {
            observer.moved(object, bytes);
        }
    }
}
