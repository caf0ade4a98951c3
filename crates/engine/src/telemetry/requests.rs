//! Requests by service, operation and what became of them.

use std::sync::atomic::{AtomicU64, Ordering};

use migration_core::error::{ErrorClass, Service, ServiceError, ServiceFault};
use migration_core::operation::Operation;
use tokio::time::Instant;
use tracing::Span;

use super::add;
use super::counters::{Counters, label};
use super::histogram::Histogram;
use crate::traces;

/// What became of a request, as its adapter classifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestStatus {
    /// It succeeded.
    Ok,
    /// The object or version does not exist.
    NotFound,
    /// The upload does not exist.
    NoSuchUpload,
    /// A condition of the request does not hold.
    PreconditionFailed,
    /// Another write was first.
    Conflict,
    /// The service asks for fewer requests.
    Throttled,
    /// The service failed.
    Transient,
    /// No answer arrived.
    NoAnswer,
    /// Access is denied.
    AccessDenied,
    /// The credentials are invalid, expired or missing.
    CredentialsRefused,
    /// The signature does not match.
    SignatureMismatch,
    /// The object is archived.
    Archived,
    /// The service rejects the request for good.
    Refused,
    /// The bucket, queue or table cannot be used: it does not exist, is elsewhere, or clocks differ.
    ServiceFault,
    /// Nobody waited for the answer any longer, or the process stops.
    Cancelled,
}

impl RequestStatus {
    /// All values, in their order.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::NotFound,
        Self::NoSuchUpload,
        Self::PreconditionFailed,
        Self::Conflict,
        Self::Throttled,
        Self::Transient,
        Self::NoAnswer,
        Self::AccessDenied,
        Self::CredentialsRefused,
        Self::SignatureMismatch,
        Self::Archived,
        Self::Refused,
        Self::ServiceFault,
        Self::Cancelled,
    ];

    /// Returns the status of an error.
    pub const fn of(class: ErrorClass) -> Self {
        use ServiceFault::{
            AccessDenied, ClockSkewed, CredentialsExpired, CredentialsInvalid, CredentialsMissing, NotFound, Throttled,
            Unreachable, WrongRegion,
        };
        match class {
            ErrorClass::Transient => Self::Transient,
            ErrorClass::NoAnswer | ErrorClass::Service(Unreachable) => Self::NoAnswer,
            ErrorClass::Throttled | ErrorClass::Service(Throttled) => Self::Throttled,
            ErrorClass::NoSuchKey => Self::NotFound,
            ErrorClass::NoSuchUpload => Self::NoSuchUpload,
            ErrorClass::PreconditionFailed => Self::PreconditionFailed,
            ErrorClass::Conflict => Self::Conflict,
            ErrorClass::AccessDenied | ErrorClass::Service(AccessDenied) => Self::AccessDenied,
            ErrorClass::SignatureMismatch => Self::SignatureMismatch,
            ErrorClass::Archived => Self::Archived,
            ErrorClass::Refused => Self::Refused,
            ErrorClass::Stopped => Self::Cancelled,
            ErrorClass::Service(CredentialsInvalid | CredentialsExpired | CredentialsMissing) => {
                Self::CredentialsRefused
            }
            ErrorClass::Service(NotFound | WrongRegion | ClockSkewed) => Self::ServiceFault,
        }
    }

    /// Returns false for success, for answers that the engine asks for, such as absence, and for requests that nobody
    /// waits for.
    const fn is_failure(self) -> bool {
        !matches!(self, Self::Ok | Self::NotFound | Self::PreconditionFailed | Self::Cancelled)
    }

    /// Returns the name used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotFound => "not_found",
            Self::NoSuchUpload => "no_such_upload",
            Self::PreconditionFailed => "precondition_failed",
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::Transient => "transient",
            Self::NoAnswer => "no_answer",
            Self::AccessDenied => "access_denied",
            Self::CredentialsRefused => "credentials_refused",
            Self::SignatureMismatch => "signature_mismatch",
            Self::Archived => "archived",
            Self::Refused => "refused",
            Self::ServiceFault => "service_fault",
            Self::Cancelled => "cancelled",
        }
    }
}

