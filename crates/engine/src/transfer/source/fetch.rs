//! Reads the source, either as a stream or into reserved memory.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use migration_core::concurrency::RequestKind;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::{ETag, ETagComparison};
use migration_core::mutants::{Mutant, is_active};
use migration_core::object::SourceIdentity;
use migration_core::operation::RequestInfo;
use migration_core::part::{Part, PartLayout};
use migration_core::ports::{ByteStream, Checksum, GetRequest, GetResponse, ObjectHead, ObjectStore, Operation, Span};
use migration_core::reading::{SecondRead, is_contradicted, named_md5, second_read};
use tokio::time::Instant;

use super::{SourceObject, SourceSnapshot};
use crate::budget::Reservation;
use crate::hash::{Digests, crc64};
use crate::telemetry::transfer_lines::Download;
use crate::transfer::error::{TransferError, transfer_error};
use crate::{Interruption, Services};

/// Memory that a streamed body uses, in bytes: buffers of the connections, and data waiting to be hashed.
const PASSING: u64 = 1 << 20;

/// A response of the source whose body has not been read.
pub(in crate::transfer) struct Opened {
    pub head: ObjectHead,
    pub len: u64,
    pub body: ByteStream,
    pub memory: Reservation,
}

/// Bytes of an object, its HEAD, and the memory reserved for them.
pub(in crate::transfer) struct Fetched {
    pub head: ObjectHead,
    pub bytes: Bytes,
    pub digests: Digests,
    /// The MD5 is the one that the ETag names, and was not computed.
    pub is_named: bool,
    pub memory: Reservation,
}

/// Where the MD5 of a content comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transfer) enum Md5From {
    /// It is computed.
    Bytes,
    /// Its ETag, if that names one and the source's checksum is that of the bytes; otherwise it is computed. Only for a
    /// destination that rejects other bytes.
    ETag,
}

/// The content and the bytes of it to read.
#[derive(Clone, Copy, Debug)]
pub(in crate::transfer) struct Want<'a> {
    pub etag: Option<&'a ETag>,
    pub version_id: Option<&'a str>,
    pub span: Span,
}

