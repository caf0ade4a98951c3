//! What is known of objects and their parts besides the bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::etag::ETag;

/// What is known of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHead {
    /// Bytes of the whole object.
    pub size: u64,
    /// Its ETag.
    pub etag: Option<ETag>,
    /// Whether that ETag is made of MD5s by the service's own rules: not under SSE-KMS, DSSE and SSE-C.
    pub etag_is_md5: bool,
    /// Its version, in versioned buckets.
    pub version_id: Option<String>,
    /// Last modification, in milliseconds since 1970; 0 where the service does not say.
    pub modified: i64,
    /// Number of its tags; absent without tags and where the caller may not read them.
    pub tag_count: u32,
    /// Parts that it was uploaded in; said where a part was asked for.
    pub parts: Option<u32>,
    /// The checksum of its whole content, where the service keeps one and was asked for it.
    pub checksum: Option<Checksum>,
    /// How it is encrypted at rest, as `x-amz-server-side-encryption` names it, where the service says so.
    pub encryption: Option<String>,
    /// What travels with it.
    pub attributes: Attributes,
}

/// A CRC-64/NVME of a whole content, as `x-amz-checksum-crc64nvme` carries it.
/// Source: "Checking object integrity" in the S3 user guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checksum(pub u64);

/// What travels with an object besides its bytes and tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`, without that prefix.
    pub metadata: BTreeMap<String, String>,
    /// Headers and metadata that the service has and that can't be carried: what it can't give in headers
    /// (`x-amz-missing-meta`), and what came in bytes that are no UTF-8, which no request can be signed with.
    pub missing_metadata: u32,
    /// Storage class; none means STANDARD.
    pub storage_class: Option<String>,
    /// What keeps it from being overwritten or deleted.
    pub lock: ObjectLock,
}

/// What keeps an object from being overwritten or deleted.
/// Source: "Locking objects with Object Lock" in the S3 user guide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectLock {
    /// Until when, and for whom.
    pub retention: Option<Retention>,
    /// Until somebody takes it away.
    pub legal_hold: bool,
}

impl ObjectLock {
    /// Nothing keeps it.
    pub const fn is_none(&self) -> bool {
        self.retention.is_none() && !self.legal_hold
    }
}

/// A lock that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For whom.
    pub mode: RetentionMode,
    /// Until when, in milliseconds since 1970.
    pub until: i64,
}

/// Whom a retention binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionMode {
    /// All but those with a right of their own.
    Governance,
    /// Everybody.
    Compliance,
}

/// Tags of an object.
pub type Tags = Vec<(String, String)>;

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The whole key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The ETag; a few services leave it out.
    pub etag: Option<ETag>,
    /// Last modification, in milliseconds since 1970.
    pub modified: i64,
    /// The version, where versions were listed and the bucket keeps them; the version `null` is none.
    pub version_id: Option<String>,
    /// The storage class; none means STANDARD.
    pub storage_class: Option<String>,
}

/// One content of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceIdentity {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its ETag.
    pub etag: ETag,
    /// Its version, where that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// A part as the destination lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// From 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// Its ETag.
    pub etag: ETag,
    /// Its checksum, where the upload was begun with one named.
    pub checksum: Option<Checksum>,
}

/// A part of an upload that is completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// From 1.
    pub number: u32,
    /// Its ETag, as the service gave it.
    pub etag: ETag,
    /// Its checksum, where the upload was begun with one named.
    pub checksum: Option<Checksum>,
}
