//! Rules of parts with streamed bodies.

use bytes::Bytes;
use futures::{StreamExt, stream};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::ports::{Body, ObjectStore, PutPart, UploadRef, WriteCondition, Written};

use super::uploads::MINIMUM;
use super::{StoreUnderTest, content, md5};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_class, ensure_eq};

/// Bytes per piece; does not divide the sizes that are sent.
const PIECE: usize = 60_000;

/// Returns a body of these pieces that announces `len` bytes.
fn body_of(pieces: Vec<Result<Bytes, ServiceError>>, len: u64) -> Body {
    Body::Streamed { stream: stream::iter(pieces).boxed(), len }
}

/// Returns a body that streams the content in pieces.
pub(super) fn streamed(content: &Bytes) -> Body {
    let pieces = content.chunks(PIECE).map(|piece| Ok(content.slice_ref(piece))).collect();
    body_of(pieces, content.len() as u64)
}

async fn send<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    upload: UploadRef<'_>,
    number: u32,
    body: Body,
) -> Result<Written, ServiceError> {
    t.store.put_part(PutPart { upload, number, body, checksum: false }).await
}

pub(super) async fn a_streamed_part_arrives_whole<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let (large, end) = (content(MINIMUM + 17), Bytes::from("the end"));
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let mut parts = Vec::new();
    for (number, bytes) in [(1, &large), (2, &end)] {
        let written = send(t, upload, number, streamed(bytes)).await?;
        ensure_eq!(written.etag, ETag::of_content(&md5(bytes)), "ETag of streamed part {number}");
        ensure!(written.etag_is_md5, "the ETag of part {number} is an MD5 and is not said to be");
        parts.push((number, written.etag));
    }
    let listed = t.store.list_parts(upload, None).await?.parts;
    let sizes: Vec<u64> = listed.iter().map(|part| part.size).collect();
    ensure_eq!(sizes, [large.len() as u64, end.len() as u64], "listed sizes of streamed parts");
    t.complete(upload, &parts, &WriteCondition::Any).await?;
    ensure!(t.content("k").await? == [large, end].concat(), "streamed parts came back changed");
    Ok(())
}

pub(super) async fn an_empty_streamed_part_is_a_part<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let written = send(t, upload, 1, streamed(&Bytes::new())).await?;
    t.complete(upload, &[(1, written.etag)], &WriteCondition::Any).await?;
    ensure_eq!(t.content("k").await?, Bytes::new(), "content");
    Ok(())
}

/// Sends a body that differs from its announcement and checks that nothing is stored.
async fn ensure_nothing_stored<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    pieces: Vec<Result<Bytes, ServiceError>>,
    len: u64,
) -> CaseResult {
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let sent = send(t, upload, 1, body_of(pieces, len)).await;
    ensure_class!(sent, ErrorClass::Transient | ErrorClass::NoAnswer, "the part");
    ensure_eq!(t.store.list_parts(upload, None).await?.parts, [], "parts after it");
    // The upload is still usable.
    let written = send(t, upload, 1, streamed(&Bytes::from("whole"))).await?;
    t.complete(upload, &[(1, written.etag)], &WriteCondition::Any).await?;
    ensure_eq!(t.content("k").await?, Bytes::from("whole"), "content of the next try");
    Ok(())
}

pub(super) async fn a_stream_that_breaks_stores_nothing<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let piece = content(PIECE);
    let broken = ServiceError::new(ErrorClass::Transient, "get object", "Broken", "the source broke");
    let len = 3 * piece.len() as u64;
    ensure_nothing_stored(t, vec![Ok(piece.clone()), Ok(piece), Err(broken)], len).await
}

pub(super) async fn a_stream_that_ends_early_stores_nothing<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let piece = content(PIECE);
    let len = 2 * piece.len() as u64 + 1;
    ensure_nothing_stored(t, vec![Ok(piece.clone()), Ok(piece)], len).await
}

pub(super) async fn a_stream_with_too_many_bytes_stores_nothing<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let piece = content(PIECE);
    let len = 2 * piece.len() as u64 - 1;
    ensure_nothing_stored(t, vec![Ok(piece.clone()), Ok(piece)], len).await
}
