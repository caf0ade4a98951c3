//! Settings of a service and its buckets.

use std::time::Duration;

/// Behaviour of a [`LocalStore`](super::LocalStore). [`Default`] is that of S3.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Keys per page of a listing, or versions and delete markers per page of versions; at least 1.
    pub list_page: usize,
    /// Parts per page of a part listing; at least 1.
    pub parts_page: usize,
    /// Smallest part except the last, in bytes, checked at completion.
    pub minimum_part: u64,
    /// Bytes per piece of a body that is read; at least 1.
    pub chunk: usize,
    /// Most bytes that one request can copy.
    pub copy_limit: u64,
    /// Support for conditional writes.
    pub conditional_writes: ConditionalWrites,
    /// Support for checksums.
    pub checksums: Checksums,
    /// Support for streamed bodies.
    pub streamed_bodies: StreamedBodies,
    /// Latency of each request, in tokio's time.
    pub latency: Duration,
    /// Concurrent requests of a bucket above which requests are throttled. A GET lasts until its body is read.
    pub throttle_over: Option<usize>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            list_page: 1_000,
            parts_page: 1_000,
            minimum_part: 5 << 20,
            chunk: 64 << 10,
            copy_limit: 5 << 30,
            conditional_writes: ConditionalWrites::Kept,
            checksums: Checksums::Kept,
            streamed_bodies: StreamedBodies::Taken,
            latency: Duration::ZERO,
            throttle_over: None,
        }
    }
}

/// Handling of `If-Match` and `If-None-Match` of a put, a copy and a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// Conditions are honoured.
    #[default]
    Kept,
    /// Conditions are ignored.
    Ignored,
    /// The write is rejected as not implemented.
    Refused,
}

/// Handling of CRC-64/NVME.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// Checked, stored and returned.
    #[default]
    Kept,
    /// Accepted, but neither stored nor returned.
    Ignored,
    /// Requests with one are rejected as not implemented.
    Refused,
}

/// Handling of streamed bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamedBodies {
    /// Accepted.
    #[default]
    Taken,
    /// Rejected as not implemented.
    Refused,
    /// Reported as successful, but the chunk framing is stored with the bytes.
    Mangled,
}

/// Behaviour of a bucket. [`Default`] is a bucket without versioning, encryption keys and locks.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketSettings {
    /// Versioning of objects.
    pub versioning: Versioning,
    /// Encrypts like SSE-KMS: ETags are no MD5s, and equal contents have different ETags.
    pub opaque_etags: bool,
    /// Accepts objects with locks.
    pub object_lock: bool,
    /// Supported storage classes besides STANDARD; `None` means those of S3.
    pub storage_classes: Option<&'static [&'static str]>,
    /// Headers to reject as not implemented, by name: those of tags, class, metadata (`x-amz-meta`) and lock.
    pub unknown_headers: &'static [&'static str],
    /// Returns the tag count to GET but not to HEAD.
    pub quiet_of_tags: bool,
}

impl BucketSettings {
    /// Settings with versioning enabled.
    pub const fn versioned() -> Self {
        Self {
            versioning: Versioning::Enabled,
            opaque_etags: false,
            object_lock: false,
            storage_classes: None,
            unknown_headers: &[],
            quiet_of_tags: false,
        }
    }
}

/// Versioning of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// Never enabled.
    #[default]
    Off,
    /// Each write creates a version with an id.
    Enabled,
    /// Each write replaces the version `null`; versions with ids stay.
    Suspended,
}

/// Storage classes of S3 besides STANDARD. Source: `PutObject` in the S3 API reference, `x-amz-storage-class`.
pub(super) const STORAGE_CLASSES: &[&str] = &[
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
    "FSX_ONTAP",
];
