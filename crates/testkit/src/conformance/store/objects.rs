//! Rules of whole objects: bytes, ranges, conditions, attributes.

use std::collections::BTreeMap;

use bytes::Bytes;
use migration_core::error::{ErrorClass, Rejected};
use migration_core::etag::ETag;
use migration_core::ports::{
    Attributes, CopyRequest, CopySource, GetRequest, HeadRequest, ObjectLock, ObjectStore, PutRequest, PutTags, Span,
    Tags, WriteCondition,
};

use super::{StoreUnderTest, content, md5, read};
use crate::conformance::report::CaseResult;
use crate::conformance::{ensure, ensure_class, ensure_eq, ensure_rejected};

pub(super) async fn what_is_put_is_got<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    for (key, body) in [("small", "hello\r\n\0world"), ("empty", ""), ("folder/", "")] {
        let written = t.put(key, body).await?;
        let etag = ETag::of_content(&md5(body.as_bytes()));
        ensure_eq!(written.etag, etag, "ETag of {key}");
        ensure!(written.etag_is_md5, "the ETag of {key} is an MD5 and is not said to be");
        let response = t.get(key).await?;
        ensure_eq!(response.head.etag, Some(etag.clone()), "ETag of {key} with its body");
        ensure_eq!(response.head.size, body.len() as u64, "size of {key} with its body");
        ensure_eq!(response.head.tag_count, 0, "tags of {key}");
        ensure!(response.head.etag_is_md5, "the ETag of {key} with its body is an MD5 and is not said to be");
        ensure!(response.head.modified > 0, "{key} was modified at {}", response.head.modified);
        let head = response.head.clone();
        ensure_eq!(read(response).await?, Bytes::from(body), "content of {key}");
        // A GET of a whole object asks for its checksum.
        let request = HeadRequest { checksum: true, ..HeadRequest::new(&t.bucket, key) };
        ensure_eq!(t.store.head(request).await?, Some(head), "head of {key}");
    }
    Ok(())
}

pub(super) async fn a_large_body_comes_whole<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let body = content((3 << 20) + 17);
    t.put("large", body.clone()).await?;
    ensure!(t.content("large").await? == body, "3 MiB came back changed");
    Ok(())
}

pub(super) async fn a_second_put_replaces_the_first<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let attributes = Attributes { content_type: Some("text/plain".into()), ..Attributes::default() };
    let tags = vec![("a".to_owned(), "1".to_owned())];
    t.put_with("k", "first", &attributes, &tags, &WriteCondition::Any).await?;
    t.put("k", "second, longer").await?;
    ensure_eq!(t.content("k").await?, Bytes::from("second, longer"), "content");
    let head = t.head("k").await?;
    ensure_eq!(head.as_ref().map(|head| head.tag_count), Some(0), "tags left from the first");
    let content_type = head.and_then(|head| head.attributes.content_type);
    ensure!(content_type.as_deref() != Some("text/plain"), "the content type of the first is left");
    ensure_eq!(t.listed_keys(t.list_request()).await?, ["k"], "keys");
    Ok(())
}

pub(super) async fn ranges_are_clamped<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let body = Bytes::from_static(b"0123456789");
    t.put("k", body.clone()).await?;
    for (first, count, expected) in
        [(0, 1, "0"), (0, 10, "0123456789"), (3, 4, "3456"), (9, 1, "9"), (7, 100, "789"), (0, 1_000_000, "0123456789")]
    {
        let response =
            t.store.get(GetRequest { span: Span::Range { offset: first, len: count }, ..t.get_request("k") }).await?;
        ensure_eq!(response.head.size, 10, "size of the whole object with range {first}+{count}");
        ensure_eq!(response.head.etag, Some(ETag::of_content(&md5(&body))), "ETag with range {first}+{count}");
        ensure_eq!(read(response).await?, Bytes::from(expected), "range {first}+{count}");
    }
    Ok(())
}

pub(super) async fn a_range_beyond_the_end_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    t.put("k", "0123456789").await?;
    t.put("empty", "").await?;
    for (key, first) in [("k", 10), ("k", 11), ("empty", 0)] {
        let got = t.store.get(GetRequest { span: Span::Range { offset: first, len: 1 }, ..t.get_request(key) }).await;
        ensure_rejected!(got, ErrorClass::Refused, Rejected::Range, "byte {first} of {key}");
    }
    Ok(())
}

