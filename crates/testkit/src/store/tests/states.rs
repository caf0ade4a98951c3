//! Tests of changes by other clients, and of what is stored of a write.

use futures::{StreamExt, TryStreamExt, stream};
use migration_core::error::ErrorClass;
use migration_core::ports::{CopyRequest, CopySource, ObjectLock, Retention, RetentionMode};

use super::*;

pub(super) fn with(settings: StoreSettings) -> MemoryStore {
    let store = MemoryStore::with_settings(TestClock::at(START), "tester", settings);
    store.create_bucket("b");
    store
}

pub(super) async fn read(store: &MemoryStore, request: GetRequest<'_>) -> Vec<u8> {
    let body = store.get(request).await.unwrap().body;
    body.try_fold(Vec::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    })
    .await
    .unwrap()
}

pub(super) async fn put(store: &MemoryStore, key: &str, attributes: &Attributes) -> Result<ETag, ErrorClass> {
    let request = PutRequest {
        bucket: "b",
        key,
        body: Bytes::from("body"),
        md5: md5(b"body"),
        attributes,
        tags: &Tags::new(),
        condition: &WriteCondition::Any,
    };
    store.put(request).await.map(|written| written.etag).map_err(|error| error.class)
}

pub(super) async fn copy(store: &MemoryStore, from: &str, to: &str) -> Result<ETag, ErrorClass> {
    let etag = store.object("b", from).unwrap().etag;
    let source = CopySource { bucket: "b", key: from, version_id: None, if_match: &etag };
    let (attributes, condition) = (Attributes::default(), WriteCondition::Any);
    let request = CopyRequest { source, bucket: "b", key: to, attributes: &attributes, condition: &condition };
    store.copy(request).await.map(|written| written.etag).map_err(|error| error.class)
}

