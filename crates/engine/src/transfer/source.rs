//! Reads the object at the source: its content, its attributes and its bytes.

mod carried;
mod fetch;

use migration_core::etag::ETag;
use migration_core::message::Entry;
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::SourceIdentity;
use migration_core::ports::{CopySource, HeadRequest, ObjectHead, Span};

pub(super) use fetch::{Fetched, Md5From, Opened, Want};

use super::error::TransferError;
use super::progress::LastProgress;
use crate::budget::Budget;
use crate::{Process, Services};

/// The source object of a transfer.
pub(super) struct SourceObject<'a, P: Services> {
    process: &'a Process<P>,
    budget: &'a Budget,
    /// Bucket of the object.
    pub(super) bucket: &'a str,
    /// Key of the object.
    pub(super) key: &'a str,
    progress: LastProgress,
}

/// The source content to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceSnapshot {
    pub(super) size: u64,
    pub(super) etag: Option<ETag>,
    pub(super) version_id: Option<String>,
}

impl SourceSnapshot {
    /// Returns the content named by a message's entry.
    pub(super) fn of(entry: &Entry) -> Self {
        Self { size: entry.size, etag: entry.etag.clone(), version_id: entry.version_id.clone() }
    }
}

impl<'a, P: Services> SourceObject<'a, P> {
    pub(super) fn new(
        process: &'a Process<P>,
        budget: &'a Budget,
        (bucket, key): (&'a str, &'a str),
        progress: LastProgress,
    ) -> Self {
        Self { process, budget, bucket, key, progress }
    }

    /// Reads the object's HEAD, with the checksum of the whole object if requested and stored. Returns `None` only if
    /// the service itself says that the object does not exist.
    pub(super) async fn look(&self, checksum: bool) -> Result<Option<ObjectHead>, TransferError> {
        let request = HeadRequest { checksum, ..HeadRequest::new(self.bucket, self.key) };
        Ok(self.process.look_at_source(request).await?)
    }

    /// Like [`look`](Self::look), for a version if the job reads versions by ID.
    pub(super) async fn look_at_version(&self, version_id: Option<&str>) -> Result<Option<ObjectHead>, TransferError> {
        let request = HeadRequest { version_id: self.pinned(version_id), ..HeadRequest::new(self.bucket, self.key) };
        Ok(self.process.look_at_source(request).await?)
    }

    /// Reads the source again after a read without a condition, which is necessary if its ETag is weak. Succeeds if the
    /// content is still the expected one. Must precede the write that makes the object visible.
    pub(super) async fn look_after_weak_read(&self, etag: Option<&ETag>, size: u64) -> Result<(), TransferError> {
        let Some(etag) = etag.filter(|etag| etag.is_weak()) else { return Ok(()) };
        let now = self.look(false).await?.ok_or(TransferError::Gone)?;
        let same = now.etag.as_ref() == Some(etag) && now.size == size;
        if same { Ok(()) } else { Err(TransferError::SourceChanged) }
    }

    /// Returns the identity of the content to copy. If its ETag is unknown, reads it from the source, since parts of
    /// two contents could be mixed without it.
    pub(super) async fn identity(&self, snapshot: &SourceSnapshot) -> Result<SourceIdentity, TransferError> {
        let etag = if let Some(etag) = &snapshot.etag {
            etag.clone()
        } else {
            let head = self.look(false).await?.ok_or(TransferError::Gone)?;
            head.etag.filter(|_| head.size == snapshot.size).ok_or(TransferError::SourceChanged)?
        };
        Ok(self.content(etag, snapshot.version_id.clone()))
    }

    /// Returns the identity of a content of the object.
    pub(super) fn content(&self, etag: ETag, version_id: Option<String>) -> SourceIdentity {
        SourceIdentity { bucket: self.bucket.to_owned(), key: self.key.to_owned(), etag, version_id }
    }

    /// Returns the content and the bytes to request from the source.
    pub(super) fn want<'b>(&self, etag: Option<&'b ETag>, version_id: Option<&'b str>, span: Span) -> Want<'b> {
        Want { etag: etag.filter(|_| !is_active(Mutant::NoIfMatchAtSource)), version_id: self.pinned(version_id), span }
    }

    /// Returns the source of a copy within the service.
    pub(super) fn copy_source<'b>(&'b self, source: &'b SourceIdentity) -> CopySource<'b> {
        CopySource {
            bucket: &source.bucket,
            key: &source.key,
            version_id: self.pinned(source.version_id.as_deref()),
            if_match: &source.etag,
        }
    }

    /// Reads the HEAD of the content to copy.
    pub(super) async fn head_of(
        &self,
        source: &SourceIdentity,
        snapshot: &SourceSnapshot,
    ) -> Result<ObjectHead, TransferError> {
        let version_id = source.version_id.as_deref();
        // If the version is gone, the source may still have another one.
        let gone = if self.pinned(version_id).is_some() { TransferError::SourceChanged } else { TransferError::Gone };
        let head = self.look_at_version(version_id).await?.ok_or(gone)?;
        let same = head.etag.as_ref() == Some(&source.etag) && head.size == snapshot.size;
        if same { Ok(head) } else { Err(TransferError::SourceChanged) }
    }

    /// Returns the version ID to send in requests; `None` if the job does not read versions by ID.
    fn pinned<'b>(&self, version_id: Option<&'b str>) -> Option<&'b str> {
        version_id.filter(|_| self.process.config.versioning.get_object_with_version_id)
    }
}
