//! Reads an object of a work list from any offset, and resumes when its body breaks off.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::manifest::{BucketSide, ManifestIndex};
use migration_core::operation::RequestInfo;
use migration_core::ports::{ByteStream, GetRequest, GetResponse, HeadRequest, ObjectStore, Operation, Span};

use super::super::ScanError;
use super::ManifestError;
use crate::{Interruption, Process, Services};

/// Resumptions without a new byte after which a body is given up.
const READS: u32 = 5;
/// Bytes read to detect the format of a list.
const BEGINNING: u64 = 64;

/// An object with the content that it had when it was found.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) side: BucketSide,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) size: u64,
    pub(super) etag: ETag,
}

impl Object {
    /// Reads the metadata of an object.
    pub(super) async fn find<P: Services>(
        process: &Process<P>,
        side: BucketSide,
        bucket: &str,
        key: &str,
    ) -> Result<Self, ScanError> {
        let request = HeadRequest::new(bucket, key);
        let head = match side {
            BucketSide::Source => process.look_at_source(request).await,
            BucketSide::Destination => process.look_at_destination(request).await,
        };
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        match head {
            Ok(Some(head)) => match head.etag {
                Some(etag) => Ok(Self { side, bucket, key, size: head.size, etag }),
                // Without an ETag a replacement would go unnoticed.
                None => Err(ManifestError::Damaged { bucket, key, what: "its service gives no ETag".into() }.into()),
            },
            Ok(None) => Err(ManifestError::Missing { bucket, key }.into()),
            Err(Interruption::Service(source)) => Err(ManifestError::Service { bucket, key, source }.into()),
            Err(stopped) => Err(stopped.into()),
        }
    }

    /// Returns true if the content begins like a `manifest.json`.
    pub(super) async fn begins_as_index<P: Services>(&self, process: &Process<P>) -> Result<bool, ScanError> {
        let beginning = self.span(process, 0, BEGINNING.min(self.size)).await?;
        Ok(ManifestIndex::is_index(&beginning))
    }

    async fn open<P: Services>(&self, process: &Process<P>, span: Span) -> Result<ByteStream, ScanError> {
        let request =
            GetRequest { bucket: &self.bucket, key: &self.key, span, if_match: Some(&self.etag), version_id: None };
        let access = RequestInfo::object(Operation::GetObject, &self.bucket, &self.key);
        let got = match self.side {
            BucketSide::Source => process.source(access, || process.ports.source.get(request)).await,
            BucketSide::Destination => process.destination(access, || process.ports.destination.get(request)).await,
        };
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        match got {
            // A cache may ignore the condition and answer with an older content.
            Ok(GetResponse { head, .. }) if head.etag.as_ref().is_some_and(|etag| *etag != self.etag) => {
                Err(ManifestError::Replaced { bucket, key }.into())
            }
            Ok(GetResponse { body, .. }) => Ok(body),
            Err(Interruption::Service(error)) => Err(match error.class {
                ErrorClass::PreconditionFailed => ManifestError::Replaced { bucket, key },
                ErrorClass::NoSuchKey => ManifestError::Missing { bucket, key },
                _ => ManifestError::Service { bucket, key, source: error },
            }
            .into()),
            Err(stopped) => Err(stopped.into()),
        }
    }

    /// Reads a span of the object into memory.
    pub(super) async fn span<P: Services>(
        &self,
        process: &Process<P>,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, ScanError> {
        let mut held = BytesMut::new();
        let mut reading = Reading::new(offset, len);
        while let Some(piece) = reading.next(process, self).await? {
            held.extend_from_slice(&piece);
        }
        Ok(held.freeze())
    }

    /// Streams the whole object.
    pub(super) fn bytes<P: Services>(self, process: Arc<Process<P>>) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let reading = Reading::new(0, self.size);
        stream::try_unfold((self, process, reading), |(object, process, mut reading)| async move {
            let piece = reading.next(&process, &object).await.map_err(io::Error::other)?;
            Ok(piece.map(|piece| (piece, (object, process, reading))))
        })
    }
}

/// Position of a reader in an object.
struct Reading {
    offset: u64,
    end: u64,
    body: Option<ByteStream>,
    in_vain: u32,
}

impl Reading {
    fn new(offset: u64, len: u64) -> Self {
        Self { offset, end: offset + len, body: None, in_vain: 0 }
    }

    /// Returns the next bytes, or `None` at the end.
    async fn next<P: Services>(&mut self, process: &Process<P>, object: &Object) -> Result<Option<Bytes>, ScanError> {
        while self.offset < self.end {
            let (offset, len) = (self.offset, self.end - self.offset);
            let mut body = match self.body.take() {
                Some(body) => body,
                None if len == object.size => object.open(process, Span::Whole).await?,
                None => object.open(process, Span::Range { offset, len }).await?,
            };
            let why = match body.next().await {
                Some(Ok(piece)) if !piece.is_empty() => {
                    self.offset += piece.len() as u64;
                    self.body = Some(body);
                    self.in_vain = 0;
                    return Ok(Some(piece));
                }
                Some(Ok(_)) => {
                    self.body = Some(body);
                    continue;
                }
                Some(Err(error)) => Some(error),
                None => None,
            };
            self.in_vain += 1;
            if self.in_vain == READS {
                let (bucket, key) = (object.bucket.clone(), object.key.clone());
                return Err(match why {
                    Some(source) => ManifestError::Service { bucket, key, source },
                    None => ManifestError::Damaged { bucket, key, what: format!("it ends after {offset} bytes") },
                }
                .into());
            }
            process.back_off(self.in_vain - 1).await?;
        }
        Ok(None)
    }
}
