//! Service errors, classified by what to do about them.

use std::fmt;

use serde::{Deserialize, Serialize};

mod denial;
mod outage;
mod rejected;

pub use denial::{AccessHistory, DENIALS_OF_A_SIDE, Denial, Subject, Testimony, denial, is_settled};
pub use outage::{FAILURES_OF_AN_OUTAGE, SILENCE_OF_AN_OUTAGE_MS, is_outage, is_throttled_as_a_whole};
pub use rejected::{ContentHeader, Rejected};

/// The service that an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Service {
    /// The S3 service to read from.
    Source,
    /// The S3 service to write to.
    Destination,
    /// The queue or its dead-letter queue.
    Queue,
    /// The ledger's table.
    Ledger,
}

impl Service {
    /// All services, in their order.
    pub const ALL: [Self; 4] = [Self::Source, Self::Destination, Self::Queue, Self::Ledger];

    /// Returns the name used in messages and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Queue => "queue",
            Self::Ledger => "ledger",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fault of a whole service. Trying other objects is pointless until a person fixes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServiceFault {
    /// The credentials are unknown or disabled, or the secret is wrong.
    CredentialsInvalid,
    /// The credentials have expired.
    CredentialsExpired,
    /// A file of the Secret is missing or empty.
    CredentialsMissing,
    /// Access is denied to everything, not to one object.
    AccessDenied,
    /// The bucket, queue or table does not exist.
    NotFound,
    /// The service reports that the bucket is in another region or behind another endpoint.
    WrongRegion,
    /// The clocks differ too much for signatures to be valid.
    ClockSkewed,
    /// The name does not resolve, or nothing answers at the address.
    Unreachable,
    /// Every request is throttled, whichever object it is for.
    Throttled,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Retry: the service failed (500), or a body ended early.
    Transient,
    /// Retry: no answer arrived (connection refused or broken, name not found, timeout).
    NoAnswer,
    /// Retry more slowly: 503 `SlowDown` and similar.
    Throttled,
    /// The object or the requested version does not exist.
    NoSuchKey,
    /// The multipart upload does not exist: someone completed or aborted it.
    NoSuchUpload,
    /// A condition of the request was not met (412).
    PreconditionFailed,
    /// A conditional write lost against a concurrent one (409): retry.
    Conflict,
    /// Access denied (403) for this object. Whether it is denied for the whole side follows from other requests.
    AccessDenied,
    /// The signature does not match the request as it arrived (403 `SignatureDoesNotMatch`). Either the secret is
    /// wrong, or a proxy rewrote this request, for example by normalizing the path; other requests tell which.
    SignatureMismatch,
    /// The object is in an archive class and has not been restored.
    Archived,
    /// Rejected for this object, however often it is retried: too large, digest mismatch, not supported.
    Refused,
    /// Not answered by the service, and no fault of it: the process has to stop, and the request or its body still
    /// waited for a limit; or the body to send broke where it was read.
    Stopped,
    /// The whole side is affected.
    #[serde(rename = "Side")]
    Service(ServiceFault),
}

/// A service error, as classified by the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "failed to {operation}{}: {code}: {message}{}",
    self.side.map(|side| format!(" at the {side}")).unwrap_or_default(),
    self.request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default()
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceError {
    /// What to do about it.
    pub class: ErrorClass,
    /// The attempted operation, as verb and noun: `put object`.
    pub operation: String,
    /// The service that answered, or did not, where the operation alone does not tell: source and destination have many
    /// in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Service>,
    /// The service's error code, such as `SlowDown`, or our name for a failure before any answer.
    pub code: String,
    /// The service's message. Never contains credentials.
    pub message: String,
    /// What of the request it refuses or denies, where it names that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Box<Rejected>>,
    /// The service's request ID, for its support team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl ServiceError {
    /// Creates an error that was detected by us and not returned by the service.
    pub fn new(class: ErrorClass, operation: &str, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            operation: operation.to_owned(),
            side: None,
            code: code.to_owned(),
            message: message.into(),
            rejected: None,
            request_id: None,
        }
    }

    /// The same with the service that answered, or did not.
    #[must_use]
    pub fn at(self, side: Service) -> Self {
        Self { side: Some(side), ..self }
    }

    /// The same with what is refused or denied, where that is known.
    #[must_use]
    pub fn rejecting(self, rejected: impl Into<Option<Rejected>>) -> Self {
        Self { rejected: rejected.into().map(Box::new), ..self }
    }

    /// Whether this is what is refused or denied.
    pub fn rejects(&self, what: &Rejected) -> bool {
        self.rejected.as_deref() == Some(what)
    }

    /// Makes a rejection of this permanent.
    #[must_use]
    pub fn without_retry_of(self, what: &Rejected) -> Self {
        if self.rejects(what) { Self { class: ErrorClass::Refused, ..self } } else { self }
    }

    /// Returns true if the same request may succeed when sent again.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.class,
            ErrorClass::Transient | ErrorClass::NoAnswer | ErrorClass::Throttled | ErrorClass::Conflict
        )
    }
}

/// A paused side and the reason. Written into heartbeats and shown in conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The side.
    pub side: Service,
    /// Bucket, queue URL or table name.
    pub resource: String,
    /// The fault.
    pub fault: ServiceFault,
    /// The error that caused the pause.
    pub message: String,
    /// When it was first seen, as Unix time in milliseconds.
    pub since: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_was_tried_and_the_request() {
        let mut error = ServiceError::new(ErrorClass::Throttled, "put object", "SlowDown", "reduce your request rate");
        assert_eq!(error.to_string(), "failed to put object: SlowDown: reduce your request rate");
        let there = error.clone().at(Service::Destination).at(Service::Destination);
        assert_eq!(there.to_string(), "failed to put object at the destination: SlowDown: reduce your request rate");
        assert_eq!(there.operation, error.operation, "the side is no part of the operation");
        error.request_id = Some("R1".into());
        assert!(error.to_string().ends_with("(request R1)"));
    }
}
