//! Lies about writes.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use migration_core::error::ServiceError;
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{
    Attributes, Body, CompleteUpload, CompletedPart, ObjectStore, PutPart, PutRequest, Tags, UploadRef, WriteCondition,
    Written,
};

use super::lie::{Asked, Carried, Header, Lie, Refusal, Told};
use super::rules::Drawn;
use super::{Lying, collect};
use crate::store::crc64nvme;
use migration_core::ports::Operation;

impl<T: ObjectStore + Clone> Lying<T> {
    /// Puts an object, or only reports that it did.
    pub(super) async fn put_as(&self, request: PutRequest<'_>, drawn: &Drawn) -> Result<Written, ServiceError> {
        let sent = told(&request.body);
        if drawn.has(Lie::NotDone) {
            return Ok(sent);
        }
        if let Some(time) = later(drawn) {
            let inner = self.inner.clone();
            let (bucket, key) = (request.bucket.to_owned(), request.key.to_owned());
            let (attributes, tags, condition) =
                (request.attributes.clone(), request.tags.clone(), request.condition.clone());
            let (body, md5) = (request.body, request.md5);
            after(time, async move {
                let (attributes, tags, condition) = (&attributes, &tags, &condition);
                let request = PutRequest { bucket: &bucket, key: &key, body, md5, attributes, tags, condition };
                inner.put(request).await.map(drop)
            });
            return Ok(sent);
        }
        match damage(drawn) {
            None if drawn.has(Lie::Md5Ignored) => {
                let md5 = Md5::digest(&request.body).into();
                self.inner.put(PutRequest { md5, ..request }).await
            }
            None => self.inner.put(request).await,
            Some(says) => {
                let body = damaged(&request.body);
                let md5 = Md5::digest(&body).into();
                let stored = self.inner.put(PutRequest { body, md5, ..request }).await?;
                Ok(if says == Told::Sent { as_sent(&stored, sent) } else { stored })
            }
        }
    }

    /// Uploads a part, or only reports that it did.
    pub(super) async fn put_part_as(&self, request: PutPart<'_>, drawn: &Drawn) -> Result<Written, ServiceError> {
        let (upload, number, checksum) = (request.upload, request.number, request.checksum);
        let (time, says) = (later(drawn), damage(drawn));
        if !drawn.has(Lie::NotDone) && time.is_none() && says.is_none() {
            let written = self.inner.put_part(request).await?;
            self.lies.memory(|memory| memory.parts.forget(upload.upload_id, number));
            return Ok(written);
        }
        let bytes = match request.body {
            Body::Held { bytes, .. } => bytes,
            Body::Streamed { stream, .. } => collect(stream).await?,
        };
        let mut sent = told(&bytes);
        sent.checksum = sent.checksum.filter(|_| checksum);
        let held = |bytes: Bytes| Body::Held { md5: Md5::digest(&bytes).into(), bytes };
        if drawn.has(Lie::NotDone) {
            return Ok(sent);
        }
        if let Some(time) = time {
            let (inner, owned, body) = (self.inner.clone(), OwnedUpload::of(upload), held(bytes));
            after(time, async move {
                let request = PutPart { upload: owned.borrowed(), number, body, checksum };
                inner.put_part(request).await.map(drop)
            });
            return Ok(sent);
        }
        let body = held(damaged(&bytes));
        let stored = self.inner.put_part(PutPart { upload, number, body, checksum }).await?;
        if says != Some(Told::Sent) {
            self.lies.memory(|memory| memory.parts.forget(upload.upload_id, number));
            return Ok(stored);
        }
        let says = as_sent(&stored, sent);
        self.lies.memory(|memory| memory.parts.insert(upload.upload_id, number, says.clone(), stored));
        Ok(says)
    }

    /// Completes an upload, or only reports that it did.
    pub(super) async fn complete_as(
        &self,
        request: CompleteUpload<'_>,
        drawn: &Drawn,
    ) -> Result<Written, ServiceError> {
        let id = request.upload.upload_id;
        let said = Written { etag: composite(request.parts), etag_is_md5: true, checksum: None, version_id: None };
        let mut parts = request.parts.to_vec();
        self.lies.memory(|memory| {
            for part in &mut parts {
                part.etag = memory.tags.understood_of_part(&part.etag, drawn.has_etags());
                memory.parts.completed(id, part);
            }
        });
        if drawn.has(Lie::NotDone) {
            return Ok(said);
        }
        if let Some(time) = later(drawn) {
            let (inner, owned) = (self.inner.clone(), OwnedUpload::of(request.upload));
            let condition = request.condition.clone();
            after(time, async move {
                let request = CompleteUpload { upload: owned.borrowed(), parts: &parts, condition: &condition };
                inner.complete_upload(request).await.map(drop)
            });
            return Ok(said);
        }
        self.inner.complete_upload(CompleteUpload { parts: &parts, ..request }).await
    }

