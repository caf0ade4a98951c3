//! How many requests to each bucket are under way, within what its service bears.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use migration_core::concurrency::Window;
use migration_core::ports::Clock;
use tokio::sync::Notify;

/// The requests under way to each bucket of one side.
#[derive(Debug, Default)]
pub struct Windows {
    buckets: Mutex<HashMap<String, Bucket>>,
    room: Notify,
}

#[derive(Debug, Default)]
struct Bucket {
    window: Window,
    in_flight: u32,
}

/// One request under way; its place is free again when this is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    windows: &'a Windows,
    bucket: &'a str,
    began: i64,
}

impl Windows {
    /// Waits until one request more to this bucket may start.
    pub async fn enter<'a>(&'a self, bucket: &'a str, clock: &dyn Clock) -> Place<'a> {
        loop {
            // Made before the look, so that a place that falls free after it wakes this one.
            let room = self.room.notified();
            if self.try_enter(bucket) {
                return Place { windows: self, bucket, began: clock.now() };
            }
            room.await;
        }
    }

    fn try_enter(&self, bucket: &str) -> bool {
        let mut buckets = self.buckets();
        if !buckets.contains_key(bucket) {
            buckets.insert(bucket.to_owned(), Bucket::default());
        }
        let Some(entry) = buckets.get_mut(bucket) else { return false };
        let allowed = entry.window.allows(entry.in_flight);
        entry.in_flight += u32::from(allowed);
        allowed
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        // A panic elsewhere leaves plain numbers behind, never half of one.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// The request was answered.
    pub fn succeeded(&self) {
        if let Some(entry) = self.windows.buckets().get_mut(self.bucket) {
            entry.window.succeeded();
        }
    }

    /// The request was throttled, at this time in milliseconds since 1970.
    pub fn throttled(&self, now: i64) {
        if let Some(entry) = self.windows.buckets().get_mut(self.bucket) {
            entry.window.throttled(entry.in_flight, self.began, now);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.windows.buckets().get_mut(self.bucket) {
            entry.in_flight -= 1;
        }
        self.windows.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_throttled_bucket_takes_fewer_and_another_one_does_not_mind() {
        let (windows, clock) = (Windows::default(), migration_testkit::TestClock::default());
        let first = windows.enter("a", &clock).await;
        let second = windows.enter("a", &clock).await;
        second.throttled(clock.now());
        let mut third = Box::pin(windows.enter("a", &clock));
        assert!(futures::poll!(&mut third).is_pending());
        let _other = windows.enter("b", &clock).await;
        drop(first);
        assert!(futures::poll!(&mut third).is_pending(), "one is still under way, and one is allowed");
        drop(second);
        third.await.succeeded();
    }
}
