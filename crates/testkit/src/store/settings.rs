//! How a service and its buckets behave.

use std::time::Duration;

/// How a [`MemoryStore`](super::MemoryStore) behaves. [`Default`] is how S3 does.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Keys in a page of a listing; versions and delete markers in one of versions; at least 1.
    pub list_page: usize,
    /// Parts in a page of an upload's parts; at least 1.
    pub parts_page: usize,
    /// Bytes that each part but the last has at least when an upload is completed.
    pub minimum_part: u64,
    /// Bytes of one piece of a body that is read; at least 1.
    pub chunk: usize,
    /// Bytes that are copied in one request at most.
    pub copy_limit: u64,
    /// What becomes of conditions of writes.
    pub conditional_writes: ConditionalWrites,
    /// What becomes of checksums.
    pub checksums: Checksums,
    /// What becomes of streamed bodies.
    pub streamed_bodies: StreamedBodies,
    /// Time that each request takes, in tokio's time.
    pub latency: Duration,
    /// Requests that a bucket takes at once: what is beyond is throttled. A GET lasts until its body was read.
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

/// What becomes of `If-Match` and `If-None-Match` of a put, a copy and a completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// They are kept.
    #[default]
    Kept,
    /// The write is done whatever they say.
    Ignored,
    /// The write is refused: not implemented.
    Refused,
}

/// What becomes of CRC-64/NVME.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// It is checked, kept and told.
    #[default]
    Kept,
    /// Requests with one are taken, and answered without one.
    Ignored,
    /// Requests with one are refused: not implemented.
    Refused,
}

/// What becomes of bodies that are streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamedBodies {
    /// They are taken.
    #[default]
    Taken,
    /// They are refused: not implemented.
    Refused,
    /// The frame of the chunks is stored along with the bytes, and said to be well.
    Mangled,
}

/// How a bucket behaves. [`Default`] is a bucket without versions, encryption keys and locks.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketSettings {
    /// Whether it keeps the versions of each object, with ids.
    pub versioning: Versioning,
    /// Encrypts as SSE-KMS does: ETags are no MD5, and two equal contents have two ETags.
    pub opaque_etags: bool,
    /// Takes objects with locks.
    pub object_lock: bool,
    /// The storage classes that it knows besides STANDARD; none means those of S3.
    pub storage_classes: Option<&'static [&'static str]>,
    /// Headers that it refuses as not implemented, by name: those of tags, class, metadata (`x-amz-meta`) and lock.
    pub unknown_headers: &'static [&'static str],
    /// Tells GET how many tags an object has, and HEAD nothing of them.
    pub quiet_of_tags: bool,
}

impl BucketSettings {
    /// A bucket that keeps versions.
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

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    /// Never did.
    #[default]
    Off,
    /// Each write is a version with an id.
    Enabled,
    /// Each write replaces the version `null`; those with ids stay.
    Suspended,
}

/// The storage classes of S3 besides STANDARD. Source: `PutObject` in the S3 API reference, `x-amz-storage-class`.
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
