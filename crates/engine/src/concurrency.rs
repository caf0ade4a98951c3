//! Bounds the requests in flight to each bucket, adapting to what its service accepts.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use migration_core::concurrency::Window;
use migration_core::ports::{Clock, Operation};
use tokio::sync::Notify;
use tokio::time::Instant;

use migration_core::operation::RequestInfo;

/// Requests that complete work allowed beyond the bound, so that resources held open at the service are released.
const RESERVE: u32 = 2;
/// Throttled answers to one object, with other objects answered in between, after which they say nothing about the
/// bucket.
const ALONE_AFTER: u32 = 3;
/// Throttled objects tracked for each bucket.
const REMEMBERED: usize = 256;

/// Limits the requests in flight to each bucket of one side.
#[derive(Debug, Default)]
pub struct AdaptiveLimiter {
    buckets: Mutex<HashMap<String, Bucket>>,
    room: Notify,
    throttled: AtomicU64,
}

#[derive(Debug, Default)]
struct Bucket {
    window: Window,
    in_flight: u32,
    /// Requests in flight that complete work.
    ending: u32,
    last_success: Option<Instant>,
    /// Throttled answers since the last success, and when the first of them came.
    throttled: u32,
    throttled_since: Option<Instant>,
    /// Objects throttled repeatedly: how often, and when last.
    alone: HashMap<u64, (u32, Instant)>,
}

/// One request in flight. Releases its place on drop.
#[derive(Debug)]
pub struct Permit<'a> {
    limiter: &'a AdaptiveLimiter,
    bucket: &'a str,
    key: u64,
    began: i64,
    ends: bool,
}

impl AdaptiveLimiter {
    /// Waits until another request to this bucket may start. With `alone`, does not wait.
    pub async fn acquire<'a>(&'a self, access: &RequestInfo<'a>, clock: &dyn Clock, alone: bool) -> Permit<'a> {
        let (bucket, ends) = (access.resource, access.operation.is_some_and(Operation::ends_work));
        let mut hasher = DefaultHasher::new();
        access.key.hash(&mut hasher);
        let key = hasher.finish();
        loop {
            // Created before the check, so that a place released in between is not missed.
            let room = self.room.notified();
            if self.try_acquire(bucket, ends, alone) {
                return Permit { limiter: self, bucket, key, began: clock.now(), ends };
            }
            room.await;
        }
    }

    /// Returns the number of throttled answers so far, of all buckets.
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    /// Returns the buckets whose requests in flight are bounded, with the bounds.
    pub fn limits(&self) -> Vec<(String, f64)> {
        let buckets = self.buckets();
        buckets.iter().filter_map(|(name, bucket)| Some((name.clone(), bucket.window.limit()?))).collect()
    }

    /// Returns true if a request to this bucket has succeeded since `then`.
    pub fn succeeded_since(&self, bucket: &str, then: Instant) -> bool {
        self.buckets().get(bucket).and_then(|entry| entry.last_success).is_some_and(|at| at > then)
    }

