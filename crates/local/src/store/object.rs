//! Stored objects.

use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{Attributes, Checksum, ObjectHead, Tags, Written};

use super::checks::whole_seconds;
use super::content::Content;
use super::receive::Received;
use super::settings::{Checksums, StoreSettings};

/// An object as stored.
#[derive(Clone, Debug)]
pub struct StoredObject {
    /// Content.
    pub content: Content,
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
    /// MD5 of the content, if it was received or copied whole.
    pub(super) md5: Option<Md5Digest>,
}

impl StoredObject {
    /// The same object with this checksum.
    #[must_use]
    pub fn with_checksum(self, checksum: Option<Checksum>) -> Self {
        Self { checksum, ..self }
    }

    /// Creates an object put whole, without version. Attributes are normalised as S3 does: metadata names in lower
    /// case, a default content type, and no storage class for STANDARD.
    pub fn whole(
        received: Received,
        attributes: &Attributes,
        tags: &Tags,
        settings: &StoreSettings,
        modified: i64,
    ) -> Self {
        Self {
            md5: Some(received.md5),
            // S3 computes it for objects written without a checksum too.
            // Source: "Checking object integrity for data at rest" in the S3 user guide.
            checksum: (settings.checksums == Checksums::Kept).then_some(received.checksum),
            ..Self::new(received.content, ETag::of_content(&received.md5), attributes, tags, modified)
        }
    }

    /// Creates an object uploaded in these parts, without version and checksum.
    pub fn of_parts<'a>(
        parts: impl Iterator<Item = &'a Received> + Clone,
        attributes: &Attributes,
        tags: &Tags,
        modified: i64,
    ) -> Self {
        let etag = ETag::of_parts(parts.clone().map(|part| &part.md5));
        let content = Content::join(parts.clone().map(|part| &part.content));
        Self {
            parts: parts.map(|part| part.content.len()).collect(),
            ..Self::new(content, etag, attributes, tags, modified)
        }
    }

    fn new(content: Content, etag: ETag, attributes: &Attributes, tags: &Tags, modified: i64) -> Self {
        let mut attributes = attributes.clone();
        attributes.metadata = attributes.metadata.into_iter().map(|(k, v)| (k.to_ascii_lowercase(), v)).collect();
        attributes.content_type.get_or_insert_with(|| "binary/octet-stream".to_owned());
        attributes.storage_class = attributes.storage_class.filter(|class| class != "STANDARD");
        Self {
            content,
            etag,
            etag_is_md5: true,
            version_id: None,
            modified,
            attributes,
            tags: tags.clone(),
            parts: Vec::new(),
            checksum: None,
            restored: false,
            md5: None,
        }
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.content.len()
    }

    /// Returns true if the object must be restored before it can be read.
    pub fn is_archived(&self) -> bool {
        !self.restored && matches!(self.attributes.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"))
    }

    /// Returns the place of a part as uploaded, as offset and length. An object without parts is its own part 1.
    pub fn part(&self, number: u32) -> Option<(u64, u64)> {
        if self.parts.is_empty() {
            return (number == 1).then(|| (0, self.size()));
        }
        let before = usize::try_from(number).ok()?.checked_sub(1)?;
        let len = *self.parts.get(before)?;
        Some((self.parts.iter().take(before).sum(), len))
    }

    /// Returns the response to a GET or HEAD that asks for no part and no checksum.
    pub(super) fn head(&self) -> ObjectHead {
        ObjectHead {
            size: self.size(),
            etag: Some(self.etag.clone()),
            etag_is_md5: self.etag_is_md5,
            version_id: self.version_id.clone(),
            modified: whole_seconds(self.modified),
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
