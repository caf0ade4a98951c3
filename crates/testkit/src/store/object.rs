//! Stored objects.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{Attributes, Checksum, ObjectHead, Tags, Written};

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

/// Computes the CRC-64/NVME of bytes.
pub fn crc64nvme(bytes: &[u8]) -> Checksum {
    Checksum(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes))
}

pub(super) fn md5(bytes: &[u8]) -> Md5Digest {
    Md5::digest(bytes).into()
}

impl StoredObject {
    /// Creates an object put whole, without version and checksum. Attributes are normalised as S3 does: metadata names
    /// in lower case, a default content type, and no storage class for STANDARD.
    pub(super) fn new(content: Bytes, attributes: &Attributes, tags: &Tags, modified: i64) -> Self {
        let mut attributes = attributes.clone();
        attributes.metadata = attributes.metadata.into_iter().map(|(k, v)| (k.to_ascii_lowercase(), v)).collect();
        attributes.content_type.get_or_insert_with(|| "binary/octet-stream".to_owned());
        attributes.storage_class = attributes.storage_class.filter(|class| class != "STANDARD");
        Self {
            etag: ETag::of_content(&md5(&content)),
            content,
            etag_is_md5: true,
            version_id: None,
            modified,
            attributes,
            tags: tags.clone(),
            parts: Vec::new(),
            checksum: None,
            restored: false,
        }
    }

    /// Creates an object uploaded in these parts.
    pub(super) fn of_parts(parts: &[Bytes], attributes: &Attributes, tags: &Tags, modified: i64) -> Self {
        let digests: Vec<Md5Digest> = parts.iter().map(|part| md5(part)).collect();
        Self {
            etag: ETag::of_parts(&digests),
            parts: parts.iter().map(|part| part.len() as u64).collect(),
            ..Self::new(parts.concat().into(), attributes, tags, modified)
        }
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Returns true if the object must be restored before it can be read.
    pub(super) fn is_archived(&self) -> bool {
        !self.restored && matches!(self.attributes.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"))
    }

    /// Returns the response to a GET or HEAD that asks for no part and no checksum.
    pub(super) fn head(&self) -> ObjectHead {
        ObjectHead {
            size: self.size(),
            etag: Some(self.etag.clone()),
            etag_is_md5: self.etag_is_md5,
            version_id: self.version_id.clone(),
            modified: super::checks::whole_seconds(self.modified),
            tag_count: u32::try_from(self.tags.len()).unwrap_or(u32::MAX),
            parts: None,
            checksum: None,
            encryption: None,
            attributes: self.attributes.clone(),
        }
    }

    /// Returns the response to the write of this object.
    pub(super) fn written(&self) -> Written {
        Written {
            etag: self.etag.clone(),
            etag_is_md5: self.etag_is_md5,
            checksum: self.checksum,
            version_id: self.version_id.clone(),
        }
    }
}
