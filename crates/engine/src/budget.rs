//! Bounds the bytes held in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of bytes shared by all objects and parts of a process. Counts in KiB.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: u32,
    most: Arc<AtomicU64>,
}

/// Why bytes were not reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// The budget was closed: the process is stopping.
    #[error("failed to reserve memory: the process is stopping")]
    Closed,
    /// More bytes than the whole budget.
    #[error(
        "failed to reserve memory: {wanted} bytes have to be held at once and transfer.memoryLimit is {limit}; \
         raise it to at least {wanted}"
    )]
    TooMany {
        /// Bytes requested.
        wanted: u64,
        /// Bytes in the whole budget.
        limit: u64,
    },
}

/// Reserved bytes, released on drop.
#[derive(Debug)]
pub struct Reservation(#[allow(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

impl Budget {
    /// Creates a budget of this many bytes.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).max(1);
        Self { free: Arc::new(Semaphore::new(total as usize)), total, most: Arc::default() }
    }

    /// Waits until this many bytes are free, and reserves them. Requests are served in order, so large ones are not
    /// starved. Fails for more than the whole budget.
    pub async fn reserve(&self, bytes: u64) -> Result<Reservation, ReserveError> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        if wanted > self.total {
            return Err(ReserveError::TooMany { wanted: bytes, limit: self.limit() });
        }
        let permit = self.free.clone().acquire_many_owned(wanted).await.map_err(|_| ReserveError::Closed)?;
        self.most.fetch_max(self.used(), Ordering::Relaxed);
        Ok(Reservation(permit))
    }

    /// Returns the bytes of the whole budget.
    pub fn limit(&self) -> u64 {
        u64::from(self.total) << 10
    }

    /// Returns the maximum of bytes in use at once, rounded up to KiB.
    pub fn most_used(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    /// Returns true if more than half of the bytes are in use.
    pub fn is_short(&self) -> bool {
        self.free.available_permits() < self.total as usize / 2
    }

    /// Returns the bytes in use, rounded up to KiB. Zero when nothing is in transfer.
    pub fn used(&self) -> u64 {
        (u64::from(self.total).saturating_sub(self.free.available_permits() as u64)) << 10
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
        assert!(budget.is_short());
        let mut second = Box::pin(budget.reserve(5 << 10));
        assert!(futures::poll!(&mut second).is_pending());
        drop(one);
        let second = second.await.unwrap();
        assert_eq!(budget.used(), 5 << 10);
        assert!(!budget.is_short(), "half is free");
        drop(second);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.most_used(), 6 << 10);
        assert!(budget.reserve(10 << 10).await.is_ok());
        let limit = 10 << 10;
        for wanted in [limit + 1, 1 << 40] {
            assert_eq!(budget.reserve(wanted).await.err(), Some(ReserveError::TooMany { wanted, limit }));
        }
        budget.free.close();
        assert_eq!(budget.reserve(1).await.err(), Some(ReserveError::Closed));
    }
}
