//! Responses that contradict S3's documentation.

use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};

use migration_core::ports::Operation;

use crate::rejected::rejected;

/// A wrong response. Each kind names the requests it applies to; a rule restricts that by operation, key and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A proxy answers any request with a 404 that is not S3's, whether or not the object exists. `head` returns
    /// `None`, since responses to HEAD have no body and look alike; all others fail with [`ErrorClass::NoAnswer`].
    Absent,
    /// A proxy answers any request with a page of its own (502, or 200 with HTML): the request has no effect and fails
    /// with [`ErrorClass::NoAnswer`].
    Page,
    /// The service rejects any request.
    Refuse(Refusal),
    /// Any request is executed but answered with an error. `CompleteMultipartUpload` with `NoSuchUpload` is what a
    /// retry inside a proxy looks like.
    RefuseAfter(Refusal),
    /// A write is acknowledged but not executed: put, put part, complete, delete, abort.
    NotDone,
    /// A write is acknowledged at once and executed so much later, in tokio's time: put, put part, complete, delete,
    /// abort.
    DoneLater(Duration),
    /// A bit of the body is stored wrongly, and Content-MD5 is not checked: put, put part.
    Damaged(Told),
    /// The Content-MD5 of a put is not checked.
    Md5Ignored,
    /// A GET ignores `If-Match` and returns the current content.
    IfMatchIgnored(Named),
    /// A GET of a range or part returns the whole object.
    RangeIgnored,
    /// A GET of a range returns one that starts a byte later, or a byte earlier at the end of the object.
    RangeShifted,
    /// The body of a GET ends so many bytes early without an error.
    BodyShort(u64),
    /// The body of a GET is so many bytes longer than announced.
    BodyLong(u64),
    /// The first half of the bytes of a GET comes from the first content of the key that was read, the rest and all
    /// metadata from the current one: a cache of pieces.
    Mixed,
    /// A GET, HEAD or listing returns its first response under this lie again: a cache.
    Stale,
    /// The condition of a put, copy, completion or deletion is ignored.
    ConditionIgnored(Header),
    /// A write with this condition is rejected as not implemented.
    ConditionRefused(Header),
    /// ETags are rewritten in all responses. Conditions and completions accept exactly the rewritten form and no other.
    ETags(ETagStyle),
    /// A listing of parts omits every second part.
    PartsHidden,
    /// A listing of parts has an extra part that was never sent, with the next number and the size of the first.
    PartsForeign,
    /// A page of a listing is in reverse order.
    Unordered,
    /// A page of a listing has each object twice.
    Duplicated,
    /// A listing ends in the middle of a page, without any sign of it.
    Cut,
    /// A listing returns its first page for ever.
    Loop,
    /// An attribute of a put, a copy or a new upload is silently dropped.
    Dropped(Carried),
    /// Every reported checksum is wrong.
    WrongChecksum,
    /// Listings, GET and HEAD report a wrong time of modification.
    Modified(Modified),
}

/// Report about a body that the service damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// ETag and checksum of the bytes sent. Listings and completions repeat those of a part; the ETag of the completed
    /// object is that of the bytes stored.
    Sent,
    /// ETag and checksum of the bytes stored.
    Stored,
}

/// ETag in the response of a GET that ignored `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// ETag of the content returned.
    Own,
    /// ETag that was requested.
    Wanted,
}

/// Condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `If-Match`.
    IfMatch,
    /// `If-None-Match: *`.
    IfNoneMatch,
}

/// Form of rewritten ETags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ETagStyle {
    /// In upper case.
    UpperCase,
    /// Weak: `W/"..."`. Conditions with a weak tag never hold. Source: RFC 9110, section 8.8.3.2.
    Weak,
    /// In single quotes.
    Quoted,
    /// Not in the form of a digest.
    NoDigest,
    /// In the form of a digest without being one; constant for a content of a key.
    FalseDigest,
    /// In the form of a digest, and new in each response.
    Changing,
    /// Omitted from responses to listings, GET and HEAD.
    Missing,
}

/// Attribute of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Object tags.
    Tags,
    /// User metadata.
    Metadata,
    /// Storage class.
    StorageClass,
}

/// Wrong time of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modified {
    /// Omitted.
    Missing,
    /// One day too late.
    Late,
    /// One day too early.
    Early,
}

/// An error of the service, with the class that the adapters give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Class of the error.
    pub class: ErrorClass,
    /// Code of the error document.
    pub code: &'static str,
    /// Message of the error document.
    pub message: &'static str,
}

