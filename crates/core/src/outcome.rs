//! Outcomes of objects, and how service errors translate into them.

use serde::{Deserialize, Serialize};

use crate::error::{ErrorClass, ServiceError};
use crate::etag::ETag;
use crate::object::Checksum;

/// The outcome of one entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryOutcome {
    /// The object is at the destination and verified, whether copied now or found there.
    Done(Delivery),
    /// The object no longer exists at the source.
    Gone,
    /// Failed permanently.
    Failed(Failure),
    /// Failed, and may be retried.
    Retry(Failure),
    /// Not finished, because the worker is shutting down or lost its lease.
    Interrupted,
}

/// An object that is at the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Size in bytes.
    pub bytes: u64,
    /// The source version that was copied, if known.
    pub version_id: Option<String>,
    /// Attributes that could not be preserved.
    pub losses: NotPreserved,
    /// True if this attempt copied the object, false if it was found in place.
    pub copied: bool,
    /// The content at the source.
    pub source: Fingerprint,
    /// The content at the destination, as reported by the service.
    pub destination: Fingerprint,
    /// Duration of this attempt, in milliseconds.
    pub millis: u64,
    /// Revision of the [`crate::records::UploadRecord`] that holds what the destination must show. The record is
    /// deleted when the end of the batch is recorded.
    pub upload: Option<u64>,
}

/// Identifies a content by its ETag and checksum, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// The CRC-64/NVME, serialized in base64 as S3 does.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "crc64nvme", with = "checksum")]
    pub checksum: Option<Checksum>,
}

/// Serializes checksums as S3 does: big-endian, in base64.
mod checksum {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Checksum;

    #[allow(clippy::ref_option, reason = "the form that serde asks for")]
    pub(super) fn serialize<S: Serializer>(checksum: &Option<Checksum>, serializer: S) -> Result<S::Ok, S::Error> {
        match checksum {
            Some(Checksum(value)) => serializer.serialize_str(&STANDARD.encode(value.to_be_bytes())),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Checksum>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let bytes = bytes.try_into().map_err(|_| D::Error::custom("a CRC-64/NVME has eight bytes"))?;
        Ok(Some(Checksum(u64::from_be_bytes(bytes))))
    }
}

/// Attributes that could not be preserved, as numbers of objects by kind. Reported in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NotPreserved {
    /// Objects without their tags.
    pub lost_tags: u64,
    /// Objects without their retention or legal hold.
    pub lost_locks: u64,
    /// Objects without some of their metadata or headers.
    pub lost_metadata: u64,
    /// Objects in another storage class than requested.
    pub lost_classes: u64,
    /// Objects without the requested encryption at rest.
    pub lost_encryption: u64,
}

impl NotPreserved {
    /// Clears the kinds that `others` already counts.
    pub fn forget(&mut self, others: &Self) {
        let forget = |mine: &mut u64, theirs: u64| *mine = if theirs > 0 { 0 } else { *mine };
        forget(&mut self.lost_tags, others.lost_tags);
        forget(&mut self.lost_locks, others.lost_locks);
        forget(&mut self.lost_metadata, others.lost_metadata);
        forget(&mut self.lost_classes, others.lost_classes);
        forget(&mut self.lost_encryption, others.lost_encryption);
    }

    /// Subtracts other counts, down to 0.
    pub fn subtract(&mut self, other: &Self) {
        self.lost_tags = self.lost_tags.saturating_sub(other.lost_tags);
        self.lost_locks = self.lost_locks.saturating_sub(other.lost_locks);
        self.lost_metadata = self.lost_metadata.saturating_sub(other.lost_metadata);
        self.lost_classes = self.lost_classes.saturating_sub(other.lost_classes);
        self.lost_encryption = self.lost_encryption.saturating_sub(other.lost_encryption);
    }

    /// Returns true if everything was preserved.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the kinds that were not preserved, in words, separated by commas.
    pub fn kinds(&self) -> String {
        let Self { lost_tags, lost_locks, lost_metadata, lost_classes, lost_encryption } = *self;
        let kinds = [
            ("tags", lost_tags),
            ("retention or legal hold", lost_locks),
            ("metadata or headers", lost_metadata),
            ("storage class", lost_classes),
            ("encryption at rest", lost_encryption),
        ];
        kinds.into_iter().filter(|(_, lost)| *lost > 0).map(|(kind, _)| kind).collect::<Vec<_>>().join(", ")
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.lost_tags += other.lost_tags;
        self.lost_locks += other.lost_locks;
        self.lost_metadata += other.lost_metadata;
        self.lost_classes += other.lost_classes;
        self.lost_encryption += other.lost_encryption;
    }
}

/// Why an object is not at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class, for reports and the status.
    pub class: FailureClass,
    /// A description for people.
    pub message: String,
    /// The service's ID of the failed request.
    pub request_id: Option<String>,
    /// Determines whether a retry counts as an attempt.
    pub cause: Cause,
}

/// Why an object failed for now; see [`crate::retry::next_try`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// A failure of the object itself, or of the service.
    #[default]
    Own,
    /// The object was throttled while others in its bucket were not.
    Throttled,
    /// The whole service is faulty or throttled.
    WholeService,
    /// A failure of any kind, but more parts than before are now at the destination: this many.
    Progress(u32),
}

