//! Errors of the transfer of one object.

use std::borrow::Cow;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::outcome::{EntryOutcome, Failure, FailureClass, of_error};
use migration_ledger::ReadError;

use crate::Interruption;
use crate::budget::ReserveError;

/// Why an attempt to copy an object did not end with a verified copy.
#[derive(Debug)]
pub(super) enum TransferError {
    /// The process is shutting down, or the message's lease was lost.
    Stopped,
    /// A service request failed.
    Service(ServiceError),
    /// The content of the source is not the expected one.
    SourceChanged,
    /// The content of the destination is not the one named by the write's condition. Holds the ETag that the write was
    /// to produce, if known.
    DestinationChanged(Option<ETag>),
    /// The upload no longer exists.
    UploadGone,
    /// The object no longer exists at the source.
    Gone,
    /// The bytes received differ from the bytes sent.
    Damaged(String),
    /// Any other permanent failure, such as tags that could not be read.
    Failed(Failure),
    /// Any other failure that may be retried.
    Retry(Failure),
}

impl From<Interruption> for TransferError {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Stopped => Self::Stopped,
            Interruption::Service(error) => Self::Service(error),
        }
    }
}

/// A record that cannot be read fails its object. The failure record contains the error.
impl From<ReadError<Interruption>> for TransferError {
    fn from(error: ReadError<Interruption>) -> Self {
        match error {
            ReadError::Request(error) => error.into(),
            ReadError::Record(error) => Self::Failed(Failure::new(FailureClass::Refused, error.to_string())),
        }
    }
}

impl From<ReserveError> for TransferError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::Closed => Self::Stopped,
            ReserveError::TooMany { .. } => Self::Failed(Failure::new(FailureClass::Refused, error.to_string())),
        }
    }
}

impl TransferError {
    /// Returns what failed, for traces.
    pub(super) fn reason(&self) -> Cow<'_, str> {
        match self {
            Self::Stopped => "the process stops, or the message has another owner".into(),
            Self::Service(error) => error.to_string().into(),
            Self::SourceChanged => "the object changed at the source".into(),
            Self::DestinationChanged(_) => "the object changed at the destination".into(),
            Self::UploadGone => "the multipart upload no longer exists".into(),
            Self::Gone => "the object no longer exists at the source".into(),
            Self::Damaged(what) => what.into(),
            Self::Failed(failure) | Self::Retry(failure) => failure.message.as_str().into(),
        }
    }

    /// Converts the error into the outcome of the object.
    pub(super) fn outcome(self) -> EntryOutcome {
        let retry = |class, message: &str| {
            EntryOutcome::Retry(Failure::new(class, format!("failed to move object: {message}")))
        };
        match self {
            Self::Stopped => EntryOutcome::Interrupted,
            Self::Service(error) => of_error(&error),
            Self::SourceChanged => retry(FailureClass::SourceChanging, "it changed at the source at every attempt"),
            Self::DestinationChanged(_) => {
                retry(FailureClass::DestinationChanging, "another client changed the destination at every attempt")
            }
            Self::UploadGone => {
                retry(FailureClass::Exhausted, "another client aborted its multipart upload at every attempt")
            }
            Self::Gone => EntryOutcome::Gone,
            Self::Damaged(what) => retry(FailureClass::ChecksumMismatch, &what),
            Self::Failed(failure) => EntryOutcome::Failed(failure),
            Self::Retry(failure) => EntryOutcome::Retry(failure),
        }
    }
}

/// Converts the error of a conditional request.
pub(super) fn transfer_error(error: Interruption, on_precondition: impl FnOnce() -> TransferError) -> TransferError {
    match error {
        Interruption::Service(error) if error.class == ErrorClass::PreconditionFailed => on_precondition(),
        Interruption::Service(error) if error.class == ErrorClass::NoSuchUpload => TransferError::UploadGone,
        other => other.into(),
    }
}

/// Converts the error of a conditional write, which may be a copy.
pub(super) fn write_error(error: Interruption, on_precondition: impl FnOnce() -> TransferError) -> TransferError {
    match transfer_error(error, on_precondition) {
        // The error of a copy, caused by the source or by the destination bucket: both are read again.
        TransferError::Service(error) if error.class == ErrorClass::NoSuchKey => TransferError::SourceChanged,
        error => error,
    }
}
