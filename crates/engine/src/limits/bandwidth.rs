//! The bandwidth limit of a process, shared by all bodies that it reads.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use migration_core::error::ServiceError;
use migration_core::pace::{passes_within, piece};

use super::pacer::Pacer;
use super::stopping::{Stopping, stopped};

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
    /// Waits until a piece of a body may pass, and returns its size: 1 to `len` bytes. `len` must not be 0. Fails when
    /// the process has to stop, if the `rest` of the body, this piece included, would not pass in the time left.
    pub(super) async fn pass(&self, len: usize, rest: u64, stopping: &Stopping) -> Result<usize, ServiceError> {
        let bodies = &self.0.bodies;
        let size = |rate| u64::try_from(piece(rate, bodies.load(Ordering::Relaxed), len)).unwrap_or(u64::MAX);
        let mut passing = pin!(self.0.pacer.pass(size));
        loop {
            self.check(rest, stopping)?;
            tokio::select! {
                biased;
                size = &mut passing => return Ok(usize::try_from(size).unwrap_or(len)),
                () = stopping.changed() => {}
            }
        }
    }

    /// Fails if the process has to stop, and so many bytes would not pass in the time left.
    pub(super) fn check(&self, rest: u64, stopping: &Stopping) -> Result<(), ServiceError> {
        let Some(time) = stopping.time_left() else { return Ok(()) };
        let bodies = self.0.bodies.load(Ordering::Relaxed);
        if passes_within(rest, bodies, self.0.pacer.rate(), time) { Ok(()) } else { Err(stopped()) }
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
