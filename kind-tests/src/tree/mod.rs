//! Real files as objects: what the tests and the demo move.

pub mod edge_case_keys;
pub mod select;
pub mod upload;

use std::collections::BTreeMap;
use std::path::PathBuf;

/// An object to be put into a source bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub content: Content,
    /// Their number.
    pub size: u64,
    /// Headers that the service keeps.
    pub headers: Headers,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<(String, String)>,
}

/// Where the bytes of an object come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These.
    Bytes(Vec<u8>),
    /// The files, one after the other.
    Files(Vec<PathBuf>),
}

/// Headers that belong to an object.
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

/// How much a tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Files, as many as are taken.
    pub files: usize,
    /// Bytes of all files together at least, where the machine has them.
    pub bytes: u64,
    /// Bytes of the one large object at least.
    pub large: u64,
}

/// For every change: enough for two workers and an object of several parts.
pub const SMALL: Amount = Amount { files: 1_200, bytes: 80 << 20, large: 96 << 20 };
/// For the long tests and the demo: over 5,000 files, 1 GB and one object of over 200 MB.
pub const FULL: Amount = Amount { files: 6_000, bytes: 800 << 20, large: 300 << 20 };

impl Object {
    /// An object of bytes without tags and metadata.
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

/// The bytes of objects together.
pub fn bytes_of(objects: &[Object]) -> u64 {
    objects.iter().map(|o| o.size).sum()
}
