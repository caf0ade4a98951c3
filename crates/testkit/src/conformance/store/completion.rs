//! Completions that must be rejected.

use bytes::Bytes;
use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::ports::{ObjectStore, UploadRef, WriteCondition};

use super::uploads::MINIMUM;
use super::{StoreUnderTest, content, md5};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_class, ensure_eq};

const KEY: &str = "k";

/// Checks that a rejected completion left no object, and that the upload can still be completed.
async fn ensure_open<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    upload: UploadRef<'_>,
    parts: &[(u32, ETag)],
) -> CaseResult {
    ensure_eq!(t.head(KEY).await?, None, "the object after a refused completion");
    t.complete(upload, parts, &WriteCondition::Any).await?;
    Ok(())
}

pub(super) async fn chosen_parts_are_enough<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create(KEY).await?;
    let upload = t.upload(KEY, &id);
    let large = content(MINIMUM);
    let mut parts = vec![(2, t.part(upload, 2, &large).await?)];
    t.part(upload, 5, &Bytes::from("left out")).await?;
    parts.push((9, t.part(upload, 9, &Bytes::from("end")).await?));
    let written = t.complete(upload, &parts, &WriteCondition::Any).await?;
    ensure_eq!(written.etag, ETag::of_parts(&[md5(&large), md5(b"end")]), "ETag of the chosen parts");
    ensure!(t.content(KEY).await? == [large, Bytes::from("end")].concat(), "content is not that of the chosen parts");
    Ok(())
}

pub(super) async fn a_wrong_etag_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create(KEY).await?;
    let upload = t.upload(KEY, &id);
    let right = [(1, t.part(upload, 1, &Bytes::from("x")).await?)];
    for wrong in [vec![(1, ETag::of_content(&md5(b"y")))], [&right[..], &[(2, ETag::of_content(&md5(b"z")))]].concat()]
    {
        let complete = t.complete(upload, &wrong, &WriteCondition::Any).await;
        // The service can't tell this from a part replaced since it was listed, so a retry may succeed.
        ensure_class!(complete, ErrorClass::Transient, "completion with {wrong:?}");
    }
    ensure_open(t, upload, &right).await
}

pub(super) async fn a_wrong_order_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create(KEY).await?;
    let upload = t.upload(KEY, &id);
    let mut parts = vec![(2, t.part(upload, 2, &content(MINIMUM + 1)).await?)];
    parts.push((1, t.part(upload, 1, &content(MINIMUM)).await?));
    let complete = t.complete(upload, &parts, &WriteCondition::Any).await;
    ensure_class!(complete, ErrorClass::Refused, "completion with the second part first");
    parts.reverse();
    ensure_open(t, upload, &parts).await
}

pub(super) async fn an_empty_list_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create(KEY).await?;
    let upload = t.upload(KEY, &id);
    let parts = [(1, t.part(upload, 1, &Bytes::from("x")).await?)];
    let complete = t.complete(upload, &[], &WriteCondition::Any).await;
    ensure_class!(complete, ErrorClass::Refused, "completion with no part");
    ensure_open(t, upload, &parts).await
}

pub(super) async fn small_parts_are_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create(KEY).await?;
    let upload = t.upload(KEY, &id);
    let mut parts = Vec::new();
    for number in 1..=2 {
        parts.push((number, t.part(upload, number, &Bytes::from("small")).await?));
    }
    let complete = t.complete(upload, &parts, &WriteCondition::Any).await;
    ensure_class!(complete, ErrorClass::Refused, "completion with a first part of 5 bytes");
    parts.truncate(1);
    ensure_open(t, upload, &parts).await
}

pub(super) async fn completion_can_ask_for_absence<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    for (exists, key) in [(false, "absent"), (true, "there")] {
        if exists {
            t.put(key, "first").await?;
        }
        let id = t.create(key).await?;
        let upload = t.upload(key, &id);
        let parts = [(1, t.part(upload, 1, &Bytes::from("second")).await?)];
        let complete = t.complete(upload, &parts, &WriteCondition::Absent).await;
        if exists {
            ensure_class!(complete, ErrorClass::PreconditionFailed, "completion over an object");
            ensure_eq!(t.content(key).await?, Bytes::from("first"), "content after it");
            t.store.abort_upload(upload).await?;
        } else {
            complete?;
            ensure_eq!(t.content(key).await?, Bytes::from("second"), "content of {key}");
        }
    }
    Ok(())
}

pub(super) async fn completion_can_ask_for_one_content<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let first = t.put(KEY, "first").await?.etag;
    for (asked, passes) in [(md5(b"another"), false), (md5(b"first"), true)] {
        let id = t.create(KEY).await?;
        let upload = t.upload(KEY, &id);
        let parts = [(1, t.part(upload, 1, &Bytes::from("second")).await?)];
        let condition = WriteCondition::Matches(ETag::of_content(&asked));
        let complete = t.complete(upload, &parts, &condition).await;
        if passes {
            let etag = complete?.etag;
            ensure!(etag != first, "the object kept its ETag");
            ensure_eq!(t.content(KEY).await?, Bytes::from("second"), "content");
        } else {
            ensure_class!(complete, ErrorClass::PreconditionFailed, "completion over another content");
            ensure_eq!(t.content(KEY).await?, Bytes::from("first"), "content after it");
            t.store.abort_upload(upload).await?;
        }
    }
    Ok(())
}
