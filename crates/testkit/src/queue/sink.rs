//! A queue that discards its messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use migration_core::error::ServiceError;
use migration_core::ports::{OutgoingMessage, Queue, ReceivedMessage};

/// A queue that counts and discards messages, for scans whose batches would fill the memory. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct SinkQueue {
    messages: Arc<AtomicU64>,
}

impl SinkQueue {
    /// Returns the number of messages received.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

impl Queue for SinkQueue {
    async fn send(&self, messages: &[OutgoingMessage]) -> Result<Vec<usize>, ServiceError> {
        self.messages.fetch_add(messages.len() as u64, Ordering::Relaxed);
        Ok(Vec::new())
    }

    async fn receive(&self, _: u32, wait: Duration, _: Duration) -> Result<Vec<ReceivedMessage>, ServiceError> {
        tokio::time::sleep(wait).await;
        Ok(Vec::new())
    }

    async fn set_visibility(&self, _: &str, _: Duration) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    async fn send_dead_letter(&self, _: &str, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }
}
