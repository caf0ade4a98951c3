//! Buckets of any size with computed listings.

mod port;
mod shape;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::object::ListedObject;
use migration_core::ports::{ListPage, ListRequest};

pub use shape::KeyShape;

use crate::Operation;

/// Most keys in a page.
const PAGE: usize = 1_000;
/// Time of modification of all objects, in milliseconds since 1970.
const MODIFIED: i64 = 1_690_000_000_000;

/// A service whose buckets all have the same computed objects. It only supports listings. Clones share the counts of
/// requests.
#[derive(Clone, Debug)]
pub struct SyntheticStore {
    shape: KeyShape,
    count: u64,
    prefix: String,
    missing: Option<u64>,
    swapped: Option<u64>,
    page: usize,
    latency: Duration,
    failing: Option<u64>,
    traffic: Arc<Traffic>,
}

#[derive(Debug, Default)]
struct Traffic {
    requests: AtomicU64,
    probes: AtomicU64,
    keys: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
}

/// Counts of requests and keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListTraffic {
    /// Requests, failed ones and probes included.
    pub requests: u64,
    /// Requests for a single key.
    pub probes: u64,
    /// Keys in all responses.
    pub keys: u64,
    /// Highest number of concurrent requests.
    pub most_in_flight: u64,
}

/// Hashes a number. Source: splitmix64 by S. Vigna.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl SyntheticStore {
    /// Creates a store of `count` keys of a shape.
    pub fn new(shape: KeyShape, count: u64) -> Self {
        Self {
            shape,
            count,
            prefix: String::new(),
            missing: None,
            swapped: None,
            page: PAGE,
            latency: Duration::ZERO,
            failing: None,
            traffic: Arc::default(),
        }
    }

    /// Puts a prefix in front of each key.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// Leaves out every `nth` key.
    #[must_use]
    pub fn without_every(self, nth: u64) -> Self {
        Self { missing: Some(nth), ..self }
    }

    /// Lists the key at this position after the one that follows it.
    #[must_use]
    pub fn swapped_at(self, place: u64) -> Self {
        Self { swapped: Some(place), ..self }
    }

    /// Sets the number of keys per page.
    #[must_use]
    pub fn with_page(self, page: usize) -> Self {
        Self { page, ..self }
    }

    /// Sets the latency of every request, in tokio's time.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Fails every `nth` request with a transient error.
    #[must_use]
    pub fn failing_every(self, nth: u64) -> Self {
        Self { failing: Some(nth), ..self }
    }

    /// Returns a clone with its own counts, starting at zero.
    #[must_use]
    pub fn uncounted(&self) -> Self {
        Self { traffic: Arc::default(), ..self.clone() }
    }

    /// Returns true if there is an object at a position.
    pub fn has(&self, place: u64) -> bool {
        place < self.count && self.missing.is_none_or(|nth| place % nth != nth / 2)
    }

    /// Returns the object at a position, with its key.
    pub fn object(&self, place: u64) -> ListedObject {
        let etag = ETag::new(&format!("{:016x}{:016x}", mixed(place), mixed(!place)));
        ListedObject {
            key: self.key(place),
            size: 1_000 + place % 100,
            etag: Some(etag),
            modified: MODIFIED,
            version_id: None,
            storage_class: None,
        }
    }

    /// Returns the counts so far.
    pub fn traffic(&self) -> ListTraffic {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        ListTraffic {
            requests: read(&self.traffic.requests),
            probes: read(&self.traffic.probes),
            keys: read(&self.traffic.keys),
            most_in_flight: read(&self.traffic.most_in_flight),
        }
    }

    fn key(&self, place: u64) -> String {
        format!("{}{}", self.prefix, self.shape.key(self.count, place))
    }

    /// Returns the first position whose key is not `before`.
    fn first(&self, before: impl Fn(&str) -> bool) -> u64 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(&self.key(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn begin(&self, request: ListRequest<'_>) -> Result<u64, ServiceError> {
        let bad = || error(ErrorClass::Refused, "InvalidArgument", "the continuation token provided is incorrect");
        match (request.continuation, request.start_after) {
            (Some(token), _) => token.strip_prefix("place:").and_then(|place| place.parse().ok()).ok_or_else(bad),
            (None, Some(after)) => Ok(self.first(|key| key <= after || key < request.prefix)),
            (None, None) => Ok(self.first(|key| key < request.prefix)),
        }
    }

    fn page(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let begin = self.begin(request)?;
        let end = self.first(|key| key < request.prefix || key.starts_with(request.prefix));
        let most = request.max_keys.map_or(self.page, |most| self.page.min(most.into()));
        let mut places = (begin..end).filter(|place| self.has(*place));
        let objects = places.by_ref().take(most).map(|place| self.object(self.shown(place))).collect();
        Ok(ListPage { objects, continuation: places.next().map(|place| format!("place:{place}")) })
    }

    /// Returns the position of the object that is listed at a position.
    fn shown(&self, place: u64) -> u64 {
        match self.swapped {
            Some(swapped) if place == swapped => place + 1,
            Some(swapped) if place == swapped + 1 => swapped,
            _ => place,
        }
    }

    async fn listed(&self, request: ListRequest<'_>) -> Result<ListPage, ServiceError> {
        let number = self.traffic.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.traffic.probes.fetch_add(u64::from(request.max_keys == Some(1)), Ordering::Relaxed);
        let now = self.traffic.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.traffic.most_in_flight.fetch_max(now, Ordering::Relaxed);
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        self.traffic.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.failing.is_some_and(|nth| number.is_multiple_of(nth)) {
            return Err(error(ErrorClass::Transient, "InternalError", "broken by the test"));
        }
        let page = self.page(request)?;
        self.traffic.keys.fetch_add(page.objects.len() as u64, Ordering::Relaxed);
        Ok(page)
    }
}

fn error(class: ErrorClass, code: &str, message: &str) -> ServiceError {
    ServiceError::new(class, Operation::ListObjects.as_str(), code, message)
}

#[cfg(test)]
mod tests;
