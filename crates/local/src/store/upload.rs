//! Multipart uploads up to their completion.

use std::collections::BTreeMap;

use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::object::ListedPart;
use migration_core::ports::{
    Attributes, Checksum, CopyPart, CreateUpload, OpenUpload, Operation, PartsPage, Tags, UploadRef, Written,
};

use super::changes::Change;
use super::checks::{check_new, error, refused, whole_seconds};
use super::content::Content;
use super::object::StoredObject;
use super::receive::Received;
use super::settings::{Checksums, StoreSettings};
use super::state::{Bucket, check_copied_size, opaque, writable};

/// Highest part number. Source: "Multipart upload limits" in the S3 user guide.
const MAX_PARTS: u32 = 10_000;
/// Prefix of upload ids; the upload's number follows.
const UPLOAD: &str = "upload-";

/// An open upload.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) attributes: Attributes,
    pub(super) tags: Tags,
    /// True if the upload was created with CRC-64/NVME and checksums are stored.
    pub(super) checksum: bool,
    pub(super) parts: BTreeMap<u32, Part>,
    /// Number that no other upload of the store has; later ones have higher numbers.
    pub(super) number: u64,
    pub(super) initiator: String,
    pub(super) initiated: i64,
}

/// A part of an open upload.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) received: Received,
    pub(super) etag: ETag,
    /// Checksum, if the upload was created with one.
    pub(super) checksum: Option<Checksum>,
}

impl Upload {
    /// Returns the id of the upload with this number.
    pub(super) fn id_of(number: u64) -> String {
        format!("{UPLOAD}{number}")
    }

    /// Returns the number of the upload with this id; 0 for one that no upload can have.
    pub(super) fn number_of(id: &str) -> u64 {
        id.strip_prefix(UPLOAD).and_then(|number| number.parse().ok()).unwrap_or_default()
    }

    fn page(&self, after: Option<u32>, page: usize) -> PartsPage {
        let mut rest = self.parts.iter().filter(|(number, _)| **number > after.unwrap_or(0));
        let parts: Vec<ListedPart> = rest
            .by_ref()
            .take(page.max(1))
            .map(|(number, part)| ListedPart {
                number: *number,
                size: part.received.content.len(),
                etag: part.etag.clone(),
                checksum: part.checksum,
            })
            .collect();
        let more = rest.next().is_some();
        let next = parts.last().filter(|_| more).map(|last| last.number);
        PartsPage { parts, next, initiator: Some(self.initiator.clone()) }
    }
}

/// Checks that a part has a checksum if, and only if, its upload was created with one.
/// Source: `UploadPart` in the S3 API reference, "must be the same for all parts and it match the checksum value
/// supplied in the `CreateMultipartUpload` request".
fn check_named(upload: &Upload, checksum: bool, settings: &StoreSettings) -> Result<(), ServiceError> {
    if settings.checksums == Checksums::Ignored || upload.checksum == checksum {
        return Ok(());
    }
    let name = |named| if named { "crc64nvme" } else { "null" };
    let message = format!(
        "checksum type mismatch occurred, expected checksum type: {}, actual checksum type: {}",
        name(upload.checksum),
        name(checksum)
    );
    Err(refused(Operation::PutPart, "InvalidRequest", &message))
}

/// Returns the bytes of a part that is copied; rejects a range beyond the source's end.
/// Source: `UploadPartCopy` in the S3 API reference.
pub(super) fn copied_range(
    source: &StoredObject,
    request: CopyPart<'_>,
    settings: &StoreSettings,
) -> Result<Content, ServiceError> {
    const COPY: Operation = Operation::CopyPart;
    let end = request.offset.checked_add(request.len);
    if request.len == 0 || end.is_none_or(|end| end > source.size()) {
        return Err(refused(COPY, "InvalidArgument", "the range is not valid for the source object"));
    }
    check_copied_size(COPY, request.len, settings)?;
    Ok(source.content.slice(request.offset, request.len))
}

impl Bucket {
    pub(super) fn upload(&mut self, operation: Operation, upload: UploadRef<'_>) -> Result<&mut Upload, ServiceError> {
        self.uploads.get_mut(upload.upload_id).filter(|found| found.key == upload.key).ok_or_else(|| {
            error(operation, ErrorClass::NoSuchUpload, "NoSuchUpload", "the specified upload does not exist")
        })
    }

    /// Checks that an upload is open.
    pub(super) fn check_upload(&mut self, operation: Operation, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.upload(operation, upload).map(|_| ())
    }

    /// Creates an upload, and returns its id.
    pub(super) fn begin(
        &mut self,
        number: u64,
        request: CreateUpload<'_>,
        initiator: &str,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<String, ServiceError> {
        let (attributes, tags) = (request.attributes, request.tags);
        check_new(Operation::CreateUpload, request.key, attributes, tags, &self.settings, now)?;
        let upload = Upload {
            key: request.key.to_owned(),
            attributes: writable(attributes),
            tags: tags.clone(),
            checksum: request.checksum && settings.checksums == Checksums::Kept,
            parts: BTreeMap::new(),
            number,
            initiator: initiator.to_owned(),
            initiated: now,
        };
        let id = Upload::id_of(number);
        self.uploads.insert(id.clone(), upload);
        self.changes.push(Change::Upload { id: id.clone() });
        Ok(id)
    }

    pub(super) fn put_part(
        &mut self,
        upload: UploadRef<'_>,
        number: u32,
        received: Received,
        checksum: bool,
        settings: &StoreSettings,
    ) -> Result<Written, ServiceError> {
        check_named(self.upload(Operation::PutPart, upload)?, checksum, settings)?;
        self.keep_part(Operation::PutPart, upload, number, received)
    }

    /// Stores a part in place of one with the same number. In a bucket with opaque ETags, its ETag is opaque too.
    pub(super) fn keep_part(
        &mut self,
        operation: Operation,
        upload: UploadRef<'_>,
        number: u32,
        received: Received,
    ) -> Result<Written, ServiceError> {
        let (unique, etag_is_md5) = (self.next(), !self.settings.opaque_etags);
        let id = upload.upload_id.to_owned();
        let upload = self.upload(operation, upload)?;
        if !(1..=MAX_PARTS).contains(&number) {
            let message = "part number must be an integer between 1 and 10000, inclusive";
            return Err(refused(operation, "InvalidArgument", message));
        }
        let name = format!("{} part {number}/{unique}", upload.key);
        let etag = if etag_is_md5 { ETag::of_content(&received.md5) } else { opaque(&name, 0) };
        let checksum = upload.checksum.then_some(received.checksum);
        let replaced = upload.parts.insert(number, Part { received, etag: etag.clone(), checksum });
        self.changes.push(Change::Part { id, number, replaced });
        Ok(Written { etag, etag_is_md5, checksum, version_id: None })
    }

    pub(super) fn list_parts(
        &mut self,
        upload: UploadRef<'_>,
        after: Option<u32>,
        page: usize,
    ) -> Result<PartsPage, ServiceError> {
        Ok(self.upload(Operation::ListParts, upload)?.page(after, page))
    }

    pub(super) fn abort(&mut self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.upload(Operation::AbortUpload, upload)?;
        self.remove_upload(upload.upload_id);
        Ok(())
    }

    pub(super) fn uploads_of(&self, key: &str) -> Vec<OpenUpload> {
        let of_key = self.uploads.iter().filter(|(_, upload)| upload.key == key);
        of_key
            .map(|(id, upload)| OpenUpload {
                upload_id: id.clone(),
                initiated: whole_seconds(upload.initiated),
                initiator: Some(upload.initiator.clone()),
            })
            .collect()
    }
}
