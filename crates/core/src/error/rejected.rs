//! What of a request a service does not take.

use serde::{Deserialize, Serialize};

/// What of a request a service refuses or denies, where its answer names it. The adapter reads that from the answer, for
/// callers that have another way: an object can be written without its tags, and not without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rejected {
    /// The condition: the service knows none for such requests.
    Condition,
    /// The range: the object has no byte of it.
    Range,
    /// The digest that came with the bytes is not theirs.
    Digest,
    /// What the records of a write to the ledger say: the same is refused whoever sends it and however often.
    Record,
    /// The object's tags.
    Tags,
    /// The object's storage class.
    StorageClass,
    /// The object's retention or legal hold.
    Lock,
    /// User metadata: the value of one of these names, in lower case; all values where the object has none of these names.
    Metadata(Vec<String>),
    /// One of the object's own headers.
    Header(ContentHeader),
}

/// A header that travels with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContentHeader {
    /// `x-amz-website-redirect-location`.
    WebsiteRedirect,
    /// `Content-Language`.
    ContentLanguage,
    /// `Content-Disposition`.
    ContentDisposition,
    /// `Content-Encoding`.
    ContentEncoding,
    /// `Cache-Control`.
    CacheControl,
    /// `Content-Type`.
    ContentType,
    /// `Expires`.
    Expires,
}
