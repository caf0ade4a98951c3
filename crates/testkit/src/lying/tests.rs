use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};
use migration_core::error::{ErrorClass, ServiceError};
use migration_core::etag::ETag;
use migration_core::ports::{
    Attributes, Body, CompleteUpload, CompletedPart, CreateUpload, GetRequest, GetResponse, HeadRequest, ListPage,
    ListRequest, ObjectStore, PutPart, PutRequest, Span, Tags, UploadRef, WriteCondition, Written,
};

use super::{Carried, ETagStyle, Header, Lie, Lies, Lying, Modified, Named, Refusal, Scope, Told, collect};
use crate::{MemoryStore, Operation, StoreSettings, TestClock};

const B: &str = "b";

fn lying() -> (Lying<MemoryStore>, Lies) {
    let settings = StoreSettings { list_page: 2, minimum_part: 1, ..StoreSettings::default() };
    let store = MemoryStore::with_settings(TestClock::default(), "tester", settings);
    store.create_bucket(B);
    let lies = Lies::new();
    (Lying::new(store, &lies), lies)
}

fn telling(lie: Lie) -> (Lying<MemoryStore>, Lies) {
    let (store, lies) = lying();
    lies.tell(lie, Scope::always());
    (store, lies)
}

async fn put_if(
    store: &impl ObjectStore,
    key: &str,
    body: &'static str,
    condition: &WriteCondition,
) -> Result<Written, ServiceError> {
    let request = PutRequest {
        bucket: B,
        key,
        body: Bytes::from(body),
        md5: Md5::digest(body).into(),
        attributes: &Attributes {
            storage_class: Some("STANDARD_IA".into()),
            metadata: [("m".to_owned(), "1".to_owned())].into(),
            ..Attributes::default()
        },
        tags: &vec![("t".to_owned(), "1".to_owned())],
        condition,
    };
    store.put(request).await
}

async fn put(store: &impl ObjectStore, key: &str, body: &'static str) -> Result<Written, ServiceError> {
    put_if(store, key, body, &WriteCondition::Any).await
}

fn get_request<'a>(key: &'a str, span: Span, if_match: Option<&'a ETag>) -> GetRequest<'a> {
    GetRequest { bucket: B, key, span, if_match, version_id: None }
}

/// Reads an object; returns ETag, announced length and content.
async fn read(
    store: &impl ObjectStore,
    span: Span,
    if_match: Option<&ETag>,
) -> Result<(Option<ETag>, u64, Bytes), ServiceError> {
    let GetResponse { head, len, body } = store.get(get_request("k", span, if_match)).await?;
    Ok((head.etag, len, collect(body).await?))
}

async fn bytes(store: &impl ObjectStore, span: Span) -> Bytes {
    read(store, span, None).await.unwrap().2
}

async fn page(store: &impl ObjectStore, continuation: Option<&str>) -> ListPage {
    let request = ListRequest { bucket: B, prefix: "", start_after: None, continuation, max_keys: None };
    store.list(request).await.unwrap()
}

fn keys(page: &ListPage) -> Vec<&str> {
    page.objects.iter().map(|object| object.key.as_str()).collect()
}

fn of(text: &str) -> ETag {
    ETag::of_content(&Md5::digest(text).into())
}

const RANGE: Span = Span::Range { offset: 2, len: 3 };

#[tokio::test]
async fn a_404_of_a_proxy_is_none_for_head_and_no_answer_for_all_others() {
    let (store, _) = telling(Lie::Absent);
    store.inner().insert(B, "k", "content");
    assert_eq!(store.head(HeadRequest::new(B, "k")).await, Ok(None));
    assert_eq!(read(&store, Span::Whole, None).await.unwrap_err().class, ErrorClass::NoAnswer);
    assert_eq!(store.tags(B, "k", None).await.unwrap_err().class, ErrorClass::NoAnswer);
    assert_eq!(put(&store, "k", "other").await.unwrap_err().class, ErrorClass::NoAnswer);
    assert_eq!(store.inner().content(B, "k").unwrap(), "content");
}

