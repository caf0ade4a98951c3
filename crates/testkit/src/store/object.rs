//! Stored objects, with their contents in memory.

use bytes::Bytes;
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, Checksum, Tags};
use migration_local::store::StoredObject as Stored;

/// An object as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Content.
    pub content: Bytes,
    /// ETag, as S3 returns it.
    pub etag: ETag,
    /// True if the ETag is made of MD5s.
    pub etag_is_md5: bool,
    /// Version id; `None` without versioning and for the version `null`.
    pub version_id: Option<String>,
    /// Time of modification, in milliseconds since 1970.
    pub modified: i64,
    /// Attributes that are copied with the object.
    pub attributes: Attributes,
    /// Object tags.
    pub tags: Tags,
    /// Sizes of the parts it was uploaded in; empty if it was put or copied whole.
    pub parts: Vec<u64>,
    /// Checksum of its content, if one is stored.
    pub checksum: Option<Checksum>,
    /// True if a restored copy of an archived object can be read.
    pub restored: bool,
}

/// An object that became visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteLogEntry {
    /// Key of the object.
    pub key: String,
    /// ETag of the object.
    pub etag: ETag,
    /// Time of the write, in milliseconds since 1970.
    pub at: i64,
    /// Content of the object.
    pub content: Bytes,
}

/// Returns the content of an object of a store in memory.
fn content(object: &Stored) -> Bytes {
    object.content.in_memory().unwrap_or_default()
}

impl StoredObject {
    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.content.len() as u64
    }
}

impl From<Stored> for StoredObject {
    fn from(object: Stored) -> Self {
        Self {
            content: content(&object),
            etag: object.etag,
            etag_is_md5: object.etag_is_md5,
            version_id: object.version_id,
            modified: object.modified,
            attributes: object.attributes,
            tags: object.tags,
            parts: object.parts,
            checksum: object.checksum,
            restored: object.restored,
        }
    }
}

impl WriteLogEntry {
    pub(super) fn of(key: &str, object: &Stored) -> Self {
        Self { key: key.to_owned(), etag: object.etag.clone(), at: object.modified, content: content(object) }
    }
}
