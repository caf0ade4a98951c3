//! Limits and counts of concurrent requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::Operation;

use super::checks::error;
use super::lock;

/// Requests in progress, by bucket. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic(Arc<Mutex<BTreeMap<String, InFlight>>>);

#[derive(Clone, Copy, Debug, Default)]
struct InFlight {
    now: usize,
    most: usize,
    throttled: u64,
}

/// A request in progress, ended on drop.
#[derive(Debug)]
pub(super) struct Ticket {
    traffic: Traffic,
    bucket: String,
}

impl Traffic {
    /// Starts a request unless the bucket's limit is reached.
    pub(super) fn enter(
        &self,
        operation: Operation,
        bucket: &str,
        limit: Option<usize>,
    ) -> Result<Ticket, ServiceError> {
        let mut buckets = lock(&self.0);
        let in_flight = buckets.entry(bucket.to_owned()).or_default();
        if limit.is_some_and(|limit| in_flight.now >= limit) {
            in_flight.throttled += 1;
            return Err(error(operation, ErrorClass::Throttled, "SlowDown", "please reduce your request rate"));
        }
        in_flight.now += 1;
        in_flight.most = in_flight.most.max(in_flight.now);
        Ok(Ticket { traffic: self.clone(), bucket: bucket.to_owned() })
    }

    /// Returns the highest number of concurrent requests.
    pub(super) fn most(&self, bucket: &str) -> usize {
        lock(&self.0).get(bucket).map_or(0, |in_flight| in_flight.most)
    }

    /// Returns the number of throttled requests.
    pub(super) fn throttled(&self, bucket: &str) -> u64 {
        lock(&self.0).get(bucket).map_or(0, |in_flight| in_flight.throttled)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(in_flight) = lock(&self.traffic.0).get_mut(&self.bucket) {
            in_flight.now -= 1;
        }
    }
}