impl<P: Services> SourceObject<'_, P> {
    /// Requests a body without reading it. Reserves [`PASSING`] bytes of memory, whatever the length of the body.
    pub(in crate::transfer) async fn open_body(&self, want: Want<'_>) -> Result<Opened, TransferError> {
        let memory = self.budget.reserve(PASSING).await?;
        let request = self.request(want);
        let access = RequestInfo::object(Operation::GetObject, self.bucket, self.key);
        let opened = self.process.source(access, || self.get(request)).await;
        let response = opened.map_err(|error| unread(error, want))?;
        if is_another(want.etag, &response.head) {
            return Err(TransferError::SourceChanged);
        }
        Ok(Opened { head: response.head, len: response.len, body: response.body, memory })
    }

    /// Opens the body of one part of this layout.
    pub(in crate::transfer) async fn open_part(
        &self,
        source: &SourceIdentity,
        layout: &PartLayout,
        part: Part,
    ) -> Result<Opened, TransferError> {
        let span = Span::Range { offset: part.offset, len: part.len };
        let opened = self.open_body(self.want(Some(&source.etag), source.version_id.as_deref(), span)).await?;
        if opened.head.size == layout.size && opened.len == part.len {
            Ok(opened)
        } else {
            Err(TransferError::SourceChanged)
        }
    }

    /// Reads one part of this layout into memory.
    pub(in crate::transfer) async fn hold_part(
        &self,
        source: &SourceIdentity,
        layout: &PartLayout,
        part: Part,
    ) -> Result<Fetched, TransferError> {
        let span = Span::Range { offset: part.offset, len: part.len };
        let want = self.want(Some(&source.etag), source.version_id.as_deref(), span);
        let fetched = self.hold(want, part.len, Md5From::Bytes).await?;
        if fetched.head.size == layout.size { Ok(fetched) } else { Err(TransferError::SourceChanged) }
    }

    /// Reads a whole object into memory. If the bytes contradict their ETag, they are read again: the same bytes mean
    /// that this service's ETags are not MD5s, and other bytes that the response was a mixture of contents.
    pub(in crate::transfer) async fn hold_whole(
        &self,
        snapshot: &SourceSnapshot,
        from: Md5From,
    ) -> Result<Fetched, TransferError> {
        let want = self.want(snapshot.etag.as_ref(), snapshot.version_id.as_deref(), Span::Whole);
        let first = self.hold(want, snapshot.size, from).await?;
        if first.is_named { Ok(first) } else { self.checked(first, snapshot).await }
    }

    /// Computes the MD5 of an object that was taken from its ETag. If it is another one, the object is read again as in
    /// [`hold_whole`](Self::hold_whole).
    pub(in crate::transfer) async fn computed(
        &self,
        fetched: Fetched,
        snapshot: &SourceSnapshot,
    ) -> Result<Fetched, TransferError> {
        let digests = self.process.hashing.digest(&fetched.bytes).await;
        self.checked(Fetched { digests, is_named: false, ..fetched }, snapshot).await
    }

    async fn checked(&self, first: Fetched, snapshot: &SourceSnapshot) -> Result<Fetched, TransferError> {
        let want = self.want(snapshot.etag.as_ref(), snapshot.version_id.as_deref(), Span::Whole);
        let is_whole = first.head.size == snapshot.size;
        if is_whole && named_md5(&first.head) == Some(first.digests.md5) {
            self.process.saw_named_md5(self.bucket);
        }
        let contradicted = is_whole && is_contradicted(&first.head, &first.digests.md5);
        if contradicted {
            self.process.saw_other_md5(self.bucket);
        }
        if !contradicted
            || is_active(Mutant::AnswersETagIgnored)
            || !self.process.source_has_digests(self.bucket).await?
        {
            return Ok(first);
        }
        // Frees its memory first, because the second read may need the whole budget.
        let (etag, md5) = (first.head.etag.clone(), first.digests.md5);
        drop(first);
        let again = self.hold(want, snapshot.size, Md5From::Bytes).await?;
        match second_read((etag.as_ref(), &md5), &again.head, &again.digests.md5) {
            SecondRead::Right => {}
            SecondRead::NoDigest => self.process.learn_no_digests(self.bucket).await?,
            SecondRead::Mixture => {
                return Err(TransferError::Damaged("the source gives bytes that are not those of its ETag".to_owned()));
            }
        }
        Ok(again)
    }

    /// Converts an error while reading the object's body.
    pub(in crate::transfer) fn broke(&self, error: ServiceError) -> TransferError {
        if error.class == ErrorClass::Stopped {
            return TransferError::Stopped;
        }
        let access = RequestInfo::object(Operation::GetObject, self.bucket, self.key);
        TransferError::Service(self.process.source_failed(error, access))
    }

    /// Reserves `expected` bytes of memory and reads that many bytes. A shorter or longer body is a transient error.
    async fn hold(&self, want: Want<'_>, expected: u64, from: Md5From) -> Result<Fetched, TransferError> {
        let memory = self.budget.reserve(expected).await?;
        let access = RequestInfo::object(Operation::GetObject, self.bucket, self.key).carrying(expected);
        let request = self.request(want);
        let (head, bytes) =
            self.process.source(access, || self.read(request, expected)).await.map_err(|error| unread(error, want))?;
        if is_another(want.etag, &head) {
            return Err(TransferError::SourceChanged);
        }
        let named = named_md5(&head)
            .filter(|_| from == Md5From::ETag && head.size == expected)
            .map(|md5| Digests { md5, crc64: crc64::of(&bytes), len: bytes.len() as u64 })
            .filter(|digests| head.checksum.is_none_or(|said| said == Checksum(digests.crc64)));
        let is_named = named.is_some();
        let digests = match named {
            Some(digests) => digests,
            None => self.process.hashing.digest(&bytes).await,
        };
        Ok(Fetched { head, bytes, digests, is_named, memory })
    }

    fn request<'b>(&'b self, want: Want<'b>) -> GetRequest<'b> {
        GetRequest {
            bucket: self.bucket,
            key: self.key,
            span: want.span,
            // `If-Match` never holds for a weak ETag. The caller reads the source again afterwards.
            if_match: want.etag.filter(|etag| !etag.is_weak()),
            version_id: want.version_id,
        }
    }

    /// Requests the object, and records the time until the headers of the answer.
    async fn get(&self, request: GetRequest<'_>) -> Result<GetResponse, ServiceError> {
        let began = Instant::now();
        let answer = self.process.ports.source.get(request).await;
        self.process.object_limit.answered(RequestKind::SourceGet, began, &answer);
        let response = answer?;
        let Some(mut download) = Download::begin(self.bucket, self.key) else { return Ok(response) };
        let count =
            move |chunk: &Result<Bytes, ServiceError>| download.add(chunk.as_ref().map_or(0, Bytes::len) as u64);
        Ok(GetResponse { body: response.body.inspect(count).boxed(), ..response })
    }

    async fn read(&self, request: GetRequest<'_>, expected: u64) -> Result<(ObjectHead, Bytes), ServiceError> {
        let response = self.get(request).await?;
        // Without an ETag, the object may have another size, which the caller sees in the HEAD.
        let resized = response.head.size != expected && request.span == Span::Whole;
        if resized || is_another(request.if_match, &response.head) {
            return Ok((response.head, Bytes::new()));
        }
        let mut body = response.body;
        let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        while let Some(chunk) = body.next().await {
            let chunk = chunk?;
            if (bytes.len() + chunk.len()) as u64 > expected {
                return Err(unexpected(format!("more than the {expected} bytes asked for arrived")));
            }
            bytes.extend_from_slice(&chunk);
            self.progress.touch();
        }
        if bytes.len() as u64 != expected {
            return Err(unexpected(format!("{} of {expected} bytes arrived", bytes.len())));
        }
        Ok((response.head, bytes.freeze()))
    }
}

/// Returns true if the response's own ETag is not the requested one, as from a cache or a service without `If-Match`.
fn is_another(snapshot: Option<&ETag>, head: &ObjectHead) -> bool {
    let said = snapshot.zip(head.etag.as_ref());
    said.is_some_and(|(snapshot, said)| snapshot.compare(said) != ETagComparison::Same)
        && !is_active(Mutant::AnswersETagIgnored)
}

/// Converts the error of a read. If a version is gone, newer ones may exist, so the source is read again.
fn unread(error: Interruption, want: Want<'_>) -> TransferError {
    match transfer_error(error, || TransferError::SourceChanged) {
        TransferError::Service(error) if error.class == ErrorClass::NoSuchKey && want.version_id.is_some() => {
            TransferError::SourceChanged
        }
        error => error,
    }
}

fn unexpected(message: String) -> ServiceError {
    ServiceError::new(ErrorClass::Transient, "read object body", "IncompleteBody", message)
}
