//! Real files as objects, for the tests and the demo.

pub mod edge_case_keys;
pub mod select;
pub mod upload;

use std::collections::BTreeMap;
use std::path::PathBuf;

/// An object to put into a source bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Key of the object.
    pub key: String,
    /// Source of its bytes.
    pub content: Content,
    /// Size in bytes.
    pub size: u64,
    /// Headers that the service stores.
    pub headers: Headers,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// Object tags.
    pub tags: Vec<(String, String)>,
}

/// Source of an object's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// Files, concatenated.
    Files(Vec<PathBuf>),
}

/// Headers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `Content-Type`.
    pub content_type: String,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
}

/// Size of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Number of files.
    pub files: usize,
    /// Least total size of the files in bytes, if the machine has enough.
    pub bytes: u64,
    /// Least size of the large object in bytes.
    pub large: u64,
}

/// For every change: enough for two workers and an object of several parts.
pub const SMALL: Amount = Amount { files: 1_200, bytes: 80 << 20, large: 96 << 20 };
/// For the long tests and the demo: over 5,000 files, 1 GB and one object of over 200 MB.
pub const FULL: Amount = Amount { files: 6_000, bytes: 800 << 20, large: 300 << 20 };

impl Object {
    /// Creates an object from bytes, without tags and metadata.
    pub fn of_bytes(key: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self {
            key: key.into(),
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
            headers: Headers { content_type: "application/octet-stream".to_owned(), ..Headers::default() },
            metadata: BTreeMap::new(),
            tags: Vec::new(),
        }
    }
}

/// Returns the total size of objects in bytes.
pub fn bytes_of(objects: &[Object]) -> u64 {
    objects.iter().map(|o| o.size).sum()
}
