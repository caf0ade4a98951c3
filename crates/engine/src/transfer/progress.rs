//! Measures the time since the work of a message last progressed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Time of the last progress of a message's work, on which the renewal of its lease depends. Clones share it.
#[derive(Clone, Debug)]
pub struct LastProgress {
    began: Instant,
    last: Arc<AtomicU64>,
}

impl Default for LastProgress {
    fn default() -> Self {
        Self { began: Instant::now(), last: Arc::default() }
    }
}

impl LastProgress {
    /// Records progress.
    pub fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// Returns the time since the last progress.
    pub fn idle(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
