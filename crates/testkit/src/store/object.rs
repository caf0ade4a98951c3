//! An object as it is stored.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{Attributes, Checksum, ObjectHead, Tags, Written};

/// An object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its bytes.
    pub content: Bytes,
    /// Its ETag.
    pub etag: ETag,
    /// Whether that is made of MD5s.
    pub etag_is_md5: bool,
    /// Its version, in versioned buckets; none for the version `null`.
    pub version_id: Option<String>,
    /// When it was written, in milliseconds since 1970.
    pub modified: i64,
    /// What travels with it.
    pub attributes: Attributes,
    /// Its tags.
    pub tags: Tags,
    /// Bytes of each of the parts that it was uploaded in; none where it was put or copied whole.
    pub parts: Vec<u64>,
    /// The checksum of its content, where one is kept.
    pub checksum: Option<Checksum>,
    /// Whether a copy out of the archive can be read.
    pub restored: bool,
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
    /// Its bytes.
    pub content: Bytes,
}

/// The CRC-64/NVME of bytes.
pub fn crc64nvme(bytes: &[u8]) -> Checksum {
    Checksum(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes))
}

pub(super) fn md5(bytes: &[u8]) -> Md5Digest {
    Md5::digest(bytes).into()
}

impl StoredObject {
    /// An object put whole, without a version and a checksum, its attributes as S3 keeps them: names of metadata in
    /// lower case, a content type for those that have none, no word of the storage class STANDARD.
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

    /// An object that was uploaded in parts of these contents.
    pub(super) fn of_parts(parts: &[Bytes], attributes: &Attributes, tags: &Tags, modified: i64) -> Self {
        let digests: Vec<Md5Digest> = parts.iter().map(|part| md5(part)).collect();
        Self {
            etag: ETag::of_parts(&digests),
            parts: parts.iter().map(|part| part.len() as u64).collect(),
            ..Self::new(parts.concat().into(), attributes, tags, modified)
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// Whether it has to be restored before it can be read.
    pub(super) fn is_archived(&self) -> bool {
        !self.restored && matches!(self.attributes.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"))
    }

    /// What a GET or HEAD says of it that asks for no part and no checksum.
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

    /// What is said of it when it was written.
    pub(super) fn written(&self) -> Written {
        Written {
            etag: self.etag.clone(),
            etag_is_md5: self.etag_is_md5,
            checksum: self.checksum,
            version_id: self.version_id.clone(),
        }
    }
}
