//! The bound on bytes held in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of bytes, shared by all objects and parts of a process. Counts in KiB.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: u32,
}

/// Bytes that are spoken for; they are free again when this is dropped.
#[derive(Debug)]
pub struct Reservation(#[allow(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until this many bytes are free and takes them; more than the whole budget takes all of it. Those who ask
    /// are served in order, so large ones are not starved. None after [`Budget::close`].
    pub async fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.total);
        self.free.clone().acquire_many_owned(wanted).await.ok().map(Reservation)
    }

    /// Bytes in use, rounded up to KiB; zero when nothing moves.
    pub fn used(&self) -> u64 {
        (u64::from(self.total).saturating_sub(self.free.available_permits() as u64)) << 10
    }

    /// Refuses all further reservations.
    pub fn close(&self) {
        self.free.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_reserved_comes_back() {
        let budget = Budget::new(10 << 10);
        let one = budget.reserve(6 << 10).await.unwrap();
        assert_eq!(budget.used(), 6 << 10);
        let mut second = Box::pin(budget.reserve(5 << 10));
        assert!(futures::poll!(&mut second).is_pending());
        drop(one);
        let second = second.await.unwrap();
        assert_eq!(budget.used(), 5 << 10);
        drop(second);
        assert_eq!(budget.used(), 0);
        let all = budget.reserve(1 << 40).await;
        assert!(all.is_some(), "more than the whole takes the whole");
    }
}
