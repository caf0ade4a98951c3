//! Metadata of objects and their parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::etag::ETag;

/// Metadata of an object, as returned by a HEAD or GET.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHead {
    /// Size of the whole object, in bytes.
    pub size: u64,
    /// The ETag, if the service returns one.
    pub etag: Option<ETag>,
    /// True if the service's rules make the ETag an MD5, or an MD5 of MD5s: not under SSE-KMS, DSSE-KMS and SSE-C.
    pub etag_is_md5: bool,
    /// The version ID, in versioned buckets.
    pub version_id: Option<String>,
    /// Last modification, as Unix time in milliseconds; 0 if unknown.
    pub modified: i64,
    /// Number of tags. 0 if there are none, or if the caller may not read them.
    pub tag_count: u32,
    /// Number of parts it was uploaded in. Known only if a part was requested.
    pub parts: Option<u32>,
    /// Checksum of the whole content, if it was requested and the service stores one.
    pub checksum: Option<Checksum>,
    /// Encryption at rest, if the service reports it and it is a kind that a job can ask for.
    pub encryption: Option<EncryptionKind>,
    /// Headers, user metadata, storage class and lock.
    pub attributes: Attributes,
}

/// A way of encryption at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptionKind {
    /// With keys of the service's own.
    ServiceKeys,
    /// With a key of a key management service.
    ManagedKey,
    /// With a key of a key management service, twice.
    ManagedKeyTwice,
}

/// The CRC-64/NVME of a whole content, as in `x-amz-checksum-crc64nvme`.
/// Source: "Checking object integrity" in the S3 user guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checksum(pub u64);

/// Attributes of an object besides its bytes and tags.
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
    /// `Expires`, as text: it need not be a valid date.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// User metadata (`x-amz-meta-*`), by name without the prefix.
    pub metadata: BTreeMap<String, String>,
    /// Number of headers and metadata values that cannot be transferred: those that the service cannot represent in
    /// headers (`x-amz-missing-meta`), and those that are not UTF-8, which cannot be signed.
    pub missing_metadata: u32,
    /// Storage class; `None` means STANDARD.
    pub storage_class: Option<String>,
    /// Protection against overwriting and deletion.
    pub lock: ObjectLock,
}

/// Protection of an object against overwriting and deletion.
/// Source: "Locking objects with Object Lock" in the S3 user guide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectLock {
    /// Retention, which ends at a given time.
    pub retention: Option<Retention>,
    /// Legal hold, which stays until it is removed.
    pub legal_hold: bool,
}

impl ObjectLock {
    /// Returns true if the object is not protected.
    pub const fn is_none(&self) -> bool {
        self.retention.is_none() && !self.legal_hold
    }
}

/// A retention period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Whom it binds.
    pub mode: RetentionMode,
    /// End of the retention, as Unix time in milliseconds.
    pub until: i64,
}

/// The principals that a retention binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionMode {
    /// All but those with permission to bypass it.
    Governance,
    /// All principals.
    Compliance,
}

/// Tags of an object, as pairs of key and value.
pub type Tags = Vec<(String, String)>;

/// An object as returned by a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// The whole key, including any prefix.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// The ETag. A few services return none.
    pub etag: Option<ETag>,
    /// Last modification, as Unix time in milliseconds.
    pub modified: i64,
    /// The version ID, if versions were listed and the bucket keeps them. `None` for the version `null`.
    pub version_id: Option<String>,
    /// Storage class; `None` means STANDARD.
    pub storage_class: Option<String>,
}

/// Identifies one content of one source object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceIdentity {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its ETag.
    pub etag: ETag,
    /// The version ID, if the job uses versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_id: Option<String>,
}

/// A part as listed by the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// Part number, from 1.
    pub number: u32,
    /// Size in bytes.
    pub size: u64,
    /// Its ETag.
    pub etag: ETag,
    /// The checksum, if the upload was created with a checksum algorithm.
    pub checksum: Option<Checksum>,
}

/// A part named in a completion request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// Part number, from 1.
    pub number: u32,
    /// The ETag returned by the service.
    pub etag: ETag,
    /// The checksum, if the upload was created with a checksum algorithm.
    pub checksum: Option<Checksum>,
}
