//! The bandwidth limit of a process, shared by all bodies that it reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use migration_core::pace::piece;

use super::pacer::Pacer;

/// Bytes per second that all bodies together may pass.
///
/// A body waits for each piece before it is passed on. The pieces are so small that the bodies in flight take turns
/// within about a second, and wait a few seconds at most while more of them begin: services and the adapter take a
/// connection for dead after 20 seconds without a byte. Changes of the limit take effect with the next piece.
pub(super) struct Bandwidth {
    pacer: Arc<Pacer>,
    bodies: AtomicU64,
}

/// A body in flight.
pub(super) struct InFlight(Arc<Bandwidth>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight {
    /// Waits until a piece of a body may pass, and returns its size: 1 to `len` bytes. `len` must not be 0.
    pub(super) async fn pass(&self, len: usize) -> usize {
        let bodies = &self.0.bodies;
        let size = |rate| u64::try_from(piece(rate, bodies.load(Ordering::Relaxed), len)).unwrap_or(u64::MAX);
        usize::try_from(self.0.pacer.pass(size).await).unwrap_or(len)
    }
}

impl Bandwidth {
    pub(super) fn new(pacer: Arc<Pacer>) -> Self {
        Self { pacer, bodies: AtomicU64::default() }
    }

    /// Counts a body as in flight until the result is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> InFlight {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    pub(super) fn pacer(&self) -> &Arc<Pacer> {
        &self.pacer
    }
}
