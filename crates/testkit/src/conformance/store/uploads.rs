//! Rules of multipart uploads.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use migration_core::error::ErrorClass;
use migration_core::etag::ETag;
use migration_core::object::ListedPart;
use migration_core::ports::{Attributes, Body, CreateUpload, ObjectStore, PutPart, Tags, UploadRef, WriteCondition};

use super::objects::{all_attributes, odd_tags};
use super::{StoreUnderTest, content, md5};
use crate::conformance::report::{CaseResult, Failure};
use crate::conformance::{ensure, ensure_class, ensure_eq};

/// Smallest part except the last, in bytes.
pub(super) const MINIMUM: usize = 5 << 20;
/// More than a page of 1,000.
const MANY: u32 = 1_003;

async fn all_parts<S: ObjectStore>(
    t: &StoreUnderTest<S>,
    upload: UploadRef<'_>,
) -> Result<Vec<Vec<ListedPart>>, Failure> {
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = t.store.list_parts(upload, after).await?;
        pages.push(page.parts);
        after = page.next;
        if after.is_none() {
            return Ok(pages);
        }
        ensure!(pages.len() < 100, "the list of parts does not end");
    }
}

pub(super) async fn parts_become_an_object<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let (first, second) = (content(MINIMUM), Bytes::from("the end"));
    let (attributes, tags) = (all_attributes(), Tags::new());
    let request = CreateUpload { bucket: &t.bucket, key: "k", attributes: &attributes, tags: &tags, checksum: false };
    let id = t.store.create_upload(request).await?;
    let upload = t.upload("k", &id);
    ensure_eq!(t.store.list_parts(upload, None).await?.parts, [], "parts at first");
    let second_etag = t.part(upload, 2, &second).await?;
    let first_etag = t.part(upload, 1, &first).await?;
    ensure_eq!(first_etag, ETag::of_content(&md5(&first)), "ETag of a part");
    let expected = [(1, &first, &first_etag), (2, &second, &second_etag)].map(|(number, body, etag)| ListedPart {
        number,
        size: body.len() as u64,
        etag: etag.clone(),
        checksum: None,
    });
    ensure_eq!(all_parts(t, upload).await?.concat(), expected, "parts that were sent out of order");
    ensure_eq!(t.head("k").await?, None, "the object before completion");
    ensure!(t.listed_keys(t.list_request()).await?.is_empty(), "the object is listed before completion");

    let parts = [(1, first_etag), (2, second_etag)];
    let written = t.complete(upload, &parts, &WriteCondition::Any).await?;
    ensure_eq!(written.etag, ETag::of_parts(&[md5(&first), md5(&second)]), "ETag of the object");
    let head = t.get("k").await?.head;
    ensure_eq!(head.etag, Some(written.etag), "ETag with the body");
    ensure_eq!(head.attributes, attributes, "attributes given when the upload began");
    ensure!(t.content("k").await? == [first, second].concat(), "the parts came back changed or in a wrong order");
    Ok(())
}

pub(super) async fn tags_of_uploads_travel_along<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let (attributes, mut expected) = (Attributes::default(), odd_tags());
    let request =
        CreateUpload { bucket: &t.bucket, key: "k", attributes: &attributes, tags: &expected, checksum: false };
    let id = t.store.create_upload(request).await?;
    let upload = t.upload("k", &id);
    let parts = [(1, t.part(upload, 1, &Bytes::from("x")).await?)];
    t.complete(upload, &parts, &WriteCondition::Any).await?;
    ensure_eq!(t.get("k").await?.head.tag_count, 5, "number of tags given when the upload began");
    let mut found = t.store.tags(&t.bucket, "k", None).await?;
    expected.sort();
    found.sort();
    ensure_eq!(found, expected, "tags given when the upload began");
    Ok(())
}

pub(super) async fn a_part_sent_again_replaces_the_first<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let first = t.part(upload, 7, &Bytes::from("first")).await?;
    let second = t.part(upload, 7, &Bytes::from("second!")).await?;
    ensure!(first != second, "two contents have one ETag");
    let expected = ListedPart { number: 7, size: 7, etag: second.clone(), checksum: None };
    ensure_eq!(all_parts(t, upload).await?.concat(), [expected], "parts");
    t.complete(upload, &[(7, second)], &WriteCondition::Any).await?;
    ensure_eq!(t.content("k").await?, Bytes::from("second!"), "content");
    Ok(())
}

pub(super) async fn a_part_with_another_md5_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let body = Body::Held { bytes: Bytes::from("body"), md5: md5(b"another body") };
    let part = PutPart { upload, number: 1, body, checksum: false };
    ensure_class!(t.store.put_part(part).await, ErrorClass::Transient, "a part that is not what its MD5 says");
    ensure_eq!(all_parts(t, upload).await?.concat(), [], "parts");
    Ok(())
}

