//! An object as it is stored.

use bytes::Bytes;
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, ObjectHead, Tags};

/// An object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bytes.
    pub content: Bytes,
    /// Its ETag.
    pub etag: ETag,
    /// Its version, in versioned buckets.
    pub version_id: Option<String>,
    /// When it was written, in milliseconds since 1970.
    pub modified: i64,
    /// What travels with it.
    pub attributes: Attributes,
    /// Its tags.
    pub tags: Tags,
}

/// One object that became visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteLogEntry {
    /// Its key.
    pub key: String,
    /// Its ETag.
    pub etag: ETag,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

impl StoredObject {
    /// An object without a version, its attributes as S3 keeps them: names of metadata in lower case, a content type
    /// for those that have none, no word of the storage class STANDARD.
    pub(super) fn new(content: Bytes, etag: ETag, attributes: &Attributes, tags: &Tags, modified: i64) -> Self {
        let mut attributes = attributes.clone();
        attributes.metadata = attributes.metadata.into_iter().map(|(k, v)| (k.to_ascii_lowercase(), v)).collect();
        attributes.content_type.get_or_insert_with(|| "binary/octet-stream".to_owned());
        attributes.storage_class = attributes.storage_class.filter(|class| class != "STANDARD");
        Self { content, etag, version_id: None, modified, attributes, tags: tags.clone() }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Whether it has to be restored before it can be read.
    pub(super) fn is_archived(&self) -> bool {
        matches!(self.attributes.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"))
    }

    /// What a HEAD says of it.
    pub(super) fn head(&self) -> ObjectHead {
        ObjectHead {
            size: self.size(),
            etag: Some(self.etag.clone()),
            version_id: self.version_id.clone(),
            tag_count: u32::try_from(self.tags.len()).unwrap_or(u32::MAX),
            attributes: self.attributes.clone(),
        }
    }
}
