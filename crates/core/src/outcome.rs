//! What became of an object, and what follows from it for its message.

use serde::{Deserialize, Serialize};

use crate::error::{ErrorClass, ServiceError};
use crate::etag::ETag;
use crate::object::Checksum;

/// What became of one entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryOutcome {
    /// At the destination and verified: copied now, or found there with this content.
    Done(Delivery),
    /// No longer at the source.
    Gone,
    /// Failed for good.
    Failed(Failure),
    /// Failed for now.
    Retry(Failure),
    /// Not finished because the worker is ending, or lost its lease.
    Interrupted,
}

/// An object at the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes of the object.
    pub bytes: u64,
    /// The source's version that was copied, where it is known.
    pub version_id: Option<String>,
    /// What could not be taken along.
    pub losses: NotPreserved,
    /// Copied by this try, and not found there.
    pub copied: bool,
    /// The content at the source.
    pub source: Fingerprint,
    /// The content at the destination, as its service says.
    pub destination: Fingerprint,
    /// How long this try took, in milliseconds.
    pub millis: u64,
    /// Revision of the [`crate::records::UploadRecord`] that says what the object shows at the destination: it goes when
    /// the end of the batch is recorded.
    pub upload: Option<u64>,
}

/// An object's content by what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// The CRC-64/NVME, in base64 as S3 has it.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "crc64nvme", with = "checksum")]
    pub checksum: Option<Checksum>,
}

/// Checksums as S3 writes them: big-endian, in base64.
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

/// What could not be taken along with objects, by kind: counted, and named in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NotPreserved {
    /// Objects without their tags.
    pub lost_tags: u64,
    /// Objects without their retention or legal hold.
    pub lost_locks: u64,
    /// Objects without some of their metadata or headers.
    pub lost_metadata: u64,
    /// Objects in another storage class than the source's, which the destination does not have.
    pub lost_classes: u64,
    /// Objects without the encryption at rest that was asked for.
    pub lost_encryption: u64,
}

impl NotPreserved {
    /// Takes out the kinds that others have: they are counted already.
    pub fn forget(&mut self, others: &Self) {
        let forget = |mine: &mut u64, theirs: u64| *mine = if theirs > 0 { 0 } else { *mine };
        forget(&mut self.lost_tags, others.lost_tags);
        forget(&mut self.lost_locks, others.lost_locks);
        forget(&mut self.lost_metadata, others.lost_metadata);
        forget(&mut self.lost_classes, others.lost_classes);
        forget(&mut self.lost_encryption, others.lost_encryption);
    }

    /// Takes others away.
    pub fn subtract(&mut self, other: &Self) {
        self.lost_tags = self.lost_tags.saturating_sub(other.lost_tags);
        self.lost_locks = self.lost_locks.saturating_sub(other.lost_locks);
        self.lost_metadata = self.lost_metadata.saturating_sub(other.lost_metadata);
        self.lost_classes = self.lost_classes.saturating_sub(other.lost_classes);
        self.lost_encryption = self.lost_encryption.saturating_sub(other.lost_encryption);
    }

    /// Whether nothing was left behind.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// What was left behind, in words.
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

    /// Adds others.
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
    /// The kind.
    pub class: FailureClass,
    /// What happened.
    pub message: String,
    /// Identifier of the request that failed.
    pub request_id: Option<String>,
    /// Why it may pass, where it may: what of it counts as a try.
    pub cause: Cause,
}

/// Why an object failed for now; see [`crate::retry::next_try`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// Something of its own, or of the service.
    #[default]
    Own,
    /// The service throttled it while others of its bucket were answered.
    Throttled,
    /// The whole side is broken, or throttled.
    Side,
    /// Whatever it was, so many parts are at the destination now, and fewer were before.
    Progress(u32),
}

/// Kinds of failures, as reports and the status name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// The destination key would be empty or too long.
    KeyNotMappable,
    /// This object is denied while others are not.
    AccessDenied,
    /// In an archive class and not restored.
    Archived,
    /// The service refuses the object whatever the number of tries.
    Refused,
    /// What travels with it can't be taken along, and `preserve.onLoss` asks for that.
    NotPreserved,
    /// It changed at the source at every try.
    SourceChanging,
    /// It was changed at the destination by someone else at every try.
    DestinationChanging,
    /// What arrived is not what was sent, at every try.
    ChecksumMismatch,
    /// The service did not do it within all tries.
    Exhausted,
    /// A work list names it, and the source does not have it.
    NotFound,
    /// A work list names a version of it that is not the latest one.
    OldVersion,
    /// The batch was given up by the queue: its workers died or stalled at every delivery.
    DeadLetter,
}

impl Failure {
    /// The failure that an error of a service is to an object.
    pub fn of(error: &ServiceError) -> Self {
        let class = match error.class {
            ErrorClass::AccessDenied => FailureClass::AccessDenied,
            ErrorClass::Archived => FailureClass::Archived,
            ErrorClass::Refused | ErrorClass::SignatureMismatch => FailureClass::Refused,
            _ => FailureClass::Exhausted,
        };
        let cause = match error.class {
            ErrorClass::Throttled => Cause::Throttled,
            ErrorClass::Side(_) => Cause::Side,
            _ => Cause::Own,
        };
        Self { class, message: error.to_string(), request_id: error.request_id.clone(), cause }
    }

    /// One that is not a service's error.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), request_id: None, cause: Cause::Own }
    }
}

/// What an error of a service means for the object at hand, after all quick retries.
///
/// | class | outcome |
/// |---|---|
/// | transient, no answer, throttled, conflict, no such upload, precondition, a side's fault | retry |
/// | no such key | gone |
/// | denied or not matching its signature (this object only), archived, refused | failed |
pub fn of_error(error: &ServiceError) -> EntryOutcome {
    match error.class {
        ErrorClass::NoSuchKey => EntryOutcome::Gone,
        ErrorClass::AccessDenied | ErrorClass::SignatureMismatch | ErrorClass::Archived | ErrorClass::Refused => {
            EntryOutcome::Failed(Failure::of(error))
        }
        ErrorClass::Transient
        | ErrorClass::NoAnswer
        | ErrorClass::Throttled
        | ErrorClass::Conflict
        | ErrorClass::NoSuchUpload
        | ErrorClass::PreconditionFailed
        | ErrorClass::Side(_) => EntryOutcome::Retry(Failure::of(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SideFault;

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
            ErrorClass::Side(SideFault::NotFound),
        ] {
            assert!(matches!(outcome(class), EntryOutcome::Retry(_)), "{class:?}");
        }
        for class in
            [ErrorClass::AccessDenied, ErrorClass::SignatureMismatch, ErrorClass::Archived, ErrorClass::Refused]
        {
            assert!(matches!(outcome(class), EntryOutcome::Failed(_)), "{class:?}");
        }
        assert_eq!(outcome(ErrorClass::NoSuchKey), EntryOutcome::Gone);
    }
}