pub(super) async fn a_get_can_ask_for_one_content<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let first = t.put("k", "first").await?.etag;
    let asked = |span| GetRequest { span, if_match: Some(&first), ..t.get_request("k") };
    ensure_eq!(read(t.store.get(asked(Span::Whole)).await?).await?, Bytes::from("first"), "the content asked for");
    ensure_eq!(
        read(t.store.get(asked(Span::Range { offset: 1, len: 2 })).await?).await?,
        Bytes::from("ir"),
        "a range of it"
    );
    t.put("k", "second").await?;
    ensure_class!(t.store.get(asked(Span::Whole)).await, ErrorClass::PreconditionFailed, "another content");
    ensure_class!(
        t.store.get(asked(Span::Range { offset: 1, len: 2 })).await,
        ErrorClass::PreconditionFailed,
        "a range of another content"
    );
    t.store.get(GetRequest { if_match: None, ..asked(Span::Whole) }).await?;
    let gone = GetRequest { if_match: Some(&first), ..t.get_request("gone") };
    ensure_class!(t.store.get(gone).await, ErrorClass::NoSuchKey, "a content of a missing key");
    Ok(())
}

pub(super) async fn a_put_can_ask_for_absence<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    t.put_if("k", "first", &WriteCondition::Absent).await?;
    let second = t.put_if("k", "second", &WriteCondition::Absent).await;
    ensure_class!(second, ErrorClass::PreconditionFailed, "a put over an object");
    ensure_eq!(t.content("k").await?, Bytes::from("first"), "content after it");
    let racers: Vec<String> = (0..8).map(|number| format!("racer {number}")).collect();
    let puts = racers.iter().map(|body| t.put_if("race", body.clone(), &WriteCondition::Absent));
    let results = futures::future::join_all(puts).await;
    let won: Vec<&String> = racers.iter().zip(&results).filter(|(_, r)| r.is_ok()).map(|(body, _)| body).collect();
    ensure_eq!(won.len(), 1, "puts that won of 8 at once");
    ensure!(won.first().is_some_and(|body| !body.is_empty()), "no winner");
    let stored = t.content("race").await?;
    ensure!(won.iter().all(|body| body.as_bytes() == stored), "{won:?} won and {stored:?} is there");
    Ok(())
}

pub(super) async fn a_put_can_ask_for_one_content<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let first = t.put("k", "first").await?.etag;
    let second = t.put_if("k", "second", &WriteCondition::Matches(first.clone())).await?.etag;
    let stale = t.put_if("k", "third", &WriteCondition::Matches(first.clone())).await;
    ensure_class!(stale, ErrorClass::PreconditionFailed, "a put over another content");
    let head = t.head("k").await?;
    ensure_eq!(head.and_then(|head| head.etag), Some(second), "ETag after it");
    let gone = t.put_if("gone", "x", &WriteCondition::Matches(first)).await;
    ensure_class!(gone, ErrorClass::PreconditionFailed, "a put over nothing");
    ensure_eq!(t.head("gone").await?, None, "the object that must not be written");
    Ok(())
}

/// Returns every attribute at once, with all characters that headers can hold.
pub(super) fn all_attributes() -> Attributes {
    Attributes {
        content_type: Some("text/html; charset=utf-8".into()),
        content_encoding: Some("gzip".into()),
        content_language: Some("de, en".into()),
        content_disposition: Some("attachment; filename=\"a b.html\"".into()),
        cache_control: Some("max-age=3600, public".into()),
        expires: Some("Thu, 01 Dec 2033 16:00:00 GMT".into()),
        website_redirect: Some("/elsewhere?a=b+c".into()),
        metadata: BTreeMap::from([
            ("plain".into(), "value".into()),
            ("with-dash_and.dot".into(), "a b+c%41;=\"q\"".into()),
            ("empty".into(), String::new()),
        ]),
        storage_class: Some("STANDARD_IA".into()),
        ..Attributes::default()
    }
}

pub(super) async fn attributes_travel_along<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let attributes = all_attributes();
    t.put_with("k", "x", &attributes, &Tags::new(), &WriteCondition::Any).await?;
    ensure_eq!(t.get("k").await?.head.attributes, attributes, "attributes with the body");
    let head = t.head("k").await?;
    ensure_eq!(head.map(|head| head.attributes), Some(attributes), "attributes of the head");

    t.put("plain", "x").await?;
    let plain = t.get("plain").await?.head.attributes;
    ensure_eq!(Attributes { content_type: None, ..plain }, Attributes::default(), "attributes that nobody gave");

    let mixed = Attributes {
        metadata: BTreeMap::from([("CamelCase".into(), "Value".into())]),
        storage_class: Some("STANDARD".into()),
        ..Attributes::default()
    };
    t.put_with("mixed", "x", &mixed, &Tags::new(), &WriteCondition::Any).await?;
    let found = t.get("mixed").await?.head.attributes;
    ensure_eq!(found.metadata, BTreeMap::from([("camelcase".into(), "Value".into())]), "names in lower case");
    ensure_eq!(found.storage_class, None, "the class that is not told");
    Ok(())
}

