//! What a service may answer otherwise than S3 documents.

use std::time::Duration;

use migration_core::error::{ErrorClass, ServiceError};

use migration_core::ports::Operation;

/// One way of lying. Each says which requests it can be told to; a rule narrows that down by operation, key and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A proxy answers 404 without a word of S3's, of whatever is there: any request. `head` gives none, since a HEAD
    /// has no body and looks the same; all others fail with [`ErrorClass::NoAnswer`], as the service did not answer.
    Absent,
    /// A proxy answers with a page of its own (502, 200 with HTML, ...): any request fails with
    /// [`ErrorClass::NoAnswer`] and has no effect.
    Page,
    /// The service refuses: any request.
    Refuse(Refusal),
    /// The request is done and answered as refused: any request. `CompleteMultipartUpload` with `NoSuchUpload` is what
    /// a retry inside of a proxy looks like.
    RefuseAfter(Refusal),
    /// A write is not done and answered as if it was: put, put part, complete, delete, abort.
    NotDone,
    /// A write is answered as done and done so much later, in tokio's time: put, put part, complete, delete, abort.
    DoneLater(Duration),
    /// A bit of the body is another where it is stored, and Content-MD5 is not looked at: put, put part.
    Damaged(Told),
    /// A GET ignores `If-Match` and answers the content that is there now.
    IfMatchIgnored(Named),
    /// A GET of a range or part is answered with the whole object.
    RangeIgnored,
    /// A GET of a range is answered with one that begins a byte later, or earlier at the end of the object.
    RangeShifted,
    /// The body of a GET ends so many bytes early, as if that was its end.
    BodyShort(u64),
    /// The body of a GET has so many bytes more than its length says.
    BodyLong(u64),
    /// The first half of the bytes that a GET answers is of the first content that was read of the key, the rest and all
    /// that is said of the object of the one that is there now: a cache of pieces.
    Mixed,
    /// A GET, HEAD or listing is answered as it was the first time that this lie was told of it: a cache.
    Stale,
    /// A condition of a put, copy, completion or deletion is ignored.
    ConditionIgnored(Header),
    /// A write with this condition is refused as not implemented.
    ConditionRefused(Header),
    /// ETags look otherwise, in all answers that have one. Conditions and completions understand them to the letter as
    /// they were told, and no other spelling.
    ETags(ETagStyle),
    /// A listing of parts leaves out every second part.
    PartsHidden,
    /// A listing of parts has one more, with the next number and the size of the first one, that nobody sent.
    PartsForeign,
    /// A page of a listing is in reverse order.
    Unordered,
    /// A page of a listing has each object twice.
    Duplicated,
    /// A listing ends in the middle of a page, as if that was all. Nothing in the answer tells.
    Cut,
    /// The first page of a listing comes again and again.
    Loop,
    /// What a put, copy or the beginning of an upload asks for is dropped without a word.
    Dropped(Carried),
    /// The checksum that is told is that of something else, wherever one is told.
    WrongChecksum,
    /// The time of modification that is told: listings, GET and HEAD.
    Modified(Modified),
}

/// What a service says of a body that it damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// ETag and checksum of what was sent. Of a part, its listing and the completion go on saying so; the ETag of the
    /// object that is made of it is that of what is stored.
    Sent,
    /// ETag and checksum of what is stored.
    Stored,
}

/// Which content a GET names that ignored `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The one that it answers.
    Own,
    /// The one that was asked for.
    Wanted,
}

/// A condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// `If-Match`.
    IfMatch,
    /// `If-None-Match: *`.
    IfNoneMatch,
}

/// How ETags look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ETagStyle {
    /// In upper case.
    UpperCase,
    /// Weak: `W/"..."`. Conditions with a weak tag never hold. Source: RFC 9110, section 8.8.3.2.
    Weak,
    /// In single quotes.
    Quoted,
    /// No digest, and nothing that looks like one.
    NoDigest,
    /// A string that looks like a digest and is none; the same for the same content of a key.
    FalseDigest,
    /// Another one in each answer, which looks like a digest.
    Changing,
    /// None in answers to listings, GET and HEAD.
    Missing,
}

/// What travels with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// Its tags.
    Tags,
    /// User metadata.
    Metadata,
    /// Its storage class.
    StorageClass,
}

/// A time of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modified {
    /// Not told.
    Missing,
    /// A day later than it was.
    Late,
    /// A day earlier than it was.
    Early,
}

/// An error that a service answers with, in the class that the adapters give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller makes of it.
    pub class: ErrorClass,
    /// The code of the error document.
    pub code: &'static str,
    /// Its message.
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
    /// A request whose path or headers were changed on the way.
    pub const SIGNATURE_DOES_NOT_MATCH: Self = Self {
        class: ErrorClass::SignatureMismatch,
        code: "SignatureDoesNotMatch",
        message: "the request signature we calculated does not match the signature you provided",
    };
    /// S3's own word that there is no such key.
    pub const NO_SUCH_KEY: Self =
        Self { class: ErrorClass::NoSuchKey, code: "NoSuchKey", message: "the specified key does not exist" };
    /// S3's own word that there is no such upload.
    pub const NO_SUCH_UPLOAD: Self =
        Self { class: ErrorClass::NoSuchUpload, code: "NoSuchUpload", message: "the specified upload does not exist" };
    /// A condition does not hold.
    pub const PRECONDITION_FAILED: Self = Self {
        class: ErrorClass::PreconditionFailed,
        code: "PreconditionFailed",
        message: "at least one of the pre-conditions you specified did not hold",
    };
    /// A header that the service does not know.
    pub const NOT_IMPLEMENTED: Self = Self {
        class: ErrorClass::Refused,
        code: "NotImplemented",
        message: "a header you provided implies functionality that is not implemented",
    };

    /// The error of an operation.
    pub(super) fn of(self, operation: Operation) -> ServiceError {
        ServiceError::new(self.class, operation.as_str(), self.code, self.message)
    }
}

/// What of a request decides whether a lie can be told to it.
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
    /// Whether it can be told to a request.
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
