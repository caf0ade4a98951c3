//! Errors of services, sorted by what to do about them.

use std::fmt;

use serde::{Deserialize, Serialize};

mod denial;
mod outage;

pub use denial::{AccessHistory, DENIALS_OF_A_SIDE, Denial, Subject, Testimony, denial, is_settled};
pub use outage::{FAILURES_OF_AN_OUTAGE, SILENCE_OF_AN_OUTAGE_MS, is_outage, is_throttled_as_a_whole};

/// Which of a job's services an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    /// The S3 service that is read.
    Source,
    /// The S3 service that is written.
    Destination,
    /// The queue and its dead letters.
    Queue,
    /// The ledger's table.
    Ledger,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Queue => "queue",
            Self::Ledger => "ledger",
        })
    }
}

/// What is wrong with a whole side, so that trying other objects is pointless until a person mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SideFault {
    /// The credentials are unknown, disabled or the secret is wrong.
    CredentialsInvalid,
    /// The credentials were right once.
    CredentialsExpired,
    /// There are no credentials: a file of the Secret is missing or empty.
    CredentialsMissing,
    /// Everything is denied, not just one object.
    AccessDenied,
    /// The bucket, queue or table does not exist.
    NotFound,
    /// The service says that the bucket is in another region or behind another endpoint.
    WrongRegion,
    /// The clocks differ too much for signatures to hold.
    ClockSkewed,
    /// The name can't be resolved, or nothing answers there.
    Unreachable,
    /// Everything is answered with "slow down", whichever object it is about.
    Throttled,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Try again: the service answered that something broke (500), or a body ended early.
    Transient,
    /// Try again: no answer came. Connection refused or broken, name not found, time-out.
    NoAnswer,
    /// Try again more slowly: 503 `SlowDown` and friends.
    Throttled,
    /// The object, or the version asked for, is not there.
    NoSuchKey,
    /// The multipart upload is not there: completed or aborted by someone.
    NoSuchUpload,
    /// A condition that was sent with the request does not hold (412).
    PreconditionFailed,
    /// A conditional write lost against another one under way (409): ask again.
    Conflict,
    /// Denied (403), for this object at least; whether for the whole side shows in what other requests get.
    AccessDenied,
    /// The signature does not fit the request as it arrived (403 `SignatureDoesNotMatch`): the secret is wrong, or
    /// somebody on the way rewrote this one, as proxies do that normalise paths. What other requests get tells which.
    SignatureMismatch,
    /// The object is in an archive class and not restored.
    Archived,
    /// Refused for this object whatever the number of tries: too large, bad digest of ours, not supported.
    Refused,
    /// The whole side is affected.
    Side(SideFault),
}

/// An error of a service, as its adapter saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("failed to {operation}: {code}: {message}{}", self.request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default())]
#[serde(rename_all = "camelCase")]
pub struct ServiceError {
    /// What to do about it.
    pub class: ErrorClass,
    /// What was tried, as verb and noun: `put object`.
    pub operation: String,
    /// The service's code, such as `SlowDown`, or a name for what broke before an answer came.
    pub code: String,
    /// The service's message. Never holds credentials.
    pub message: String,
    /// The service's identifier of the request, for its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl ServiceError {
    /// An error found by us, not told by the service.
    pub fn new(class: ErrorClass, operation: &str, code: &str, message: impl Into<String>) -> Self {
        Self {
            class,
            operation: operation.to_owned(),
            code: code.to_owned(),
            message: message.into(),
            request_id: None,
        }
    }

    /// Whether the same request may succeed when it is sent again.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.class,
            ErrorClass::Transient | ErrorClass::NoAnswer | ErrorClass::Throttled | ErrorClass::Conflict
        )
    }
}

/// A side that is paused, and why; written into heartbeats, shown in conditions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The side.
    pub side: Side,
    /// Bucket, queue URL or table name.
    pub resource: String,
    /// What is wrong with it.
    pub fault: SideFault,
    /// The error that said so.
    pub message: String,
    /// When it was first seen, in milliseconds since 1970.
    pub since: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_was_tried_and_the_request() {
        let mut error = ServiceError::new(ErrorClass::Throttled, "put object", "SlowDown", "reduce your request rate");
        assert_eq!(error.to_string(), "failed to put object: SlowDown: reduce your request rate");
        error.request_id = Some("R1".into());
        assert!(error.to_string().ends_with("(request R1)"));
    }
}
