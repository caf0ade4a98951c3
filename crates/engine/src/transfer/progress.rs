//! When the work of a message last moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When the work of a message last moved; its lease is renewed by that. Clones are the same.
#[derive(Clone, Debug)]
pub struct Progress {
    began: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }
}

impl Progress {
    /// Something moved.
    pub fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// How long nothing has moved.
    pub fn idle(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
