//! The service's clock, as its responses tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::Headers;
use migration_core::ports::Clock;

use super::headers::time;
use crate::SystemClock;

/// Delay from which a response no longer tells the present time, such as one that came while the machine slept.
const LATE: Duration = Duration::from_mins(1);
/// No response has told the time.
const UNKNOWN: i64 = i64::MIN;

/// Interceptor that notes the offset between the service's clock and ours. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct ServiceClock(Arc<AtomicI64>);

impl Default for ServiceClock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(UNKNOWN)))
    }
}

impl ServiceClock {
    /// Returns how far the service's clock is ahead of ours, in milliseconds.
    pub(super) fn offset(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|offset| *offset != UNKNOWN)
    }

    /// Returns the offset if it is larger than this, in milliseconds.
    pub(super) fn correction(&self, tolerated: Duration) -> Option<i64> {
        self.offset().filter(|offset| u128::from(offset.unsigned_abs()) > tolerated.as_millis())
    }

    /// Notes the time that a response tells, which came so long after its request. A late one tells the past.
    pub(super) fn note_of(&self, answer: &HttpResponse, after: Duration) {
        if after < LATE {
            self.note(answer.headers(), SystemClock.now());
        }
    }

    fn note(&self, headers: &Headers, now: i64) {
        if let Some(told) = told(headers) {
            self.0.store(told - now, Ordering::Relaxed);
        }
    }
}

/// Returns the time of a response. That of a cached one is old: it has an `Age`. Source: RFC 9111, section 5.1.
fn told(headers: &Headers) -> Option<i64> {
    if headers.contains_key("age") { None } else { time(headers.get("date")?) }
}

impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.note(context.response().headers(), SystemClock.now());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000;

    #[test]
    fn the_last_answer_that_is_not_cached_tells_the_time() {
        let clock = ServiceClock::default();
        assert_eq!(clock.offset(), None);
        let mut headers = Headers::new();
        clock.note(&headers, NOW);
        assert_eq!(clock.offset(), None, "it has no date");
        headers.insert("date", "Thu, 01 Jan 2026 00:10:00 GMT");
        clock.note(&headers, NOW);
        assert_eq!(clock.offset(), Some(600_000));
        headers.insert("date", "Thu, 01 Jan 2026 00:00:00 GMT");
        headers.insert("age", "600");
        clock.note(&headers, NOW);
        assert_eq!(clock.offset(), Some(600_000), "it is cached");
    }
}