/// Classes of failures, as named in reports and the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// The destination key would be empty or too long.
    KeyNotMappable,
    /// Access to this object is denied, but not to others.
    AccessDenied,
    /// The object is in an archive class and has not been restored.
    Archived,
    /// The service rejects the object, however often it is retried.
    Refused,
    /// Attributes cannot be preserved and `preserve.onLoss` is `Fail`.
    NotPreserved,
    /// The source object changed during every attempt.
    SourceChanging,
    /// Another client changed the destination object during every attempt.
    DestinationChanging,
    /// The data received differed from the data sent in every attempt.
    ChecksumMismatch,
    /// All attempts failed.
    Exhausted,
    /// A work list names the object, but the source does not have it.
    NotFound,
    /// A work list names a version that is not the latest.
    OldVersion,
    /// The queue gave up on the batch: its workers died or stalled at every delivery.
    DeadLetter,
    /// The source removed the object, and events have deleted as many objects today as they may.
    TooManyDeletes,
}

impl FailureClass {
    /// All classes.
    pub const ALL: [Self; 13] = [
        Self::KeyNotMappable,
        Self::AccessDenied,
        Self::Archived,
        Self::Refused,
        Self::NotPreserved,
        Self::SourceChanging,
        Self::DestinationChanging,
        Self::ChecksumMismatch,
        Self::Exhausted,
        Self::NotFound,
        Self::OldVersion,
        Self::DeadLetter,
        Self::TooManyDeletes,
    ];

    /// Returns the name, as records, reports and the status have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyNotMappable => "KeyNotMappable",
            Self::AccessDenied => "AccessDenied",
            Self::Archived => "Archived",
            Self::Refused => "Refused",
            Self::NotPreserved => "NotPreserved",
            Self::SourceChanging => "SourceChanging",
            Self::DestinationChanging => "DestinationChanging",
            Self::ChecksumMismatch => "ChecksumMismatch",
            Self::Exhausted => "Exhausted",
            Self::NotFound => "NotFound",
            Self::OldVersion => "OldVersion",
            Self::DeadLetter => "DeadLetter",
            Self::TooManyDeletes => "TooManyDeletes",
        }
    }
}

impl Failure {
    /// Converts a service error.
    pub fn of(error: &ServiceError) -> Self {
        let class = match error.class {
            ErrorClass::AccessDenied => FailureClass::AccessDenied,
            ErrorClass::Archived => FailureClass::Archived,
            ErrorClass::Refused | ErrorClass::SignatureMismatch => FailureClass::Refused,
            _ => FailureClass::Exhausted,
        };
        let cause = match error.class {
            ErrorClass::Throttled => Cause::Throttled,
            ErrorClass::Service(_) => Cause::WholeService,
            _ => Cause::Own,
        };
        Self { class, message: error.to_string(), request_id: error.request_id.clone(), cause }
    }

    /// Creates a failure that is not a service error.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), request_id: None, cause: Cause::Own }
    }
}

/// Converts a service error into the outcome of the object, after all quick retries.
///
/// | class | outcome |
/// |---|---|
/// | transient, no answer, throttled, conflict, no such upload, precondition, a side's fault | retry |
/// | no such key | gone |
/// | ended by the stop of the process | interrupted |
/// | denied or not matching its signature (this object only), archived, refused | failed |
pub fn of_error(error: &ServiceError) -> EntryOutcome {
    match error.class {
        ErrorClass::NoSuchKey => EntryOutcome::Gone,
        ErrorClass::Stopped => EntryOutcome::Interrupted,
        ErrorClass::AccessDenied | ErrorClass::SignatureMismatch | ErrorClass::Archived | ErrorClass::Refused => {
            EntryOutcome::Failed(Failure::of(error))
        }
        ErrorClass::Transient
        | ErrorClass::NoAnswer
        | ErrorClass::Throttled
        | ErrorClass::Conflict
        | ErrorClass::NoSuchUpload
        | ErrorClass::PreconditionFailed
        | ErrorClass::Service(_) => EntryOutcome::Retry(Failure::of(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServiceFault;

    #[test]
    fn a_failure_class_has_one_name() {
        for class in FailureClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str(), "records spell it otherwise");
        }
    }

    #[test]
    fn errors_lead_where_the_table_says() {
        let outcome = |class| of_error(&ServiceError::new(class, "get object", "X", "y"));
        for class in [
            ErrorClass::Transient,
            ErrorClass::NoAnswer,
            ErrorClass::Throttled,
            ErrorClass::Conflict,
            ErrorClass::NoSuchUpload,
            ErrorClass::PreconditionFailed,
            ErrorClass::Service(ServiceFault::NotFound),
        ] {
            assert!(matches!(outcome(class), EntryOutcome::Retry(_)), "{class:?}");
        }
        for class in
            [ErrorClass::AccessDenied, ErrorClass::SignatureMismatch, ErrorClass::Archived, ErrorClass::Refused]
        {
            assert!(matches!(outcome(class), EntryOutcome::Failed(_)), "{class:?}");
        }
        assert_eq!(outcome(ErrorClass::NoSuchKey), EntryOutcome::Gone);
        assert_eq!(outcome(ErrorClass::Stopped), EntryOutcome::Interrupted);
    }
}
