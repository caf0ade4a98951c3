//! What a preflight finds: requests of a job that are refused before any object is moved, and what follows from that.

mod finding;

use serde::{Deserialize, Serialize};

use crate::error::{ErrorClass, ServiceError, ServiceFault};
pub use finding::{Finding, Report};

/// How far the clock of a service may differ from ours unremarked, in milliseconds. S3 refuses requests whose time differs by
/// 15 minutes. Source: `RequestTimeTooSkewed`, "Error responses" in the S3 API reference.
pub const CLOCK_TOLERANCE_MS: i64 = 5 * 60_000;
/// The name of the key of a preflight's uploads under a prefix, before the job's UID.
const KEY: &str = ".s3-migration-preflight-";

/// Returns the key under a prefix at which the preflight of a job creates uploads. Nobody else uses it.
pub fn upload_key(prefix: &str, job: &str) -> String {
    format!("{prefix}{KEY}{job}")
}

/// Returns true for a key at which only the preflight of this job creates uploads.
pub fn is_upload_key(key: &str, job: &str) -> bool {
    key.strip_suffix(job).is_some_and(|before| before.ends_with(KEY))
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Shortcoming {
    /// The credentials are unknown or disabled, or the secret is wrong.
    CredentialsInvalid,
    /// The credentials have expired.
    CredentialsExpired,
    /// A file of the Secret is missing or empty.
    CredentialsMissing,
    /// The bucket can't be listed, or nothing can be written to it.
    AccessDenied,
    /// The bucket does not exist.
    NotFound,
    /// The bucket is in another region or partition.
    WrongRegion,
    /// The clocks differ too much for signatures to be valid.
    ClockSkewed,
    /// The service does not answer, or something in front of it does.
    Unreachable,
    /// Every request is throttled.
    Throttled,
    /// The bucket can't be listed, and a job with a work list needs that only to tell absent objects from denied ones.
    ListingDenied,
    /// Objects that were tried can't be read or written, though their bucket can be listed.
    ObjectsDenied,
    /// A KMS key denies the decryption of objects.
    KmsDenied,
    /// Tags can't be read or written, so that objects are copied without them.
    TagsDenied,
    /// The job uses versions, and the bucket keeps none.
    Unversioned,
    /// An upload could not be aborted, and is left open.
    UploadLeft,
    /// The service refuses a request for another reason than a missing permission.
    RequestRefused,
    /// The service's clock differs from ours by more than [`CLOCK_TOLERANCE_MS`].
    ClockInaccurate,
}

impl From<ServiceFault> for Shortcoming {
    fn from(fault: ServiceFault) -> Self {
        match fault {
            ServiceFault::CredentialsInvalid => Self::CredentialsInvalid,
            ServiceFault::CredentialsExpired => Self::CredentialsExpired,
            ServiceFault::CredentialsMissing => Self::CredentialsMissing,
            ServiceFault::AccessDenied => Self::AccessDenied,
            ServiceFault::NotFound => Self::NotFound,
            ServiceFault::WrongRegion => Self::WrongRegion,
            ServiceFault::ClockSkewed => Self::ClockSkewed,
            ServiceFault::Unreachable => Self::Unreachable,
            ServiceFault::Throttled => Self::Throttled,
        }
    }
}

impl Shortcoming {
    /// Returns the fault of the side that keeps runs from starting, or none for what concerns objects only.
    pub const fn fault(self) -> Option<ServiceFault> {
        Some(match self {
            Self::CredentialsInvalid => ServiceFault::CredentialsInvalid,
            Self::CredentialsExpired => ServiceFault::CredentialsExpired,
            Self::CredentialsMissing => ServiceFault::CredentialsMissing,
            Self::AccessDenied => ServiceFault::AccessDenied,
            Self::NotFound => ServiceFault::NotFound,
            Self::WrongRegion => ServiceFault::WrongRegion,
            Self::ClockSkewed => ServiceFault::ClockSkewed,
            Self::Unreachable => ServiceFault::Unreachable,
            Self::Throttled => ServiceFault::Throttled,
            Self::ListingDenied
            | Self::ObjectsDenied
            | Self::KmsDenied
            | Self::TagsDenied
            | Self::Unversioned
            | Self::UploadLeft
            | Self::RequestRefused
            | Self::ClockInaccurate => return None,
        })
    }
}

/// What a request is for, as far as its refusal is judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Listing a bucket, for a scan.
    Scan,
    /// Listing a bucket, for a job whose work list names the objects.
    Absence,
    /// Reading an object.
    Read,
    /// Reading or writing tags.
    Tags,
    /// Creating an upload.
    Write,
    /// Ending an upload that was created.
    Clear,
    /// A record in the ledger.
    Record,
}

