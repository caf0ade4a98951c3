//! Requests that read objects.

use super::ByteStream;
use crate::etag::ETag;
use crate::object::{ListedObject, ObjectHead};

/// A request for a page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct ListRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// Only keys that start with this.
    pub prefix: &'a str,
    /// Only keys after this one.
    pub start_after: Option<&'a str>,
    /// Continuation of the previous page.
    pub continuation: Option<&'a str>,
    /// Maximum number of keys; `None` means a full page.
    pub max_keys: Option<u16>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects, in the order returned by the service.
    pub objects: Vec<ListedObject>,
    /// Continuation for the next page; `None` at the end.
    pub continuation: Option<String>,
}

/// The span of an object to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// The whole object, with its checksum.
    #[default]
    Whole,
    /// A byte range.
    Range {
        /// Offset of the first byte.
        offset: u64,
        /// Number of bytes; at least 1.
        len: u64,
    },
    /// One of the parts in which it was uploaded, from 1. An object not uploaded in parts consists of part 1.
    Part(u32),
}

/// A request to read an object.
#[derive(Clone, Copy, Debug)]
pub struct GetRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The span to read.
    pub span: Span,
    /// Required ETag.
    pub if_match: Option<&'a ETag>,
    /// Version to read.
    pub version_id: Option<&'a str>,
}

/// The answer to a GET.
pub struct GetResponse {
    /// Metadata of the whole object.
    pub head: ObjectHead,
    /// Length of the body in bytes, as announced by the service.
    pub len: u64,
    /// The requested bytes.
    pub body: ByteStream,
}

/// A request for the metadata of an object.
#[derive(Clone, Copy, Debug)]
pub struct HeadRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Version to look up.
    pub version_id: Option<&'a str>,
    /// Request the checksum of the whole content too.
    pub checksum: bool,
}

impl<'a> HeadRequest<'a> {
    /// Requests the latest version, without its checksum.
    pub const fn new(bucket: &'a str, key: &'a str) -> Self {
        Self { bucket, key, version_id: None, checksum: false }
    }
}
