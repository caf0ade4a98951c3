//! Rules of server-side copies.

use bytes::Bytes;
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::ports::{
    Attributes, CopyPart, CopyRequest, CopySource, ObjectStore, UploadRef, WriteCondition, Written,
};

use super::objects::{all_attributes, odd_tags};
use super::uploads::MINIMUM;
use super::{StoreUnderTest, content, md5};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_class, ensure_eq};

/// A key that must be encoded in a header.
const FROM: &str = "from/é +%41?#&=";
const TO: &str = "to";

fn source<'a, S: ObjectStore>(t: &'a StoreUnderTest<S>, if_match: &'a ETag) -> CopySource<'a> {
    CopySource { bucket: &t.bucket, key: FROM, version_id: None, if_match }
}

async fn copy<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    if_match: &ETag,
    attributes: &Attributes,
    condition: &WriteCondition,
) -> Result<Written, ServiceError> {
    let request = CopyRequest { source: source(t, if_match), bucket: &t.bucket, key: TO, attributes, condition };
    t.store.copy(request).await
}

pub(super) async fn a_copy_takes_everything_along<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let (attributes, mut expected) = (all_attributes(), odd_tags());
    let first = t.put_with(FROM, "body", &attributes, &expected, &WriteCondition::Any).await?;
    let written = copy(t, &first.etag, &attributes, &WriteCondition::Any).await?;
    ensure_eq!(written.etag, first.etag, "ETag of the copy");
    let head = t.get(TO).await?.head;
    ensure_eq!(head.etag, Some(written.etag), "ETag with the body");
    ensure_eq!(head.attributes, attributes, "attributes");
    ensure_eq!(t.content(TO).await?, Bytes::from("body"), "content");
    let mut found = t.store.tags(&t.bucket, TO, None).await?;
    expected.sort();
    found.sort();
    ensure_eq!(found, expected, "tags");
    Ok(())
}

pub(super) async fn a_copy_has_the_storage_class_asked_for<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let of = |class: Option<&str>| Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() };
    for (from, to) in [(Some("STANDARD_IA"), None), (None, Some("STANDARD_IA"))] {
        let etag = t.put_with(FROM, "body", &of(from), &Vec::new(), &WriteCondition::Any).await?.etag;
        copy(t, &etag, &of(to), &WriteCondition::Any).await?;
        let found = t.get(TO).await?.head.attributes.storage_class;
        ensure_eq!(found.as_deref(), to, "class of a copy of {from:?}");
    }
    Ok(())
}

pub(super) async fn only_the_content_asked_for_is_copied<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let first = t.put(FROM, "first").await?.etag;
    let second = t.put(FROM, "second").await?.etag;
    let attributes = Attributes::default();
    let stale = copy(t, &first, &attributes, &WriteCondition::Any).await;
    ensure_class!(stale, ErrorClass::PreconditionFailed, "a copy of another content");
    ensure_eq!(t.head(TO).await?, None, "the object that must not be written");
    copy(t, &second, &attributes, &WriteCondition::Any).await?;
    ensure_eq!(t.content(TO).await?, Bytes::from("second"), "content");
    Ok(())
}

pub(super) async fn a_copy_of_nothing_is_told_apart<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let etag = ETag::of_content(&md5(b"x"));
    let copied = copy(t, &etag, &Attributes::default(), &WriteCondition::Any).await;
    ensure_class!(copied, ErrorClass::NoSuchKey, "a copy of a missing key");
    Ok(())
}

pub(super) async fn a_copy_has_the_etag_of_its_content<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let parts = [content(MINIMUM), Bytes::from("the end")];
    let id = t.create(FROM).await?;
    let upload = t.upload(FROM, &id);
    let sent = [(1, t.part(upload, 1, &parts[0]).await?), (2, t.part(upload, 2, &parts[1]).await?)];
    let uploaded = t.complete(upload, &sent, &WriteCondition::Any).await?;
    let written = copy(t, &uploaded.etag, &Attributes::default(), &WriteCondition::Any).await?;
    ensure_eq!(written.etag, ETag::of_content(&md5(&parts.concat())), "ETag of the copy of an object of two parts");
    ensure!(t.content(TO).await? == parts.concat(), "the copy has another content");
    Ok(())
}