label!(RequestStatus);

/// Requests of one operation to one service.
#[derive(Debug, Default)]
pub struct OperationCounters {
    /// Requests that ended, by what became of them.
    pub ended: Counters<RequestStatus>,
    /// Time from a request to its answer: of a GET to its headers, of a receive from the queue with the wait for
    /// messages.
    pub duration: Histogram,
    in_flight: AtomicU64,
}

impl OperationCounters {
    /// Returns the requests under way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Requests of all operations to all services.
#[derive(Debug)]
pub struct RequestCounters(Box<[OperationCounters]>);

impl Default for RequestCounters {
    fn default() -> Self {
        let number = Service::ALL.len() * Operation::ALL.len();
        Self((0..number).map(|_| OperationCounters::default()).collect())
    }
}

impl RequestCounters {
    /// Counts a request that begins.
    pub fn begin(&self, side: Service, operation: Operation) -> RequestTimer<'_> {
        let counters = self.0.get(side as usize * Operation::ALL.len() + operation as usize);
        if let Some(counters) = counters {
            add(&counters.in_flight, 1);
        }
        RequestTimer { counters, began: Instant::now(), span: traces::request(side, operation) }
    }

    /// Returns the counters of every operation of every service.
    pub fn read(&self) -> impl Iterator<Item = (Service, Operation, &OperationCounters)> {
        let each = Service::ALL.into_iter().flat_map(|side| Operation::ALL.map(|operation| (side, operation)));
        each.zip(&self.0).map(|((side, operation), counters)| (side, operation, counters))
    }
}

/// A request under way. Counts as cancelled if it is dropped before its answer is known.
#[derive(Debug)]
pub struct RequestTimer<'a> {
    counters: Option<&'a OperationCounters>,
    began: Instant,
    /// Ends with the timer.
    span: Span,
}

impl RequestTimer<'_> {
    /// Counts the answer, and returns it.
    pub fn answered<T>(self, answer: Result<T, ServiceError>) -> Result<T, ServiceError> {
        let status = answer.as_ref().err().map_or(RequestStatus::Ok, |error| RequestStatus::of(error.class));
        self.ended(status);
        answer
    }

    /// Counts what became of the request.
    pub fn ended(mut self, status: RequestStatus) {
        traces::request_ended(&self.span, status.as_str(), status.is_failure());
        if let Some(counters) = self.counters.take() {
            counters.duration.observe(self.began.elapsed());
            counters.ended.add(status, 1);
            counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for RequestTimer<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.counters {
            traces::request_ended(&self.span, RequestStatus::Cancelled.as_str(), false);
            counters.ended.add(RequestStatus::Cancelled, 1);
            counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_once() {
        let requests = RequestCounters::default();
        let begin = || requests.begin(Service::Destination, Operation::PutPart);
        let throttled = ServiceError::new(ErrorClass::Throttled, "put part", "SlowDown", "later");
        assert!(begin().answered(Ok(7)).is_ok());
        assert!(begin().answered::<()>(Err(throttled)).is_err());
        drop(begin());
        let held = begin();
        let mut used = requests.read().filter(|(_, _, counters)| counters.in_flight() > 0);
        let (side, operation, counters) = used.next().unwrap();
        assert_eq!((side, operation, counters.in_flight()), (Service::Destination, Operation::PutPart, 1));
        assert!(used.next().is_none());
        for status in [RequestStatus::Ok, RequestStatus::Throttled, RequestStatus::Cancelled] {
            assert_eq!(counters.ended.get(status), 1, "{status:?}");
        }
        assert_eq!(counters.duration.read().count, 2, "what was cancelled has no latency");
        drop(held);
        assert_eq!(counters.in_flight(), 0);
    }
}