#[tokio::test(start_paused = true)]
async fn lies_are_told_by_operation_key_and_count_and_can_be_switched_off() {
    let (store, lies) = lying();
    for key in ["a", "b/1", "b/2", "c//d"] {
        store.inner().insert(B, key, "1");
    }
    let absent = async |key| store.head(HeadRequest::new(B, key)).await.unwrap().is_none();
    for (scope, key, expected) in [
        (Scope::always(), "a", [true, true, true]),
        (Scope::always().key("a"), "a", [true, true, true]),
        (Scope::always().key("a"), "b/1", [false, false, false]),
        (Scope::always().under("b/"), "b/1", [true, true, true]),
        (Scope::always().containing("//"), "c//d", [true, true, true]),
        (Scope::always().containing("//"), "a", [false, false, false]),
        (Scope::always().keys(|key| key.len() == 1), "a", [true, true, true]),
        (Scope::always().on(&[Operation::GetObject]), "a", [false, false, false]),
        (Scope::always().on(&[Operation::HeadObject]).first(2), "a", [true, true, false]),
        (Scope::always().every(2), "a", [false, true, false]),
    ] {
        let id = lies.tell(Lie::Absent, scope);
        let found = [absent(key).await, absent(key).await, absent(key).await];
        assert_eq!(found, expected, "{scope:?} {key}");
        assert_eq!(lies.times(id), expected.iter().filter(|told| **told).count() as u64, "{scope:?}");
        lies.stop(id);
        assert!(!absent(key).await);
    }
    lies.tell(Lie::Absent, Scope::always().lasting(Duration::from_mins(10)));
    assert!(absent("a").await);
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(!absent("a").await);
    assert!(lies.told() > 10);
}

