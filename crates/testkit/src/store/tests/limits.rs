//! Tests of limits set by tests.

use std::time::Duration;

use migration_core::error::ErrorClass;
use migration_core::ports::{CopyPart, CopySource};

use super::states::{copy, put, read, with};
use super::*;

#[tokio::test(start_paused = true)]
async fn requests_beyond_what_a_bucket_takes_at_once_are_throttled() {
    let latency = Duration::from_secs(1);
    let store = with(StoreSettings { latency, throttle_over: Some(2), ..StoreSettings::default() });
    let attributes = Attributes::default();
    let began = tokio::time::Instant::now();
    let (a, b, c) =
        tokio::join!(put(&store, "a", &attributes), put(&store, "b", &attributes), put(&store, "c", &attributes));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(c, Err(ErrorClass::Throttled));
    assert_eq!((began.elapsed(), store.most_in_flight("b"), store.throttled("b")), (latency, 2, 1));
    assert_eq!(store.keys("b"), ["a", "b"]);
}

#[tokio::test]
async fn a_get_lasts_until_its_body_was_read_or_dropped() {
    let store = with(StoreSettings { throttle_over: Some(1), ..StoreSettings::default() });
    store.insert("b", "k", "x");
    let unread = store.get(get("k")).await.unwrap();
    assert_eq!(store.list(list()).await.unwrap_err().class, ErrorClass::Throttled);
    store.create_bucket("other");
    assert!(store.list(ListRequest { bucket: "other", ..list() }).await.is_ok());
    drop(unread);
    assert_eq!(read(&store, get("k")).await, b"x");
    assert!(store.list(list()).await.is_ok());
}

#[tokio::test]
async fn copies_have_a_largest_size_and_none_is_made_onto_its_source() {
    let store = with(StoreSettings { copy_limit: 4, ..StoreSettings::default() });
    store.insert("b", "four", "1234");
    let etag = store.insert("b", "five", "12345");
    assert!(copy(&store, "four", "to").await.is_ok());
    assert_eq!(copy(&store, "five", "to").await, Err(ErrorClass::Refused));
    assert_eq!(copy(&store, "four", "four").await, Err(ErrorClass::Refused));
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &tags, checksum: true };
    let id = store.create_upload(create).await.unwrap();
    let upload = UploadRef { bucket: "b", key: "k", upload_id: &id };
    let source = CopySource { bucket: "b", key: "five", version_id: None, if_match: &etag };
    let part = |len| store.copy_part(CopyPart { source, upload, number: 1, offset: 0, len });
    assert_eq!(part(5).await.unwrap_err().class, ErrorClass::Refused);
    assert_eq!(part(4).await.unwrap().checksum, Some(crc64nvme(b"1234")));
}
