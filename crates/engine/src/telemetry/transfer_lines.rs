//! Events with the bytes of each body and of each verified write, which programs can print in the predecessor's form; see
//! `migration_program`. They have a target of their own, which is off unless a program asks for it: then an event costs one
//! look at a static variable.

use tracing::{Level, enabled, info};

/// Target of the events. Their fields are `way`, a name of [`Way`], `bytes`, `bucket` and `key`.
pub const TRANSFER_LINE: &str = "migration::transfer_line";

/// How bytes moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They were read from the source.
    Downloading,
    /// The destination accepted them.
    Uploading,
    /// They are at the destination and verified.
    Complete,
}

impl Way {
    /// Returns the predecessor's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downloading => "Downloading",
            Self::Uploading => "Uploading",
            Self::Complete => "Complete",
        }
    }
}

/// Tells of bytes of an object.
pub(crate) fn tell(way: Way, bytes: u64, bucket: &str, key: &str) {
    info!(target: TRANSFER_LINE, way = way.as_str(), bytes, bucket, key);
}

/// Counts the bytes of a body, and tells of them once it is dropped: then they are known.
#[derive(Debug)]
pub(crate) struct Download {
    bytes: u64,
    bucket: String,
    key: String,
}

impl Download {
    /// Begins to count, if anybody listens.
    pub(crate) fn begin(bucket: &str, key: &str) -> Option<Self> {
        let is_on = enabled!(target: TRANSFER_LINE, Level::INFO);
        is_on.then(|| Self { bytes: 0, bucket: bucket.to_owned(), key: key.to_owned() })
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        tell(Way::Downloading, self.bytes, &self.bucket, &self.key);
    }
}