/// Returns what a refused request shows, or none if it shows nothing of the job.
///
/// | error | listing, writing | reading an object | tags | ending an upload |
/// |---|---|---|---|---|
/// | credentials, bucket, region, clock | that fault | the same | the same | the same |
/// | denied | `AccessDenied`; listing with a work list: `ListingDenied` | `ObjectsDenied` | `TagsDenied` | `UploadLeft` |
/// | denied by a KMS key | `AccessDenied` | `KmsDenied` | `TagsDenied` | `UploadLeft` |
/// | the signature does not match | listing: `CredentialsInvalid`; writing: `ObjectsDenied` | `ObjectsDenied` | none | `UploadLeft` |
/// | no answer, or nothing but errors | `Unreachable` | `Unreachable` | none | `UploadLeft` |
/// | throttled, a conflict | none | none | none | `UploadLeft` |
/// | refused | `RequestRefused` | `RequestRefused` | none: the service has no tags | `UploadLeft` |
/// | absent, archived | none | none | none | none |
///
/// A request for an object whose signature does not match, while the bucket can be listed, was changed on its way.
pub fn shortcoming(error: &ServiceError, purpose: Purpose) -> Option<Shortcoming> {
    use Purpose::{Absence, Clear, Read, Record, Scan, Tags, Write};
    use Shortcoming::{
        AccessDenied, CredentialsInvalid, KmsDenied, ListingDenied, ObjectsDenied, RequestRefused, TagsDenied,
        Unreachable, UploadLeft,
    };
    match (error.class, purpose) {
        (ErrorClass::Service(fault), _) => Some(fault.into()),
        (
            ErrorClass::NoSuchKey
            | ErrorClass::NoSuchUpload
            | ErrorClass::PreconditionFailed
            | ErrorClass::Archived
            | ErrorClass::Stopped,
            _,
        ) => None,
        (_, Clear) => Some(UploadLeft),
        (ErrorClass::AccessDenied, Scan | Write | Record) => Some(AccessDenied),
        (ErrorClass::AccessDenied, Absence) => Some(ListingDenied),
        (ErrorClass::AccessDenied, Read) if is_of_kms(error) => Some(KmsDenied),
        (ErrorClass::AccessDenied, Read) | (ErrorClass::SignatureMismatch, Read | Write) => Some(ObjectsDenied),
        (ErrorClass::AccessDenied, Tags) => Some(TagsDenied),
        (ErrorClass::SignatureMismatch, Scan | Absence | Record) => Some(CredentialsInvalid),
        (ErrorClass::Throttled | ErrorClass::Conflict, _) | (_, Tags) => None,
        (ErrorClass::Transient | ErrorClass::NoAnswer, _) => Some(Unreachable),
        (ErrorClass::Refused, _) => Some(RequestRefused),
    }
}

/// Returns true if a denial is one of a KMS key. Source: "Error responses" in the S3 API reference: codes `KMS.…`; S3 names
/// the denied action in the message of other denials.
pub fn is_of_kms(error: &ServiceError) -> bool {
    error.code.starts_with("KMS.") || error.message.contains("kms:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(class: ErrorClass, code: &str, message: &str) -> ServiceError {
        ServiceError::new(class, "get object", code, message)
    }

    #[test]
    fn what_a_refusal_shows_is_as_the_table_says() {
        use ErrorClass::{
            AccessDenied, Archived, NoAnswer, NoSuchKey, Refused, Service, SignatureMismatch, Throttled, Transient,
        };
        use Purpose::{Absence, Clear, Read, Record, Scan, Tags, Write};
        use Shortcoming as Is;
        const ALL: [Purpose; 6] = [Scan, Absence, Write, Read, Tags, Clear];
        let of = |class, code: &str| ALL.map(|purpose| shortcoming(&error(class, code, "no"), purpose));
        let all = |found| [Some(found); 6];
        let denied = |read| {
            [Is::AccessDenied, Is::ListingDenied, Is::AccessDenied, read, Is::TagsDenied, Is::UploadLeft].map(Some)
        };
        for fault in [ServiceFault::NotFound, ServiceFault::ClockSkewed, ServiceFault::CredentialsExpired] {
            assert_eq!(of(Service(fault), "X"), all(fault.into()));
            assert_eq!(Shortcoming::from(fault).fault(), Some(fault));
        }
        assert_eq!(of(AccessDenied, "AccessDenied"), denied(Is::ObjectsDenied));
        assert_eq!(of(AccessDenied, "KMS.DisabledException"), denied(Is::KmsDenied));
        let (left, none) = (Some(Is::UploadLeft), None);
        let (invalid, objects) = (Some(Is::CredentialsInvalid), Some(Is::ObjectsDenied));
        assert_eq!(of(SignatureMismatch, "X"), [invalid, invalid, objects, objects, none, left]);
        for class in [Transient, NoAnswer] {
            let gone = Some(Is::Unreachable);
            assert_eq!(of(class, "X"), [gone, gone, gone, gone, none, left]);
        }
        assert_eq!(of(Throttled, "SlowDown"), [none, none, none, none, none, left]);
        let refused = Some(Is::RequestRefused);
        assert_eq!(of(Refused, "X"), [refused, refused, refused, refused, none, left]);
        for class in [NoSuchKey, Archived] {
            assert_eq!(of(class, "X"), [None; 6], "{class:?}");
        }
        assert_eq!(shortcoming(&error(AccessDenied, "X", "no"), Record), Some(Is::AccessDenied));
        let words = "User: u is not authorized to perform: kms:Decrypt on resource: k";
        assert_eq!(shortcoming(&error(AccessDenied, "AccessDenied", words), Read), Some(Is::KmsDenied));
    }

    #[test]
    fn the_key_of_an_upload_is_one_jobs_only() {
        let key = upload_key("a/", "u-1");
        assert_eq!(key, "a/.s3-migration-preflight-u-1");
        assert!(is_upload_key(&key, "u-1") && !is_upload_key(&key, "u-2") && !is_upload_key("a/u-1", "u-1"));
    }
}