pub(super) async fn a_copy_can_ask_for_absence<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let attributes = Attributes::default();
    let first = t.put(FROM, "first").await?.etag;
    copy(t, &first, &attributes, &WriteCondition::Absent).await?;
    let second = t.put(FROM, "second").await?.etag;
    let over = copy(t, &second, &attributes, &WriteCondition::Absent).await;
    ensure_class!(over, ErrorClass::PreconditionFailed, "a copy over an object");
    ensure_eq!(t.content(TO).await?, Bytes::from("first"), "content after it");
    Ok(())
}

pub(super) async fn a_copy_can_ask_for_one_content<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let attributes = Attributes::default();
    let new = t.put(FROM, "new").await?.etag;
    let old = t.put(TO, "old").await?.etag;
    let other = WriteCondition::Matches(ETag::of_content(&md5(b"another")));
    ensure_class!(copy(t, &new, &attributes, &other).await, ErrorClass::PreconditionFailed, "over another content");
    ensure_eq!(t.content(TO).await?, Bytes::from("old"), "content after it");
    copy(t, &new, &attributes, &WriteCondition::Matches(old)).await?;
    ensure_eq!(t.content(TO).await?, Bytes::from("new"), "content");
    Ok(())
}

async fn copy_part<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    if_match: &ETag,
    upload: UploadRef<'_>,
    number: u32,
    (offset, len): (u64, u64),
) -> Result<Written, ServiceError> {
    t.store.copy_part(CopyPart { source: source(t, if_match), upload, number, offset, len }).await
}

pub(super) async fn parts_are_copied_from_ranges<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let body = content(MINIMUM + 1_000);
    let etag = t.put(FROM, body.clone()).await?.etag;
    let id = t.create(TO).await?;
    let upload = t.upload(TO, &id);
    let cut = MINIMUM + 3;
    let mut parts = Vec::new();
    for (number, range) in [(2, cut..body.len()), (1, 0..cut)] {
        let written = copy_part(t, &etag, upload, number, (range.start as u64, range.len() as u64)).await?;
        ensure_eq!(written.etag, ETag::of_content(&md5(&body.slice(range))), "ETag of copied part {number}");
        parts.insert(0, (number, written.etag));
    }
    let written = t.complete(upload, &parts, &WriteCondition::Any).await?;
    ensure_eq!(written.etag, ETag::of_parts(&[md5(&body.slice(..cut)), md5(&body.slice(cut..))]), "ETag");
    ensure!(t.content(TO).await? == body, "copied parts are another content");
    Ok(())
}

pub(super) async fn only_parts_of_the_content_asked_for_are_copied<S: ObjectStore>(
    t: &StoreUnderTest<S>,
) -> CaseResult {
    t.put(FROM, "first").await?;
    let other = ETag::of_content(&md5(b"another"));
    let id = t.create(TO).await?;
    let upload = t.upload(TO, &id);
    let copied = copy_part(t, &other, upload, 1, (0, 3)).await;
    ensure_class!(copied, ErrorClass::PreconditionFailed, "a part of another content");
    ensure_eq!(t.store.list_parts(upload, None).await?.parts, [], "parts");
    Ok(())
}

pub(super) async fn a_part_beyond_the_source_is_not_copied<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let etag = t.put(FROM, content(MINIMUM)).await?.etag;
    let id = t.create(TO).await?;
    let upload = t.upload(TO, &id);
    for range in [(MINIMUM as u64, 1), (1, MINIMUM as u64)] {
        let copied = copy_part(t, &etag, upload, 1, range).await;
        ensure_class!(copied, ErrorClass::Refused, "bytes {range:?} of 5 MiB");
    }
    ensure_eq!(t.store.list_parts(upload, None).await?.parts, [], "parts");
    Ok(())
}