pub(super) async fn pages_of_parts_hold_every_part_once<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let body = Bytes::from("x");
    // Only every seventh number, so that numbers and positions differ.
    let numbers: Vec<u32> = (1..=MANY).map(|place| place * 7).collect();
    let parts = stream::iter(&numbers).map(|number| t.part(upload, *number, &body)).buffer_unordered(16);
    parts.try_for_each(|_| async { Ok(()) }).await?;
    let pages = all_parts(t, upload).await?;
    ensure!(pages.len() > 1, "{MANY} parts came in one page");
    ensure!(pages.iter().all(|page| page.len() <= 1_000), "a page has more than 1,000 parts");
    let found: Vec<u32> = pages.concat().iter().map(|part| part.number).collect();
    ensure!(found == numbers, "parts are missing, doubled or out of order: {} found", found.len());
    let rest = t.store.list_parts(upload, Some(MANY * 7 - 8)).await?;
    ensure_eq!(rest.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [(MANY - 1) * 7, MANY * 7], "the end");
    ensure_eq!(rest.next, None, "the next page after the end");
    t.store.abort_upload(upload).await?;
    Ok(())
}

pub(super) async fn uploads_of_exactly_one_key_are_listed<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    ensure_eq!(t.store.list_uploads(&t.bucket, "a").await?, [], "uploads at first");
    let mut of_a = BTreeSet::new();
    for key in ["a", "ab", "a", "a/b", "a ", "A"] {
        let id = t.create(key).await?;
        ensure!(key != "a" || of_a.insert(id.clone()), "two uploads of one key have the id {id}");
    }
    let found = t.store.list_uploads(&t.bucket, "a").await?;
    ensure!(found.iter().all(|upload| upload.initiated > 0), "an upload began at no time: {found:?}");
    let initiator = found.first().and_then(|upload| upload.initiator.clone());
    let id = found.first().map(|upload| upload.upload_id.clone()).unwrap_or_default();
    ensure_eq!(found.into_iter().map(|upload| upload.upload_id).collect::<BTreeSet<_>>(), of_a, "uploads of a");
    let parts = t.store.list_parts(t.upload("a", &id), None).await?;
    ensure_eq!(parts.initiator, initiator, "who began the upload, by its parts and by the list of uploads");
    Ok(())
}

async fn ensure_gone<S: ObjectStore>(t: &StoreUnderTest<S>, upload: UploadRef<'_>, etag: &ETag) -> CaseResult {
    ensure_class!(t.store.list_parts(upload, None).await, ErrorClass::NoSuchUpload, "its parts");
    let part = t.part(upload, 1, &Bytes::from("x")).await;
    ensure_class!(part, ErrorClass::NoSuchUpload, "another part");
    ensure_eq!(t.store.list_uploads(&t.bucket, upload.key).await?, [], "open uploads");
    // Services may answer a repeated completion as they did the first.
    if let Ok(written) = t.complete(upload, &[(1, etag.clone())], &WriteCondition::Any).await {
        let now = t.head(upload.key).await?.and_then(|head| head.etag);
        ensure_eq!(Some(written.etag), now, "the answer to a second completion");
    }
    Ok(())
}

pub(super) async fn an_aborted_upload_is_gone<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let etag = t.part(upload, 1, &Bytes::from("x")).await?;
    t.store.abort_upload(upload).await?;
    ensure_gone(t, upload, &etag).await?;
    let complete = t.complete(upload, &[(1, etag)], &WriteCondition::Any).await;
    ensure_class!(complete, ErrorClass::NoSuchUpload, "completion");
    ensure_class!(t.store.abort_upload(upload).await, ErrorClass::NoSuchUpload, "a second abort");
    ensure_eq!(t.head("k").await?, None, "the object");
    let never = t.upload("k", "no-such-upload");
    ensure_class!(t.store.list_parts(never, None).await, ErrorClass::NoSuchUpload, "parts of an upload that never was");
    Ok(())
}

pub(super) async fn a_completed_upload_is_gone<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let id = t.create("k").await?;
    let upload = t.upload("k", &id);
    let etag = t.part(upload, 1, &Bytes::from("x")).await?;
    let written = t.complete(upload, &[(1, etag.clone())], &WriteCondition::Any).await?;
    ensure_gone(t, upload, &etag).await?;
    ensure_class!(t.store.abort_upload(upload).await, ErrorClass::NoSuchUpload, "an abort");
    let head = t.head("k").await?;
    ensure_eq!(head.and_then(|head| head.etag), Some(written.etag), "the object after all that");
    Ok(())
}
