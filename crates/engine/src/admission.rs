//! How many objects one worker has at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Room for a number of objects at once, and the number of those that wait for room.
#[derive(Debug)]
pub struct ObjectPermits {
    free: Arc<Semaphore>,
    most: u32,
    /// Objects of held messages that are not over.
    pending: AtomicU32,
    /// Told when `pending` falls.
    changed: Notify,
}

/// An object of a held message: counted until this is dropped.
#[derive(Debug)]
pub struct PendingObject(Arc<ObjectPermits>);

/// Room for one object, and its place among those pending. Dropped when it is over, or when only others work on it.
#[derive(Debug)]
pub struct ObjectPermit {
    #[allow(dead_code, reason = "held for its Drop")]
    semaphore: OwnedSemaphorePermit,
    #[allow(dead_code, reason = "held for its Drop")]
    pending: PendingObject,
}

impl ObjectPermits {
    /// Room for this many objects.
    pub fn new(most: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(most as usize)), most, pending: AtomicU32::new(0), changed: Notify::new() }
    }

    /// Counts an object that will want room.
    pub fn expect(self: &Arc<Self>) -> PendingObject {
        self.pending.fetch_add(1, Ordering::Relaxed);
        PendingObject(self.clone())
    }

    /// Whether there is no point in receiving more.
    pub fn is_full(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= self.most
    }

    /// Ends when an object is over that was pending.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl PendingObject {
    /// Waits for room; none when there will be none any more.
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
