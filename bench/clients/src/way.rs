//! What every way to send requests has to do.

use std::future::Future;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use migration_core::etag::{ETag, Md5Digest};

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Target {
    /// URL of the service.
    pub endpoint: String,
    /// Bucket to read from.
    pub source: String,
    /// Bucket to write to.
    pub destination: String,
}

/// Region of all signatures.
pub const REGION: &str = "us-east-1";

/// A body to write. Its digest is known, as it is where the bytes were hashed while they came.
#[derive(Clone, Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Bytes,
    /// Their MD5.
    pub md5: Md5Digest,
    /// The ETag that the service must give.
    pub etag: ETag,
}

impl Body {
    /// Computes the digest.
    pub fn new(bytes: Bytes) -> Self {
        let md5 = Md5::digest(&bytes).into();
        Self { bytes, md5, etag: ETag::of_content(&md5) }
    }

    /// Returns the value of a header `Content-MD5`.
    pub fn content_md5(&self) -> String {
        STANDARD.encode(self.md5)
    }
}

/// A way to send requests.
pub trait Way: Send + Sync + 'static {
    /// Reads a whole object of the source.
    fn get(&self, key: &str) -> impl Future<Output = anyhow::Result<Vec<Bytes>>> + Send;

    /// Writes an object to the destination, where the service can tell that it is whole; returns its ETag.
    fn put(&self, key: &str, body: &Body) -> impl Future<Output = anyhow::Result<ETag>> + Send;
}