    /// Returns the number of throttled answers of this bucket since its last success, and the time since the first of
    /// them.
    pub fn throttled_in_a_row(&self, bucket: &str) -> (u32, Duration) {
        let buckets = self.buckets();
        let Some(entry) = buckets.get(bucket) else { return (0, Duration::ZERO) };
        (entry.throttled, entry.throttled_since.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    fn try_acquire(&self, bucket: &str, ends: bool, alone: bool) -> bool {
        let mut buckets = self.buckets();
        if !buckets.contains_key(bucket) {
            buckets.insert(bucket.to_owned(), Bucket::default());
        }
        let Some(entry) = buckets.get_mut(bucket) else { return false };
        let allowed = alone || entry.window.allows(entry.in_flight) || (ends && entry.ending < RESERVE);
        entry.in_flight += u32::from(allowed);
        entry.ending += u32::from(allowed && ends);
        allowed
    }

    fn buckets(&self) -> MutexGuard<'_, HashMap<String, Bucket>> {
        // A panic elsewhere leaves the counters consistent.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Notes that an object was throttled. Returns true if that concerns the bucket: not if it is repeatedly the same
    /// object while others are answered.
    fn is_own_doing(&mut self, key: u64, now: Instant) -> bool {
        if self.alone.len() >= REMEMBERED && !self.alone.contains_key(&key) {
            self.alone.clear();
        }
        let others = |before: Instant| self.last_success.is_some_and(|at| at > before);
        let times = match self.alone.get(&key) {
            Some((times, before)) if others(*before) => times + 1,
            Some((times, _)) => *times,
            None => 1,
        };
        self.alone.insert(key, (times, now));
        times <= ALONE_AFTER
    }
}

impl Permit<'_> {
    /// Records that the request was answered.
    pub fn succeeded(&self) {
        if let Some(entry) = self.limiter.buckets().get_mut(self.bucket) {
            entry.window.succeeded();
            entry.last_success = Some(Instant::now());
            entry.throttled = 0;
            entry.throttled_since = None;
            entry.alone.remove(&self.key);
        }
    }

    /// Records that the request was throttled, at this time in milliseconds since 1970.
    pub fn throttled(&self, now: i64) {
        self.limiter.throttled.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = self.limiter.buckets().get_mut(self.bucket) {
            let at = Instant::now();
            entry.throttled = entry.throttled.saturating_add(1);
            entry.throttled_since.get_or_insert(at);
            if entry.is_own_doing(self.key, at) {
                entry.window.throttled(entry.in_flight, self.began, now);
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.limiter.buckets().get_mut(self.bucket) {
            entry.in_flight -= 1;
            entry.ending -= u32::from(self.ends);
        }
        self.limiter.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use migration_testkit::TestClock;

    fn put(bucket: &'static str, key: &'static str) -> RequestInfo<'static> {
        RequestInfo::object(Operation::PutObject, bucket, key)
    }

    #[tokio::test]
    async fn a_throttled_bucket_takes_fewer_and_another_one_does_not_mind() {
        let (limiter, clock) = (AdaptiveLimiter::default(), TestClock::default());
        let (a, b) = (put("a", "k"), put("b", "k"));
        let first = limiter.acquire(&a, &clock, false).await;
        let second = limiter.acquire(&a, &clock, false).await;
        assert_eq!(limiter.limits(), []);
        second.throttled(clock.now());
        assert_eq!(limiter.limits(), [("a".to_owned(), 1.0)]);
        let mut third = Box::pin(limiter.acquire(&a, &clock, false));
        assert!(futures::poll!(&mut third).is_pending());
        let _other = limiter.acquire(&b, &clock, false).await;
        drop(first);
        assert!(futures::poll!(&mut third).is_pending(), "one is still under way, and one is allowed");
        drop(second);
        third.await.succeeded();
    }

    #[tokio::test]
    async fn what_ends_work_gets_through_where_others_wait() {
        let (limiter, clock) = (AdaptiveLimiter::default(), TestClock::default());
        let (part, complete) = (put("a", "k"), RequestInfo::object(Operation::CompleteUpload, "a", "k"));
        let held = limiter.acquire(&part, &clock, false).await;
        held.throttled(clock.now());
        let mut waits = Box::pin(limiter.acquire(&part, &clock, false));
        assert!(futures::poll!(&mut waits).is_pending());
        let _first = limiter.acquire(&complete, &clock, false).await;
        let second = limiter.acquire(&complete, &clock, false).await;
        let mut third = Box::pin(limiter.acquire(&complete, &clock, false));
        assert!(futures::poll!(&mut third).is_pending(), "the reserve is bounded too");
        drop(second);
        third.await.succeeded();
        let _alone = limiter.acquire(&part, &clock, true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_that_is_always_throttled_slows_nobody_for_long() {
        let (limiter, clock) = (AdaptiveLimiter::default(), TestClock::following_tokio(0));
        let mut least = f64::INFINITY;
        for round in 0..50 {
            let others: Vec<_> = futures::future::join_all((0..16).map(async |_| {
                let other = put("a", "other");
                tokio::time::timeout(Duration::from_millis(1), limiter.acquire(&other, &clock, false)).await.ok()
            }))
            .await;
            let odd = put("a", "odd");
            limiter.acquire(&odd, &clock, true).await.throttled(clock.now());
            tokio::time::sleep(Duration::from_millis(10)).await;
            let entered: Vec<_> = others.into_iter().flatten().collect();
            entered.iter().for_each(Permit::succeeded);
            if round > 30 {
                least = least.min(f64::from(u32::try_from(entered.len()).unwrap_or_default()));
            }
        }
        assert!(least >= 16.0, "only {least} of 16 others were under way");
    }
}
