//! Multipart uploads.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{
    Attributes, CreateUpload, OpenUpload, PartsPage, PutPart, Tags, UploadRef, WriteCondition, Written,
};
use migration_core::resume::ListedPart;

use super::StoreSettings;
use super::object::StoredObject;
use super::state::{Bucket, check_md5, check_new, copied, error, whole_seconds};
use crate::operation::Operation;

/// Highest number of a part. Source: "Multipart upload limits" in the S3 user guide.
const MAX_PARTS: u32 = 10_000;

/// An open upload.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    initiator: String,
    initiated: i64,
    attributes: Attributes,
    tags: Tags,
    parts: BTreeMap<u32, Part>,
}

#[derive(Debug)]
struct Part {
    content: Bytes,
    md5: Md5Digest,
    etag: ETag,
}

impl Upload {
    pub(super) fn new(request: CreateUpload<'_>, initiator: &str, now: i64) -> Result<Self, ServiceError> {
        check_new(Operation::CreateUpload, request.key, request.attributes, request.tags)?;
        Ok(Self {
            key: request.key.to_owned(),
            initiator: initiator.to_owned(),
            initiated: now,
            attributes: request.attributes.clone(),
            tags: request.tags.clone(),
            parts: BTreeMap::new(),
        })
    }

    fn page(&self, after: Option<u32>, page: usize) -> PartsPage {
        let mut rest = self.parts.iter().filter(|(number, _)| **number > after.unwrap_or(0));
        let parts: Vec<ListedPart> = rest
            .by_ref()
            .take(page.max(1))
            .map(|(number, part)| ListedPart {
                number: *number,
                size: part.content.len() as u64,
                etag: part.etag.clone(),
            })
            .collect();
        let more = rest.next().is_some();
        let next = parts.last().filter(|_| more).map(|last| last.number);
        PartsPage { parts, next, initiator: Some(self.initiator.clone()) }
    }

    /// The parts to make an object of, or why the service refuses the list.
    /// Source: errors of `CompleteMultipartUpload` in the S3 API reference.
    fn chosen(&self, wanted: &[(u32, ETag)], minimum: u64) -> Result<Vec<&Part>, ServiceError> {
        let refused = |code: &str, message: &str| error(Operation::CompleteUpload, ErrorClass::Refused, code, message);
        if wanted.is_empty() {
            return Err(refused("MalformedXML", "you must specify at least one part"));
        }
        if wanted.iter().zip(wanted.iter().skip(1)).any(|((a, _), (b, _))| a >= b) {
            return Err(refused("InvalidPartOrder", "the list of parts was not in ascending order"));
        }
        let mut chosen = Vec::with_capacity(wanted.len());
        for (number, etag) in wanted {
            // Replaced since it was listed: the list can be read again.
            let message = "one or more of the specified parts could not be found";
            let part = self.parts.get(number).filter(|part| part.etag == *etag);
            chosen.push(
                part.ok_or_else(|| error(Operation::CompleteUpload, ErrorClass::Transient, "InvalidPart", message))?,
            );
        }
        let last = chosen.len() - 1;
        if chosen.iter().take(last).any(|part| (part.content.len() as u64) < minimum) {
            let message = "your proposed upload is smaller than the minimum allowed object size";
            return Err(refused("EntityTooSmall", message));
        }
        Ok(chosen)
    }
}

impl Bucket {
    fn upload(&mut self, operation: Operation, upload: UploadRef<'_>) -> Result<&mut Upload, ServiceError> {
        self.uploads.get_mut(upload.upload_id).filter(|found| found.key == upload.key).ok_or_else(|| {
            error(operation, ErrorClass::NoSuchUpload, "NoSuchUpload", "the specified upload does not exist")
        })
    }

    pub(super) fn put_part(&mut self, request: &PutPart<'_>) -> Result<Written, ServiceError> {
        const PART: Operation = Operation::PutPart;
        let count = self.log.len() + self.uploads.values().map(|upload| upload.parts.len()).sum::<usize>();
        let opaque = self.settings.opaque_etags;
        let upload = self.upload(PART, request.upload)?;
        if !(1..=MAX_PARTS).contains(&request.number) {
            let message = "part number must be an integer between 1 and 10000, inclusive";
            return Err(error(PART, ErrorClass::Refused, "InvalidArgument", message));
        }
        check_md5(PART, &request.body, &request.md5)?;
        let etag = if opaque {
            ETag::new(&format!("{:032x}", u64::from(request.number) << 32 | count as u64))
        } else {
            ETag::of_content(&request.md5)
        };
        let part = Part { content: copied(&request.body), md5: request.md5, etag: etag.clone() };
        upload.parts.insert(request.number, part);
        Ok(self.written(etag))
    }

    pub(super) fn list_parts(
        &mut self,
        upload: UploadRef<'_>,
        after: Option<u32>,
        page: usize,
    ) -> Result<PartsPage, ServiceError> {
        Ok(self.upload(Operation::ListParts, upload)?.page(after, page))
    }

    pub(super) fn complete(
        &mut self,
        upload: UploadRef<'_>,
        parts: &[(u32, ETag)],
        condition: &WriteCondition,
        settings: &StoreSettings,
        now: i64,
    ) -> Result<Written, ServiceError> {
        let found = self.upload(Operation::CompleteUpload, upload)?;
        let chosen = found.chosen(parts, settings.minimum_part)?;
        let etag = ETag::of_parts(chosen.iter().map(|part| &part.md5));
        let mut content = BytesMut::with_capacity(chosen.iter().map(|part| part.content.len()).sum());
        for part in chosen {
            content.extend_from_slice(&part.content);
        }
        let object = StoredObject::new(content.freeze(), etag, &found.attributes, &found.tags, now);
        self.check_condition(Operation::CompleteUpload, upload.key, condition)?;
        self.uploads.remove(upload.upload_id);
        let etag = self.store(upload.key, object);
        Ok(self.written(etag))
    }

    pub(super) fn abort(&mut self, upload: UploadRef<'_>) -> Result<(), ServiceError> {
        self.upload(Operation::AbortUpload, upload)?;
        self.uploads.remove(upload.upload_id);
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