#[tokio::test]
async fn pages_of_versions_count_what_they_do_not_show() {
    let store = with(StoreSettings { list_page: 1, ..StoreSettings::default() });
    store.create_bucket_with("b", BucketSettings::versioned());
    for (key, body) in [("a", "1"), ("a", "2"), ("gone", "1"), ("z", "1")] {
        store.insert("b", key, body);
    }
    assert_eq!(store.delete("b", "gone").as_deref(), Some("version-5"));
    let (mut shown, mut token) = (Vec::new(), None);
    loop {
        let request = ListRequest { continuation: token.as_deref(), ..list() };
        let page = store.list_versions(request).await.unwrap();
        shown.push(page.objects.into_iter().map(|object| object.key).collect::<Vec<_>>());
        token = page.continuation;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(shown, [&["a"][..], &[], &[], &[], &["z"]]);
    assert_eq!(store.keys("b"), ["a", "z"]);
    let token = store.list(list()).await.unwrap().continuation;
    let foreign = store.list_versions(ListRequest { continuation: token.as_deref(), ..list() }).await;
    assert_eq!(foreign.unwrap_err().class, ErrorClass::Refused);
}

#[tokio::test]
async fn a_delete_marker_is_no_version_to_read() {
    let store = with(StoreSettings::default());
    store.create_bucket_with("b", BucketSettings::versioned());
    store.insert("b", "k", "x");
    let marker = store.delete("b", "k").unwrap();
    let read = store.get(GetRequest { version_id: Some(&marker), ..get("k") }).await.err().unwrap();
    assert_eq!((read.class, read.code.as_str()), (ErrorClass::NoSuchKey, "MethodNotAllowed"));
    store.delete_version("b", "k", &marker);
    assert_eq!(store.content("b", "k").unwrap(), "x");
    store.delete_version("b", "k", "version-1");
    assert_eq!(store.version("b", "k", "version-1"), None);
    store.create_bucket("plain");
    store.insert("plain", "k", "x");
    assert_eq!((store.delete("plain", "k"), store.keys("plain").len()), (None, 0));
}

#[tokio::test]
async fn an_archived_object_is_read_once_it_is_restored() {
    let store = with(StoreSettings::default());
    let attributes = Attributes { storage_class: Some("DEEP_ARCHIVE".into()), ..Attributes::default() };
    put(&store, "k", &attributes).await.unwrap();
    assert_eq!(copy(&store, "k", "to").await, Err(ErrorClass::Archived));
    store.restore("b", "k");
    assert_eq!(read(&store, get("k")).await, b"body");
    assert!(copy(&store, "k", "to").await.is_ok());
}

#[tokio::test]
async fn what_a_client_cannot_send_is_not_stored() {
    let store = with(StoreSettings::default());
    let attributes = Attributes { missing_metadata: 2, ..Attributes::default() };
    put(&store, "put", &attributes).await.unwrap();
    store.insert_with("b", "inserted", "x", &attributes, &Tags::new());
    let missing = |key| store.object("b", key).unwrap().attributes.missing_metadata;
    assert_eq!((missing("put"), missing("inserted")), (0, 2));
}

#[tokio::test]
async fn a_bucket_knows_its_storage_classes_and_no_lock_that_has_ended() {
    let store = with(StoreSettings::default());
    store.create_bucket_with(
        "b",
        BucketSettings { storage_classes: Some(&["COLD"]), object_lock: true, ..BucketSettings::versioned() },
    );
    let of_class = |class: &str| Attributes { storage_class: Some(class.into()), ..Attributes::default() };
    for (class, taken) in [("COLD", true), ("STANDARD", true), ("GLACIER", false)] {
        assert_eq!(put(&store, "k", &of_class(class)).await.is_ok(), taken, "{class}");
    }
    for (until, taken) in [(START, false), (START + 1, true)] {
        let retention = Some(Retention { mode: RetentionMode::Compliance, until });
        let lock = ObjectLock { retention, legal_hold: false };
        assert_eq!(put(&store, "k", &Attributes { lock, ..Attributes::default() }).await.is_ok(), taken);
    }
}

#[tokio::test]
async fn under_encryption_keys_no_answer_has_an_md5() {
    let store = with(StoreSettings::default());
    store.create_bucket_with("b", BucketSettings { opaque_etags: true, ..BucketSettings::default() });
    let parts = [Bytes::from("first"), Bytes::from("second")];
    let etag = store.insert_parts("b", "k", &parts, &Attributes::default(), &Tags::new());
    assert!(etag.as_str().ends_with("-2") && etag != ETag::of_parts(&[md5(b"first"), md5(b"second")]));
    assert!(copy(&store, "k", "to").await.unwrap() != ETag::of_content(&md5(b"firstsecond")));
    for key in ["k", "to"] {
        assert!(!store.get(get(key)).await.unwrap().head.etag_is_md5);
        assert!(!store.head(HeadRequest::new("b", key)).await.unwrap().unwrap().etag_is_md5);
    }
    assert_eq!(read(&store, GetRequest { span: Span::Part(2), ..get("k") }).await, b"second");
}

#[tokio::test]
async fn an_upload_can_end_while_a_body_arrives() {
    let store = with(StoreSettings::default());
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &tags, checksum: false };
    let id = store.create_upload(create).await.unwrap();
    let upload = UploadRef { bucket: "b", key: "k", upload_id: &id };
    let (other, other_id) = (store.clone(), id.clone());
    let pieces = stream::iter(["first ", "second"]).then(move |piece| {
        let (store, id) = (other.clone(), other_id.clone());
        async move {
            if piece == "second" {
                store.abort_upload(UploadRef { bucket: "b", key: "k", upload_id: &id }).await?;
            }
            Ok(Bytes::from(piece))
        }
    });
    let body = Body::Streamed { stream: pieces.boxed(), len: 12 };
    let part = store.put_part(PutPart { upload, number: 1, body, checksum: false }).await;
    assert_eq!(part.unwrap_err().class, ErrorClass::NoSuchUpload);
}
