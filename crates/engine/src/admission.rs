//! Bounds the objects that one worker holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Permits for objects in transfer, and a count of the objects of all held messages.
#[derive(Debug)]
pub struct ObjectPermits {
    free: Arc<Semaphore>,
    most: u32,
    /// Objects of held messages that are not finished.
    pending: AtomicU32,
    /// Notified when `pending` falls.
    changed: Notify,
}

/// An unfinished object of a held message. Counted until dropped.
#[derive(Debug)]
pub struct PendingObject(Arc<ObjectPermits>);

/// Permission to transfer one object. Dropped when the object is finished, or when only other workers work on it.
#[derive(Debug)]
pub struct ObjectPermit {
    #[allow(dead_code, reason = "held for its Drop")]
    semaphore: OwnedSemaphorePermit,
    #[allow(dead_code, reason = "held for its Drop")]
    pending: PendingObject,
}

impl ObjectPermits {
    /// Creates this many permits.
    pub fn new(most: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(most as usize)), most, pending: AtomicU32::new(0), changed: Notify::new() }
    }

    /// Counts an object that will need a permit.
    pub fn expect(self: &Arc<Self>) -> PendingObject {
        self.pending.fetch_add(1, Ordering::Relaxed);
        PendingObject(self.clone())
    }

    /// Returns true if as many objects are pending as there are permits, so that receiving more is useless.
    pub fn is_full(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= self.most
    }

    /// Returns how many more objects have a permit for themselves.
    pub fn room(&self) -> u32 {
        self.most.saturating_sub(self.pending.load(Ordering::Relaxed))
    }

    /// Waits until a pending object is finished.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl PendingObject {
    /// Waits for a permit. Returns `None` if no more permits are given out.
    pub async fn acquire(self) -> Option<ObjectPermit> {
        let semaphore = self.0.free.clone().acquire_owned().await.ok()?;
        Some(ObjectPermit { semaphore, pending: self })
    }
}

impl Drop for PendingObject {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_room_for_so_many_and_the_others_wait() {
        let permits = Arc::new(ObjectPermits::new(1));
        assert!(!permits.is_full());
        let first = permits.expect().acquire().await.unwrap();
        assert!(permits.is_full());
        let mut second = Box::pin(permits.expect().acquire());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_some());
        assert!(!permits.is_full());
    }
}
