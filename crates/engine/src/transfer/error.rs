//! Why one pass over an object did not end with a verified copy.

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::outcome::{EntryOutcome, Failure, FailureClass, of_error};
use migration_ledger::ReadError;

use crate::Interruption;
use crate::budget::ReserveError;

/// Why one pass over an object did not end with a verified copy.
#[derive(Debug)]
pub(super) enum TransferError {
    /// The process is ending, or the lease is lost.
    Stopped,
    /// A service failed.
    Service(ServiceError),
    /// The source has another content than the one wanted.
    SourceChanged,
    /// The destination has another content than the one that the write asked for. Holds the ETag of what we meant to
    /// write, where it is known.
    DestinationChanged(Option<ETag>),
    /// The upload under way is not there any more.
    UploadGone,
    /// The object is not at the source any more.
    Gone,
    /// What arrived is not what was sent.
    Damaged(String),
    /// Tags could not be read, or the like: a failure with words of its own.
    Failed(Failure),
    /// The same, for now.
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

/// A record that can't be read fails the object that it is about, with the error in its failure record.
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
    /// What it means for the object.
    pub(super) fn outcome(self) -> EntryOutcome {
        let retry = |class, message: &str| {
            EntryOutcome::Retry(Failure::new(class, format!("failed to move object: {message}")))
        };
        match self {
            Self::Stopped => EntryOutcome::Interrupted,
            Self::Service(error) => of_error(&error),
            Self::SourceChanged => retry(FailureClass::SourceChanging, "it changed at the source at every try"),
            Self::DestinationChanged(_) => {
                retry(FailureClass::DestinationChanging, "the destination was changed by someone else at every try")
            }
            Self::UploadGone => {
                retry(FailureClass::Exhausted, "its multipart upload was aborted by someone else at every try")
            }
            Self::Gone => EntryOutcome::Gone,
            Self::Damaged(what) => retry(FailureClass::ChecksumMismatch, &what),
            Self::Failed(failure) => EntryOutcome::Failed(failure),
            Self::Retry(failure) => EntryOutcome::Retry(failure),
        }
    }
}

/// An answer to a conditional request, as what it means for the transfer.
pub(super) fn transfer_error(error: Interruption, on_precondition: impl FnOnce() -> TransferError) -> TransferError {
    match error {
        Interruption::Service(error) if error.class == ErrorClass::PreconditionFailed => on_precondition(),
        Interruption::Service(error) if error.class == ErrorClass::NoSuchUpload => TransferError::UploadGone,
        other => other.into(),
    }
}

/// The same for a write, which may be a copy.
pub(super) fn write_error(error: Interruption, on_precondition: impl FnOnce() -> TransferError) -> TransferError {
    match transfer_error(error, on_precondition) {
        // Said of a copy: by the source's bucket or by the destination's, both of which are looked at again.
        TransferError::Service(error) if error.class == ErrorClass::NoSuchKey => TransferError::SourceChanged,
        error => error,
    }
}
