//! Buckets of any size that nobody stores: their listings are computed.

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

/// Most keys of a page.
const PAGE: usize = 1_000;
/// When all objects were written, in milliseconds since 1970.
const MODIFIED: i64 = 1_690_000_000_000;

/// A service whose buckets all hold the same objects, by computation: it lists them, and refuses everything else.
/// Clones share the counts of requests.
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

/// What a service was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListTraffic {
    /// Requests, failed ones and probes among them.
    pub requests: u64,
    /// Of these, for one key.
    pub probes: u64,
    /// Keys in all answers.
    pub keys: u64,
    /// Most requests at once.
    pub most_in_flight: u64,
}

/// A number that has nothing to do with this one, and is always the same. Source: splitmix64 by S. Vigna.
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl SyntheticStore {
    /// This many keys of a shape.
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

    /// The same with this in front of each key.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// The same without every `nth` key.
    #[must_use]
    pub fn without_every(self, nth: u64) -> Self {
        Self { missing: Some(nth), ..self }
    }

    /// The same, listing the key at this place after the one that follows it.
    #[must_use]
    pub fn swapped_at(self, place: u64) -> Self {
        Self { swapped: Some(place), ..self }
    }

    /// The same with pages of so many keys.
    #[must_use]
    pub fn with_page(self, page: usize) -> Self {
        Self { page, ..self }
    }

    /// The same whose every request takes this time, in tokio's time.
    #[must_use]
    pub fn with_latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// The same that fails every `nth` request with a transient error.
    #[must_use]
    pub fn failing_every(self, nth: u64) -> Self {
        Self { failing: Some(nth), ..self }
    }

    /// The same of which nothing was asked yet.
    #[must_use]
    pub fn uncounted(&self) -> Self {
        Self { traffic: Arc::default(), ..self.clone() }
    }

    /// Whether there is an object at a place.
    pub fn has(&self, place: u64) -> bool {
        place < self.count && self.missing.is_none_or(|nth| place % nth != nth / 2)
    }

    /// The object at a place, with its key.
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

    /// What was asked for so far.
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

    /// The first place whose key is not `before`.
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

    /// The place of what is listed at a place.
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
