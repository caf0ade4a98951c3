//! How many objects one worker has at hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Room for a number of objects at once, and the number of those that wait for room.
#[derive(Debug)]
pub struct Rooms {
    free: Arc<Semaphore>,
    most: u32,
    /// Objects of held messages that are not over.
    pending: AtomicU32,
    /// Told when `pending` falls.
    changed: Notify,
}

/// An object of a held message: counted until this is dropped.
#[derive(Debug)]
pub struct Pending(Arc<Rooms>);

/// Room for one object, and its place among those pending. Dropped when it is over, or when only others work on it.
#[derive(Debug)]
pub struct Room {
    #[allow(dead_code, reason = "held for its Drop")]
    permit: OwnedSemaphorePermit,
    #[allow(dead_code, reason = "held for its Drop")]
    pending: Pending,
}

impl Rooms {
    /// Room for this many objects.
    pub fn new(most: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(most as usize)), most, pending: AtomicU32::new(0), changed: Notify::new() }
    }

    /// Counts an object that will want room.
    pub fn expect(self: &Arc<Self>) -> Pending {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending(self.clone())
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

impl Pending {
    /// Waits for room; none when there will be none any more.
    pub async fn enter(self) -> Option<Room> {
        let permit = self.0.free.clone().acquire_owned().await.ok()?;
        Some(Room { permit, pending: self })
    }
}

impl Drop for Pending {
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
        let rooms = Arc::new(Rooms::new(1));
        assert!(!rooms.is_full());
        let first = rooms.expect().enter().await.unwrap();
        assert!(rooms.is_full());
        let mut second = Box::pin(rooms.expect().enter());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_some());
        assert!(!rooms.is_full());
    }
}