/// Returns tags with the characters that S3 allows.
pub(super) fn odd_tags() -> Tags {
    [("project", "a b+c"), ("cost=center", "1/2:3@4"), ("umläut", "日本"), ("empty", ""), ("a&b", "c%41=d")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

pub(super) async fn tags_travel_along<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let mut expected = odd_tags();
    t.put_with("k", "x", &Attributes::default(), &expected, &WriteCondition::Any).await?;
    ensure_eq!(t.get("k").await?.head.tag_count, 5, "number of tags with the body");
    let mut found = t.store.tags(&t.bucket, "k", None).await?;
    expected.sort();
    found.sort();
    ensure_eq!(found, expected, "tags");
    Ok(())
}

pub(super) async fn tags_are_given_afterwards<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let before = vec![("old".to_owned(), "1".to_owned())];
    t.put_with("k", "x", &Attributes::default(), &before, &WriteCondition::Any).await?;
    let etag = t.head("k").await?.and_then(|head| head.etag);
    let mut expected = odd_tags();
    // Services are stricter here than with the header. Source: "Object tagging" in the S3 user guide.
    expected.retain(|(name, _)| !name.contains('&'));
    t.store.put_tags(PutTags { bucket: &t.bucket, key: "k", version_id: None, tags: &expected }).await?;
    // Many services omit the tag count from HEAD.
    let head = t.get("k").await?.head;
    ensure_eq!((head.tag_count, head.etag), (4, etag), "number of tags given afterwards, and ETag");
    let mut found = t.store.tags(&t.bucket, "k", None).await?;
    expected.sort();
    found.sort();
    ensure_eq!(found, expected, "tags given afterwards, in place of those before");
    let gone = PutTags { bucket: &t.bucket, key: "gone", version_id: None, tags: &expected };
    ensure_class!(t.store.put_tags(gone).await, ErrorClass::NoSuchKey, "tags for nothing");
    Ok(())
}

pub(super) async fn a_body_with_another_md5_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let put = PutRequest {
        bucket: &t.bucket,
        key: "k",
        body: Bytes::from("body"),
        md5: md5(b"another body"),
        attributes: &Attributes::default(),
        tags: &Tags::new(),
        condition: &WriteCondition::Any,
    };
    let put = t.store.put(put).await;
    ensure_rejected!(put, ErrorClass::Transient, Rejected::Digest, "a body that is not what its MD5 says");
    ensure_eq!(t.head("k").await?, None, "the object that must not be written");
    Ok(())
}

pub(super) async fn an_unknown_storage_class_is_refused<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let attributes = Attributes { storage_class: Some("NO_SUCH_CLASS".into()), ..Attributes::default() };
    let put = t.put_with("k", "x", &attributes, &Tags::new(), &WriteCondition::Any).await;
    ensure_rejected!(put, ErrorClass::Refused, Rejected::StorageClass, "a class that nobody knows");
    ensure_eq!(t.head("k").await?, None, "the object that must not be written");
    Ok(())
}

pub(super) async fn a_lock_needs_a_bucket_that_takes_it<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    let lock = ObjectLock { retention: None, legal_hold: true };
    let attributes = Attributes { lock, ..Attributes::default() };
    let put = t.put_with("k", "x", &attributes, &Tags::new(), &WriteCondition::Any).await;
    ensure_rejected!(put, ErrorClass::Refused, Rejected::Lock, "a lock in a bucket without Object Lock");
    ensure_eq!(t.head("k").await?, None, "the object that must not be written");
    Ok(())
}

pub(super) async fn archived_objects_are_seen_and_not_read<S: ObjectStore>(t: &StoreUnderTest<S>) -> CaseResult {
    for class in ["GLACIER", "DEEP_ARCHIVE"] {
        let attributes = Attributes { storage_class: Some(class.into()), ..Attributes::default() };
        let etag = t.put_with("k", "x", &attributes, &Tags::new(), &WriteCondition::Any).await?.etag;
        let head = t.head("k").await?;
        ensure_eq!(head.and_then(|head| head.attributes.storage_class).as_deref(), Some(class), "class");
        ensure_class!(t.get("k").await, ErrorClass::Archived, "an object in {class}");
        let source = CopySource { bucket: &t.bucket, key: "k", version_id: None, if_match: &etag };
        let (attributes, condition) = (Attributes::default(), WriteCondition::Any);
        let copy = CopyRequest { source, bucket: &t.bucket, key: "to", attributes: &attributes, condition: &condition };
        ensure_class!(t.store.copy(copy).await, ErrorClass::Archived, "a copy of an object in {class}");
    }
    Ok(())
}