    /// Executes a request without a result, or only reports that it did.
    pub(super) async fn end_as<F>(&self, drawn: &Drawn, work: F) -> Result<(), ServiceError>
    where
        F: Future<Output = Result<(), ServiceError>> + Send,
    {
        if drawn.has(Lie::NotDone) { Ok(()) } else { work.await }
    }
}

/// Returns the condition that the wrapped service receives.
pub(super) fn condition<T>(
    lying: &Lying<T>,
    operation: Operation,
    condition: &WriteCondition,
    drawn: &Drawn,
) -> Result<WriteCondition, ServiceError> {
    let header = match condition {
        WriteCondition::Any => return Ok(WriteCondition::Any),
        WriteCondition::Absent => Header::IfNoneMatch,
        WriteCondition::Matches(_) => Header::IfMatch,
    };
    if drawn.has(Lie::ConditionRefused(header)) {
        return Err(Refusal::NOT_IMPLEMENTED.of(operation));
    }
    Ok(match condition {
        _ if drawn.has(Lie::ConditionIgnored(header)) => WriteCondition::Any,
        WriteCondition::Matches(tag) => WriteCondition::Matches(lying.lies.understood(tag, drawn)),
        other => other.clone(),
    })
}

/// Returns the properties of a condition that the rules use.
pub(super) fn asked(condition: &WriteCondition) -> Asked {
    let (if_match, if_none_match) =
        (matches!(condition, WriteCondition::Matches(_)), *condition == WriteCondition::Absent);
    Asked { if_match, if_none_match, span: false }
}

/// Returns attributes and tags without those that are dropped.
pub(super) fn carried<'a>(
    attributes: &'a Attributes,
    tags: &'a Tags,
    drawn: &Drawn,
) -> (Cow<'a, Attributes>, Cow<'a, Tags>) {
    let (mut attributes, mut tags) = (Cow::Borrowed(attributes), Cow::Borrowed(tags));
    for lie in drawn.each() {
        match lie {
            Lie::Dropped(Carried::Tags) => tags = Cow::Owned(Tags::new()),
            Lie::Dropped(Carried::Metadata) => attributes.to_mut().metadata.clear(),
            Lie::Dropped(Carried::StorageClass) => attributes.to_mut().storage_class = None,
            _ => {}
        }
    }
    (attributes, tags)
}

/// Executes a request later and ignores its result.
pub(super) fn after(time: Duration, work: impl Future<Output = Result<(), ServiceError>> + Send + 'static) {
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        // The caller has its response already.
        let _ = work.await;
    });
}

/// Returns the delay of a write, if it is executed later.
pub(super) fn later(drawn: &Drawn) -> Option<Duration> {
    drawn.find(|lie| if let Lie::DoneLater(time) = lie { Some(*time) } else { None })
}

fn damage(drawn: &Drawn) -> Option<Told> {
    drawn.find(|lie| if let Lie::Damaged(told) = lie { Some(*told) } else { None })
}

/// Flips a bit in the middle of the bytes; empty bytes stay empty.
fn damaged(bytes: &Bytes) -> Bytes {
    let mut damaged = BytesMut::from(&bytes[..]);
    let middle = damaged.len() / 2;
    if let Some(byte) = damaged.get_mut(middle) {
        *byte ^= 1;
    }
    damaged.freeze()
}

/// Returns the response of a service that stored these bytes.
fn told(bytes: &Bytes) -> Written {
    let md5: Md5Digest = Md5::digest(bytes).into();
    Written { etag: ETag::of_content(&md5), etag_is_md5: true, checksum: Some(crc64nvme(bytes)), version_id: None }
}

/// Replaces ETag and checksum in a response with those of the bytes sent.
fn as_sent(stored: &Written, sent: Written) -> Written {
    Written { checksum: stored.checksum.and(sent.checksum), etag: sent.etag, ..stored.clone() }
}

/// Returns the ETag of a multipart object; parts whose ETags are not digests are left out.
fn composite(parts: &[CompletedPart]) -> ETag {
    let digests: Vec<Md5Digest> = parts.iter().filter_map(|part| part.etag.md5()).collect();
    ETag::of_parts(&digests)
}

/// An upload reference that owns its names.
pub(super) struct OwnedUpload {
    bucket: String,
    key: String,
    id: String,
}

impl OwnedUpload {
    pub(super) fn of(upload: UploadRef<'_>) -> Self {
        Self { bucket: upload.bucket.to_owned(), key: upload.key.to_owned(), id: upload.upload_id.to_owned() }
    }

    pub(super) fn borrowed(&self) -> UploadRef<'_> {
        UploadRef { bucket: &self.bucket, key: &self.key, upload_id: &self.id }
    }
}