#[tokio::test]
async fn a_refusal_comes_before_or_after_the_effect() {
    let (store, lies) = lying();
    lies.tell(Lie::Refuse(Refusal::SIGNATURE_DOES_NOT_MATCH), Scope::always().key("before"));
    lies.tell(Lie::RefuseAfter(Refusal::NO_SUCH_UPLOAD), Scope::always().key("after"));
    assert_eq!(put(&store, "before", "1").await.unwrap_err().code, "SignatureDoesNotMatch");
    assert_eq!(put(&store, "after", "1").await.unwrap_err().class, ErrorClass::NoSuchUpload);
    assert_eq!(store.inner().keys(B), ["after"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_said_to_be_done_and_is_not_or_later() {
    let (store, _) = telling(Lie::NotDone);
    assert_eq!(put(&store, "k", "1").await.unwrap().etag, of("1"));
    assert_eq!(store.inner().content(B, "k"), None);
    let (store, _) = telling(Lie::DoneLater(Duration::from_secs(5)));
    assert_eq!(put(&store, "k", "1").await.unwrap().etag, of("1"));
    assert_eq!(store.inner().content(B, "k"), None);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(store.inner().content(B, "k").unwrap(), "1");
}

#[tokio::test]
async fn a_damaged_body_is_told_as_sent_or_as_stored() {
    for (told, right) in [(Told::Sent, true), (Told::Stored, false)] {
        let (store, _) = telling(Lie::Damaged(told));
        let written = put(&store, "k", "content").await.unwrap();
        let stored = store.inner().object(B, "k").unwrap();
        assert_ne!(stored.content, "content");
        assert_eq!((written.etag == of("content"), written.etag == stored.etag), (right, !right));
    }
}

async fn upload(store: &impl ObjectStore, parts: &[&'static str]) -> Result<Written, ServiceError> {
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let create = CreateUpload { bucket: B, key: "k", attributes: &attributes, tags: &tags, checksum: true };
    let id = store.create_upload(create).await?;
    let upload = UploadRef { bucket: B, key: "k", upload_id: &id };
    for (number, part) in (1..).zip(parts) {
        let body = Body::Held { bytes: Bytes::from(*part), md5: Md5::digest(part).into() };
        store.put_part(PutPart { upload, number, body, checksum: true }).await?;
    }
    let listed = store.list_parts(upload, None).await?.parts.into_iter();
    let parts: Vec<CompletedPart> =
        listed.map(|p| CompletedPart { number: p.number, etag: p.etag, checksum: p.checksum }).collect();
    store.complete_upload(CompleteUpload { upload, parts: &parts, condition: &WriteCondition::Any }).await
}

#[tokio::test]
async fn a_damaged_part_is_listed_and_completed_as_it_was_told() {
    for told in [Told::Sent, Told::Stored] {
        let (store, lies) = lying();
        lies.tell(Lie::Damaged(told), Scope::always().first(1));
        let written = upload(&store, &["first", "second"]).await.unwrap();
        assert_ne!(store.inner().content(B, "k").unwrap(), "firstsecond");
        assert_eq!(written.etag, store.inner().object(B, "k").unwrap().etag);
    }
}

#[tokio::test]
async fn parts_are_hidden_or_foreign() {
    let (store, _) = telling(Lie::PartsHidden);
    upload(&store, &["1", "2", "3"]).await.unwrap();
    assert_eq!(store.inner().content(B, "k").unwrap(), "13");
    let (store, _) = telling(Lie::PartsForeign);
    assert_eq!(upload(&store, &["1", "2"]).await.unwrap_err().code, "InvalidPart");
}

#[tokio::test]
async fn if_match_of_a_get_is_ignored_under_one_or_the_other_etag() {
    for (named, expected) in [(Named::Own, of("now")), (Named::Wanted, of("before"))] {
        let (store, _) = telling(Lie::IfMatchIgnored(named));
        store.inner().insert(B, "k", "now");
        let answer = read(&store, Span::Whole, Some(&of("before"))).await.unwrap();
        assert_eq!(answer, (Some(expected), 3, Bytes::from("now")));
    }
}

#[tokio::test]
async fn ranges_and_bodies_are_others_than_asked_for() {
    for (lie, len, expected) in [
        (Lie::RangeIgnored, 7, "content"),
        (Lie::RangeShifted, 3, "ten"),
        (Lie::BodyShort(1), 3, "nt"),
        (Lie::BodyLong(2), 3, "nte++"),
    ] {
        let (store, _) = telling(lie);
        store.inner().insert(B, "k", "content");
        let (_, found, bytes) = read(&store, RANGE, None).await.unwrap();
        assert_eq!((found, bytes), (len, Bytes::from(expected)), "{lie:?}");
    }
    let (store, _) = telling(Lie::RangeShifted);
    store.inner().insert(B, "k", "content");
    assert_eq!(bytes(&store, Span::Range { offset: 6, len: 1 }).await, "n");
}

#[tokio::test]
async fn caches_answer_old_bytes() {
    let (store, _) = telling(Lie::Mixed);
    store.inner().insert(B, "k", "aaaa");
    assert_eq!(bytes(&store, Span::Whole).await, "aaaa");
    let now = store.inner().insert(B, "k", "bbbb");
    let (tag, _, found) = read(&store, Span::Whole, None).await.unwrap();
    assert_eq!((tag, found), (Some(now), Bytes::from("aabb")));
    let (store, _) = telling(Lie::Stale);
    let first = store.inner().insert(B, "k", "content");
    let head = || store.head(HeadRequest::new(B, "k"));
    let (before, listed) = (head().await.unwrap(), page(&store, None).await);
    bytes(&store, Span::Whole).await;
    store.inner().insert(B, "k", "another");
    assert_eq!(read(&store, RANGE, None).await.unwrap(), (Some(first), 3, Bytes::from("nte")));
    assert_eq!(head().await.unwrap(), before);
    assert_eq!(page(&store, None).await.objects, listed.objects);
}

#[tokio::test]
async fn conditions_are_ignored_or_refused_one_by_one() {
    let conditions =
        [(Header::IfNoneMatch, WriteCondition::Absent), (Header::IfMatch, WriteCondition::Matches(of("no")))];
    for told in conditions.iter().map(|(header, _)| *header) {
        for (header, condition) in &conditions {
            let (store, lies) = lying();
            store.inner().insert(B, "k", "there");
            lies.tell(Lie::ConditionIgnored(told), Scope::always());
            let ignored = put_if(&store, "k", "new", condition).await.is_ok();
            assert_eq!(ignored, told == *header, "{told:?} {condition:?}");
            lies.clear();
            lies.tell(Lie::ConditionRefused(told), Scope::always());
            let error = put_if(&store, "k", "newer", condition).await.unwrap_err();
            assert_eq!(error.code == "NotImplemented", told == *header, "{told:?} {condition:?}");
        }
    }
}

#[tokio::test]
async fn etags_are_understood_to_the_letter() {
    for (style, shows, holds) in [
        (ETagStyle::UpperCase, "9A0364B9E99BB480DD25E1F0284C8555", true),
        (ETagStyle::Weak, "W/\"9a0364b9e99bb480dd25e1f0284c8555", false),
        (ETagStyle::Quoted, "'9a0364b9e99bb480dd25e1f0284c8555'", true),
        (ETagStyle::NoDigest, "0x8D", true),
        (ETagStyle::FalseDigest, "", true),
        (ETagStyle::Changing, "", true),
    ] {
        let (store, _) = telling(Lie::ETags(style));
        let told = put(&store, "k", "content").await.unwrap().etag;
        assert!(told.as_str().starts_with(shows) && told.as_str() != of("content").as_str(), "{style:?}: {told:?}");
        assert_eq!(read(&store, Span::Whole, Some(&told)).await.is_ok(), holds, "{style:?}");
        assert!(read(&store, Span::Whole, Some(&of("content"))).await.is_err(), "{style:?}");
        let again = store.head(HeadRequest::new(B, "k")).await.unwrap().unwrap().etag.unwrap();
        let listed = page(&store, None).await.objects.remove(0).etag.unwrap();
        let changing = style == ETagStyle::Changing;
        assert_eq!((again == told, listed == told), (!changing, !changing), "{style:?}");
        let completed = upload(&store, &["1", "2"]).await.unwrap();
        let parts = completed.etag.parts();
        assert!(parts == Some(2) || !matches!(style, ETagStyle::FalseDigest | ETagStyle::Changing), "{style:?}");
    }
    let (store, _) = telling(Lie::ETags(ETagStyle::Missing));
    store.inner().insert(B, "k", "content");
    assert_eq!(read(&store, Span::Whole, None).await.unwrap().0, None);
}

#[tokio::test]
async fn listings_are_out_of_order_twice_cut_or_endless() {
    for (lie, first, more) in [
        (Lie::Unordered, vec!["b", "a"], true),
        (Lie::Duplicated, vec!["a", "a", "b", "b"], true),
        (Lie::Cut, vec!["a"], false),
        (Lie::Loop, vec!["a", "b"], true),
    ] {
        let (store, _) = telling(lie);
        for key in ["a", "b", "c"] {
            store.inner().insert(B, key, "1");
        }
        let found = page(&store, None).await;
        assert_eq!((keys(&found), found.continuation.is_some()), (first.clone(), more), "{lie:?}");
        if lie == Lie::Loop {
            let again = page(&store, found.continuation.as_deref()).await;
            assert_eq!((keys(&again), &again.continuation), (first, &found.continuation));
        }
    }
}

#[tokio::test]
async fn what_travels_along_is_dropped_without_a_word() {
    for (carried, expected) in
        [(Carried::Tags, (0, 1, true)), (Carried::Metadata, (1, 0, true)), (Carried::StorageClass, (1, 1, false))]
    {
        let (store, _) = telling(Lie::Dropped(carried));
        put(&store, "k", "1").await.unwrap();
        let found = store.inner().object(B, "k").unwrap();
        let class = found.attributes.storage_class.is_some();
        assert_eq!((found.tags.len(), found.attributes.metadata.len(), class), expected, "{carried:?}");
    }
}

#[tokio::test]
async fn checksums_and_times_are_others() {
    let (store, lies) = telling(Lie::WrongChecksum);
    lies.tell(Lie::Modified(Modified::Late), Scope::always());
    let told = put(&store, "k", "content").await.unwrap().checksum;
    let stored = store.inner().object(B, "k").unwrap();
    assert!(told.is_some() && told != stored.checksum);
    let head = store.head(HeadRequest { checksum: true, ..HeadRequest::new(B, "k") }).await.unwrap().unwrap();
    assert_eq!(head.checksum, told);
    assert!(head.modified > stored.modified);
    assert_eq!(page(&store, None).await.objects[0].modified, head.modified);
}
