//! Errors of services, sorted by what to do about them.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// What is known of a side's answers when a request of it is denied. See [`denial`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessHistory {
    /// A request of the same kind was allowed since the process started.
    pub ever_allowed: bool,
    /// Denials of different objects in a row, this one included.
    pub denied_in_a_row: u32,
}

/// Denials of different objects in a row that make a side's fault of what could be the objects' own.
pub const DENIALS_OF_A_SIDE: u32 = 3;

/// What a denied request means.
///
/// | allowed before | denials in a row | meaning |
/// |---|---|---|
/// | no | any | the side's credentials lack the right |
/// | yes | < 3 | this object is denied |
/// | yes | ≥ 3 | the right was taken away |
pub fn denial(history: AccessHistory) -> ErrorClass {
    if !history.ever_allowed || history.denied_in_a_row >= DENIALS_OF_A_SIDE {
        ErrorClass::Side(SideFault::AccessDenied)
    } else {
        ErrorClass::AccessDenied
    }
}

/// Failures in a row, each after all quick retries, that may mean that nothing works any more.
pub const FAILURES_OF_AN_OUTAGE: u32 = 4;
/// How long nothing may have succeeded for that, in milliseconds.
pub const SILENCE_OF_AN_OUTAGE_MS: u64 = 15_000;

/// Whether failures that may pass are an outage of the whole side: links between partitions break for hours, and no
/// object's tries are used up by that. Answers that something broke count once for each object in a row, so that one
/// object that always breaks is not taken for the service; missing answers count each time.
///
/// | failures in a row | since the last success | outage |
/// |---|---|---|
/// | < 4 | any | no |
/// | ≥ 4 | < 15 s | no |
/// | ≥ 4 | ≥ 15 s | yes |
pub fn is_outage(failures_in_a_row: u32, since_success_ms: u64) -> bool {
    failures_in_a_row >= FAILURES_OF_AN_OUTAGE && since_success_ms >= SILENCE_OF_AN_OUTAGE_MS
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
    fn a_denial_is_judged_by_what_was_allowed_before() {
        for (ever_allowed, denied_in_a_row, expected) in [
            (false, 1, ErrorClass::Side(SideFault::AccessDenied)),
            (true, 1, ErrorClass::AccessDenied),
            (true, 2, ErrorClass::AccessDenied),
            (true, 3, ErrorClass::Side(SideFault::AccessDenied)),
        ] {
            assert_eq!(denial(AccessHistory { ever_allowed, denied_in_a_row }), expected);
        }
    }

    #[test]
    fn an_outage_takes_failures_and_silence() {
        assert_eq!([(3, 99_000), (4, 14_999), (4, 15_000)].map(|(f, s)| is_outage(f, s)), [false, false, true]);
    }

    #[test]
    fn errors_say_what_was_tried_and_the_request() {
        let mut error = ServiceError::new(ErrorClass::Throttled, "put object", "SlowDown", "reduce your request rate");
        assert_eq!(error.to_string(), "failed to put object: SlowDown: reduce your request rate");
        error.request_id = Some("R1".into());
        assert!(error.to_string().ends_with("(request R1)"));
    }
}
