//! Requests that write, copy and delete whole objects.

use bytes::Bytes;

use crate::etag::{ETag, Md5Digest};
use crate::object::{Attributes, Checksum, Tags};

/// The destination state required for a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WriteCondition {
    /// Any.
    #[default]
    Any,
    /// The object does not exist (`If-None-Match: *`).
    Absent,
    /// The object has this ETag (`If-Match`).
    Matches(ETag),
}

/// A request to write a whole object.
#[derive(Clone, Debug)]
pub struct PutRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// The body.
    pub body: Bytes,
    /// MD5 of the body. The service rejects any other body.
    pub md5: Md5Digest,
    /// Headers, metadata, storage class and lock to write.
    pub attributes: &'a Attributes,
    /// The tags.
    pub tags: &'a Tags,
    /// Required state of the destination.
    pub condition: &'a WriteCondition,
}

/// A request to set tags. S3 supports no condition on it, so `version_id` should name the version written.
/// Source: `PutObjectTagging` in the S3 API reference.
#[derive(Clone, Copy, Debug)]
pub struct PutTags<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Version to tag.
    pub version_id: Option<&'a str>,
    /// The tags; at least one.
    pub tags: &'a Tags,
}

/// The source of a copy by the service. It is read with the requester's permissions, so both buckets are on one
/// service.
#[derive(Clone, Copy, Debug)]
pub struct CopySource<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Version to copy.
    pub version_id: Option<&'a str>,
    /// Required ETag of the source.
    pub if_match: &'a ETag,
}

/// A request to copy a whole object. The service copies the attributes itself, except those that it does not copy by
/// default: locks, website redirect and storage class.
#[derive(Clone, Copy, Debug)]
pub struct CopyRequest<'a> {
    /// The object to copy.
    pub source: CopySource<'a>,
    /// The bucket to write to.
    pub bucket: &'a str,
    /// The key to write to.
    pub key: &'a str,
    /// The attributes of the source object.
    pub attributes: &'a Attributes,
    /// Required state of the destination.
    pub condition: &'a WriteCondition,
}

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// ETag of the object or part written.
    pub etag: ETag,
    /// True if the service's rules make the ETag an MD5, or an MD5 of MD5s: not under SSE-KMS, DSSE-KMS and SSE-C.
    pub etag_is_md5: bool,
    /// CRC-64/NVME of the bytes received, if the service returns it; for an object, that of the whole content.
    pub checksum: Option<Checksum>,
    /// ID of the version created, in versioned buckets.
    pub version_id: Option<String>,
}

/// A request to delete an object.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key.
    pub key: &'a str,
    /// Required ETag.
    pub if_match: Option<&'a ETag>,
}
