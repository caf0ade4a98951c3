//! Requests of multipart uploads.

use std::fmt;

use bytes::Bytes;

use super::ByteStream;
use super::writes::{CopySource, WriteCondition};
use crate::etag::Md5Digest;
use crate::object::{Attributes, CompletedPart, ListedPart, Tags};

/// A request to create a multipart upload.
#[derive(Clone, Copy, Debug)]
pub struct CreateUpload<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Headers, metadata, storage class and lock of the object.
    pub attributes: &'a Attributes,
    /// The tags.
    pub tags: &'a Tags,
    /// Use CRC-64/NVME as the checksum of the whole object. Each part is then sent with its checksum, and completion
    /// names them all.
    pub checksum: bool,
}

/// Identifies an upload.
#[derive(Clone, Copy, Debug)]
pub struct UploadRef<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The service's ID of the upload.
    pub upload_id: &'a str,
}

/// A request to upload a part.
#[derive(Debug)]
pub struct PutPart<'a> {
    /// The upload.
    pub upload: UploadRef<'a>,
    /// Part number, from 1.
    pub number: u32,
    /// The content of the part.
    pub body: Body,
    /// True if the upload was created with a checksum algorithm: this part carries its checksum.
    pub checksum: bool,
}

/// The body of a request.
pub enum Body {
    /// A body in memory, with its MD5. The service rejects any other body.
    Held {
        /// The bytes.
        bytes: Bytes,
        /// Their MD5.
        md5: Md5Digest,
    },
    /// A body sent as it arrives; the answer tells what the service received. An error in the stream aborts the
    /// request, and nothing is stored.
    Streamed {
        /// The bytes.
        stream: ByteStream,
        /// Length in bytes.
        len: u64,
    },
}

impl Body {
    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Held { bytes, .. } => bytes.len() as u64,
            Self::Streamed { len, .. } => *len,
        }
    }

    /// Returns true if the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Held { .. } => "Held",
            Self::Streamed { .. } => "Streamed",
        };
        f.debug_struct(name).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A request to copy a part.
#[derive(Clone, Copy, Debug)]
pub struct CopyPart<'a> {
    /// The object to copy from.
    pub source: CopySource<'a>,
    /// The upload.
    pub upload: UploadRef<'a>,
    /// Part number, from 1.
    pub number: u32,
    /// Offset of the first byte in the source.
    pub offset: u64,
    /// Number of bytes; at least 1.
    pub len: u64,
}

/// A page of an upload's parts.
#[derive(Clone, Debug, Default)]
pub struct PartsPage {
    /// The parts, in order of their numbers.
    pub parts: Vec<ListedPart>,
    /// Part number after which the next page starts; `None` at the end.
    pub next: Option<u32>,
    /// The principal that created the upload, if the service reports it.
    pub initiator: Option<String>,
}

/// A request to complete an upload.
#[derive(Clone, Copy, Debug)]
pub struct CompleteUpload<'a> {
    /// The upload.
    pub upload: UploadRef<'a>,
    /// Its parts, in order of their numbers.
    pub parts: &'a [CompletedPart],
    /// Required state of the destination.
    pub condition: &'a WriteCondition,
}

/// An open upload at the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// The service's ID of the upload.
    pub upload_id: String,
    /// When it was created, as Unix time in milliseconds.
    pub initiated: i64,
    /// The principal that created it, if the service reports it.
    pub initiator: Option<String>,
}