impl Refusal {
    /// A 503 of the service itself.
    pub const SLOW_DOWN: Self =
        Self { class: ErrorClass::Throttled, code: "SlowDown", message: "please reduce your request rate" };
    /// A 500 of the service itself.
    pub const INTERNAL_ERROR: Self =
        Self { class: ErrorClass::Transient, code: "InternalError", message: "we encountered an internal error" };
    /// A 403 of the service itself.
    pub const ACCESS_DENIED: Self =
        Self { class: ErrorClass::AccessDenied, code: "AccessDenied", message: "access denied" };
    /// The 403 for a request whose path or headers were changed in transit.
    pub const SIGNATURE_DOES_NOT_MATCH: Self = Self {
        class: ErrorClass::SignatureMismatch,
        code: "SignatureDoesNotMatch",
        message: "the request signature we calculated does not match the signature you provided",
    };
    /// S3's own 404 for an absent key.
    pub const NO_SUCH_KEY: Self =
        Self { class: ErrorClass::NoSuchKey, code: "NoSuchKey", message: "the specified key does not exist" };
    /// S3's own 404 for an absent upload.
    pub const NO_SUCH_UPLOAD: Self =
        Self { class: ErrorClass::NoSuchUpload, code: "NoSuchUpload", message: "the specified upload does not exist" };
    /// The 412 for a condition that does not hold.
    pub const PRECONDITION_FAILED: Self = Self {
        class: ErrorClass::PreconditionFailed,
        code: "PreconditionFailed",
        message: "at least one of the pre-conditions you specified did not hold",
    };
    /// The 501 for a header that the service does not support.
    pub const NOT_IMPLEMENTED: Self = Self {
        class: ErrorClass::Refused,
        code: "NotImplemented",
        message: "a header you provided implies functionality that is not implemented",
    };

    /// Returns the error for an operation.
    pub(super) fn of(self, operation: Operation) -> ServiceError {
        let told = ServiceError::new(self.class, operation.as_str(), self.code, self.message);
        told.rejecting(rejected(operation, self.code))
    }
}

/// Properties of a request that decide which lies apply to it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) if_match: bool,
    pub(super) if_none_match: bool,
    pub(super) span: bool,
}

impl Asked {
    const fn has(self, header: Header) -> bool {
        match header {
            Header::IfMatch => self.if_match,
            Header::IfNoneMatch => self.if_none_match,
        }
    }
}

impl Lie {
    /// Returns true if the lie applies to a request.
    pub(super) fn concerns(self, operation: Operation, asked: Asked) -> bool {
        use Operation::{
            AbortUpload, CompleteUpload, CopyObject, CopyPart, CreateUpload, DeleteObject, GetObject, GetTags,
            HeadObject, ListObjects, ListParts, ListUploads, ListVersions, PutObject, PutPart,
        };
        let reads = matches!(operation, GetObject | HeadObject | ListObjects | ListVersions);
        let writes = matches!(operation, PutObject | PutPart | CopyObject | CopyPart | CompleteUpload);
        match self {
            Self::Absent | Self::Page | Self::Refuse(_) | Self::RefuseAfter(_) => true,
            Self::NotDone | Self::DoneLater(_) => {
                matches!(operation, PutObject | PutPart | CompleteUpload | DeleteObject | AbortUpload)
            }
            Self::Damaged(_) => matches!(operation, PutObject | PutPart),
            Self::Md5Ignored => operation == PutObject,
            Self::IfMatchIgnored(_) => operation == GetObject && asked.if_match,
            Self::RangeIgnored | Self::RangeShifted => operation == GetObject && asked.span,
            Self::BodyShort(_) | Self::BodyLong(_) | Self::Mixed => operation == GetObject,
            Self::Stale | Self::Modified(_) => reads,
            Self::ConditionIgnored(header) | Self::ConditionRefused(header) => {
                matches!(operation, PutObject | CopyObject | CompleteUpload | DeleteObject) && asked.has(header)
            }
            Self::ETags(_) => reads || writes || operation == ListParts,
            Self::PartsHidden | Self::PartsForeign => operation == ListParts,
            Self::Unordered | Self::Duplicated | Self::Cut | Self::Loop => {
                matches!(operation, ListObjects | ListVersions)
            }
            Self::Dropped(_) => matches!(operation, PutObject | CopyObject | CreateUpload),
            Self::WrongChecksum => {
                !matches!(operation, DeleteObject | AbortUpload | CreateUpload | GetTags | ListUploads)
                    && (reads || writes)
            }
        }
    }
}
