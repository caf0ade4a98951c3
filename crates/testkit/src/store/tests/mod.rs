mod limits;
mod states;

use bytes::Bytes;
use md5::{Digest, Md5};
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::etag::{ETag, Md5Digest};
use migration_core::ports::{
    Attributes, Body, CompleteUpload, CompletedPart, CreateUpload, GetRequest, HeadRequest, ListRequest, ObjectStore,
    PutPart, PutRequest, Span, Tags, UploadRef, WriteCondition,
};

use super::*;
use crate::Operation;

const START: i64 = 1_000_000_500;

fn md5(content: &[u8]) -> Md5Digest {
    Md5::digest(content).into()
}

fn store() -> MemoryStore {
    let store = MemoryStore::new(TestClock::at(START), "tester");
    store.create_bucket("b");
    store
}

fn get(key: &str) -> GetRequest<'_> {
    GetRequest { bucket: "b", key, span: Span::Whole, if_match: None, version_id: None }
}

fn list() -> ListRequest<'static> {
    ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None }
}

#[tokio::test]
async fn one_principal_is_denied_and_another_is_not() {
    let mine = store();
    let other = mine.as_principal("other");
    mine.insert("b", "k", "x");
    mine.denials().deny(&[Operation::GetObject], ErrorClass::AccessDenied, "AccessDenied");
    assert_eq!(mine.get(get("k")).await.err().unwrap().class, ErrorClass::AccessDenied);
    assert!(mine.list(list()).await.is_ok());
    assert!(other.get(get("k")).await.is_ok());
    let fault = ErrorClass::Service(ServiceFault::CredentialsInvalid);
    mine.denials().deny_all(fault, "InvalidAccessKeyId");
    assert_eq!(mine.list(list()).await.unwrap_err().class, fault);
    assert_eq!(mine.head(HeadRequest::new("b", "k")).await.unwrap_err().class, fault);
    mine.denials().heal();
    assert!(mine.get(get("k")).await.is_ok());
}

#[tokio::test]
async fn versions_are_kept_where_the_bucket_keeps_them() {
    let store = store();
    store.create_bucket_with("b", BucketSettings::versioned());
    let first = store.insert("b", "k", "first");
    let id = store.object("b", "k").unwrap().version_id.unwrap();
    store.insert("b", "k", "second");
    assert_eq!(store.content("b", "k").unwrap(), "second");
    let old = store.get(GetRequest { version_id: Some(&id), ..get("k") }).await.unwrap();
    assert_eq!((old.head.etag, old.head.version_id.as_deref()), (Some(first), Some(id.as_str())));
    let never = store.get(GetRequest { version_id: Some("never"), ..get("k") }).await.err().unwrap();
    assert_eq!(never.class, ErrorClass::NoSuchKey);
    assert_eq!(store.list(list()).await.unwrap().objects.len(), 1);
}

#[tokio::test]
async fn etags_under_encryption_keys_are_no_md5() {
    let store = store();
    store.create_bucket_with("b", BucketSettings { opaque_etags: true, ..BucketSettings::default() });
    let md5 = md5(b"x");
    let (attributes, tags, condition) = (Attributes::default(), Tags::new(), WriteCondition::Any);
    let body = Bytes::from("x");
    let put = |key| PutRequest {
        bucket: "b",
        key,
        body: body.clone(),
        md5,
        attributes: &attributes,
        tags: &tags,
        condition: &condition,
    };
    let first = store.put(put("a")).await.unwrap();
    let second = store.put(put("b")).await.unwrap();
    assert!(!first.etag_is_md5 && first.etag != second.etag && first.etag != ETag::of_content(&md5));
    let create = CreateUpload { bucket: "b", key: "c", attributes: &attributes, tags: &tags, checksum: false };
    let id = store.create_upload(create).await.unwrap();
    let upload = UploadRef { bucket: "b", key: "c", upload_id: &id };
    let part = store
        .put_part(PutPart { upload, number: 1, body: Body::Held { bytes: body.clone(), md5 }, checksum: false })
        .await
        .unwrap();
    assert!(!part.etag_is_md5 && part.etag != ETag::of_content(&md5));
    store
        .complete_upload(CompleteUpload {
            upload,
            parts: &[CompletedPart { number: 1, etag: part.etag, checksum: None }],
            condition: &condition,
        })
        .await
        .unwrap();
    let seen: Vec<ETag> = store.write_log("b").into_iter().map(|entry| entry.etag).collect();
    assert_eq!(seen[..2], [first.etag, second.etag]);
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn archived_objects_are_listed_and_not_read() {
    let store = store();
    let attributes = Attributes { storage_class: Some("GLACIER".into()), ..Attributes::default() };
    store.insert_with("b", "k", "x", &attributes, &Tags::new());
    assert_eq!(store.list(list()).await.unwrap().objects.len(), 1);
    assert_eq!(store.get(get("k")).await.err().unwrap().class, ErrorClass::Archived);
}

#[tokio::test]
async fn times_are_the_clocks_in_whole_seconds_and_initiators_are_named() {
    let store = store();
    store.insert("b", "k", "x");
    assert_eq!(store.list(list()).await.unwrap().objects[0].modified, START - 500);
    assert_eq!(store.object("b", "k").unwrap().modified, START);
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &tags, checksum: false };
    let id = store.as_principal("other").create_upload(create).await.unwrap();
    let open = store.list_uploads("b", "k").await.unwrap();
    assert_eq!((open[0].initiated, open[0].initiator.as_deref()), (START - 500, Some("other")));
    assert_eq!(store.open_uploads("b"), [("k".to_owned(), id)]);
}
