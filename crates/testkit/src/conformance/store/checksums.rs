//! Rules of CRC-64/NVME of parts and whole objects.

use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::ports::{
    Body, CompleteUpload, CompletedPart, HeadRequest, ObjectStore, PutPart, UploadRef, WriteCondition, Written,
};

use super::streams::streamed;
use super::uploads::MINIMUM;
use super::{StoreUnderTest, content, held};
use crate::conformance::report::{CaseResult, Failure};
use crate::conformance::{ensure, ensure_class, ensure_eq};
use crate::store::crc64nvme;

const KEY: &str = "k";

async fn send<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    upload: UploadRef<'_>,
    number: u32,
    body: Body,
) -> Result<CompletedPart, ServiceError> {
    let written = t.store.put_part(PutPart { upload, number, body, checksum: true }).await?;
    Ok(CompletedPart { number, etag: written.etag, checksum: written.checksum })
}

async fn complete<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    upload: UploadRef<'_>,
    parts: &[CompletedPart],
) -> Result<Written, ServiceError> {
    t.store.complete_upload(CompleteUpload { upload, parts, condition: &WriteCondition::Any }).await
}

pub(super) async fn checksums_of_parts_become_that_of_the_object<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let (first, second, end) = (content(MINIMUM), content(MINIMUM + 1), Bytes::from("the end"));
    let id = t.create_with(KEY, true).await?;
    let upload = t.upload(KEY, &id);
    let mut parts = Vec::new();
    for (number, bytes, body) in [(1, &first, held(&first)), (2, &second, streamed(&second)), (3, &end, streamed(&end))]
    {
        let part = send(t, upload, number, body).await?;
        ensure_eq!(part.checksum, Some(crc64nvme(bytes)), "checksum of part {number}");
        parts.push(part);
    }
    let listed = t.store.list_parts(upload, None).await?.parts;
    let found: Vec<_> = listed.iter().map(|part| part.checksum).collect();
    ensure_eq!(found, parts.iter().map(|part| part.checksum).collect::<Vec<_>>(), "listed checksums");
    let whole = Bytes::from([first, second, end].concat());
    let written = complete(t, upload, &parts).await?;
    ensure_eq!(written.checksum, Some(crc64nvme(&whole)), "checksum of the whole object");
    let asked = HeadRequest { checksum: true, ..HeadRequest::new(&t.bucket, KEY) };
    let head = t.store.head(asked).await?.ok_or_else(|| Failure::new("no object after its completion"))?;
    ensure_eq!(head.checksum, written.checksum, "checksum that a head asked for");
    ensure_eq!(t.head(KEY).await?.and_then(|head| head.checksum), None, "checksum that nobody asked for");
    ensure!(t.content(KEY).await? == whole, "the parts came back changed");
    Ok(())
}

pub(super) async fn a_checksum_that_is_told_of_a_put_is_right<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let written = t.put(KEY, "body").await?;
    let asked = HeadRequest { checksum: true, ..HeadRequest::new(&t.bucket, KEY) };
    let head = t.store.head(asked).await?;
    for told in [written.checksum, head.and_then(|head| head.checksum)].into_iter().flatten() {
        ensure_eq!(told, crc64nvme(b"body"), "checksum of a put object");
    }
    Ok(())
}

/// Checks that a rejected completion left no object, and that the upload can still be completed.
async fn ensure_open<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    upload: UploadRef<'_>,
    parts: &[CompletedPart],
) -> CaseResult {
    ensure_eq!(t.head(KEY).await?, None, "the object after a refused completion");
    complete(t, upload, parts).await?;
    Ok(())
}

pub(super) async fn completion_names_every_checksum<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create_with(KEY, true).await?;
    let upload = t.upload(KEY, &id);
    let first = send(t, upload, 1, held(&content(MINIMUM))).await?;
    let second = send(t, upload, 2, held(&Bytes::from("end"))).await?;
    for missing in [vec![0], vec![1], vec![0, 1]] {
        let mut parts = [first.clone(), second.clone()];
        for place in &missing {
            if let Some(part) = parts.get_mut(*place) {
                part.checksum = None;
            }
        }
        ensure_class!(complete(t, upload, &parts).await, ErrorClass::Refused, "completion without {missing:?}");
    }
    ensure_open(t, upload, &[first, second]).await
}

pub(super) async fn a_wrong_checksum_of_a_part_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create_with(KEY, true).await?;
    let upload = t.upload(KEY, &id);
    let right = send(t, upload, 1, held(&Bytes::from("x"))).await?;
    let wrong = CompletedPart { checksum: Some(crc64nvme(b"y")), ..right.clone() };
    // The service can't tell this from a part replaced since it was listed, so a retry may succeed.
    ensure_class!(complete(t, upload, &[wrong]).await, ErrorClass::Transient, "completion with a wrong checksum");
    ensure_open(t, upload, &[right]).await
}

pub(super) async fn a_checksum_that_was_not_announced_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create(KEY).await?;
    let upload = t.upload(KEY, &id);
    let etag = t.part(upload, 1, &Bytes::from("x")).await?;
    let with = CompletedPart { number: 1, etag, checksum: Some(crc64nvme(b"x")) };
    let completed = complete(t, upload, std::slice::from_ref(&with)).await;
    ensure_class!(completed, ErrorClass::Refused, "completion with a checksum");
    ensure_open(t, upload, &[CompletedPart { checksum: None, ..with }]).await
}

pub(super) async fn a_part_brings_the_checksum_announced<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create_with(KEY, true).await?;
    let upload = t.upload(KEY, &id);
    let without = t.part(upload, 1, &Bytes::from("x")).await;
    ensure_class!(without, ErrorClass::Refused, "a part without the checksum");
    let part = send(t, upload, 1, held(&Bytes::from("x"))).await?;
    ensure_open(t, upload, &[part]).await
}
