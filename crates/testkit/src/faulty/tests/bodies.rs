//! Tests of bodies that fail, pause, are damaged, or outlive their sender.

use futures::{StreamExt, stream};
use migration_core::etag::ETag;
use migration_core::ports::{Body, CreateUpload, PutPart, UploadRef};

use super::*;
use crate::crc64nvme;

/// Content sent, in three pieces.
const BODY: &str = "0123456789";

fn etag(content: &str) -> ETag {
    ETag::of_content(&Md5::digest(content).into())
}

fn body(streamed: bool) -> Body {
    if streamed {
        let pieces = ["0123", "4567", "89"].map(|piece| Ok(Bytes::from(piece)));
        Body::Streamed { stream: stream::iter(pieces).boxed(), len: 10 }
    } else {
        Body::Held { bytes: Bytes::from(BODY), md5: Md5::digest(BODY).into() }
    }
}

async fn begin(store: &Faulty<MemoryStore>, checksum: bool) -> String {
    let (attributes, tags) = (Attributes::default(), Tags::new());
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &tags, checksum };
    store.inner().create_upload(create).await.unwrap()
}

fn upload(id: &str) -> UploadRef<'_> {
    UploadRef { bucket: "b", key: "k", upload_id: id }
}

async fn part(store: &Faulty<MemoryStore>, id: &str, streamed: bool, checksum: bool) -> Result<Written, ServiceError> {
    store.put_part(PutPart { upload: upload(id), number: 1, body: body(streamed), checksum }).await
}

/// Returns the ETag of the stored part.
async fn stored(store: &Faulty<MemoryStore>, id: &str) -> Option<ETag> {
    let page = store.inner().list_parts(upload(id), None).await.unwrap();
    page.parts.first().map(|part| part.etag.clone())
}

fn parts(plan: &FaultPlan, fault: Fault) {
    plan.when(|call| call.operation == Operation::PutPart, fault, 1);
}

#[tokio::test]
async fn a_request_that_is_cut_stores_nothing() {
    for streamed in [true, false] {
        for bytes in [0, 5, 10, 99] {
            let plan = FaultPlan::new();
            let store = store(&plan);
            let id = begin(&store, false).await;
            parts(&plan, Fault::TruncateRequest(bytes));
            assert_eq!(part(&store, &id, streamed, false).await.unwrap_err().class, ErrorClass::Transient);
            assert_eq!((stored(&store, &id).await, plan.injected()), (None, 1));
            assert_eq!(part(&store, &id, streamed, false).await.unwrap().etag, etag(BODY));
        }
    }
    let plan = FaultPlan::new();
    let store = store(&plan);
    plan.at(Operation::PutObject, 1, Fault::TruncateRequest(1));
    assert_eq!(put(&store, "a", "body").await.unwrap_err().class, ErrorClass::Transient);
    assert_eq!(store.inner().content("b", "a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_body_stands_still_and_goes_on() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    let id = begin(&store, false).await;
    let time = Duration::from_hours(1);
    for streamed in [true, false] {
        parts(&plan, Fault::Stall(5, time));
        let began = Instant::now();
        assert_eq!(part(&store, &id, streamed, false).await.unwrap().etag, etag(BODY));
        assert_eq!(began.elapsed(), time);
    }
    store.inner().insert("b", "read", BODY);
    plan.at(Operation::GetObject, 1, Fault::Stall(5, time));
    let began = Instant::now();
    let request = GetRequest { bucket: "b", key: "read", span: Span::Whole, if_match: None, version_id: None };
    let mut body = store.get(request).await.unwrap().body;
    assert_eq!(body.try_next().await.unwrap().unwrap(), "01234");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(body.try_next().await.unwrap().unwrap(), "56789");
    assert_eq!(began.elapsed(), time);
}

#[tokio::test]
async fn a_process_dies_in_the_middle_of_a_body() {
    for streamed in [true, false] {
        let plan = FaultPlan::new();
        let store = store(&plan);
        let id = begin(&store, false).await;
        parts(&plan, Fault::CrashDuring(5));
        let killed = tokio::select! {
            _ = part(&store, &id, streamed, false) => false,
            () = plan.crashed() => true,
        };
        assert!(killed);
        assert_eq!(stored(&store, &id).await, None);
        plan.restart();
        let next = Faulty::new(store.inner().clone(), &plan);
        assert_eq!(part(&next, &id, streamed, false).await.unwrap().etag, etag(BODY));
    }
    let plan = FaultPlan::new();
    let store = store(&plan);
    store.inner().insert("b", "read", BODY);
    plan.at(Operation::GetObject, 1, Fault::CrashDuring(5));
    let killed = tokio::select! {
        _ = get(&store, "read") => false,
        () = plan.crashed() => true,
    };
    assert!(killed);
}

#[tokio::test]
async fn damage_is_caught_by_digests_and_stored_without_them() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    store.inner().insert("b", "read", BODY);
    plan.at(Operation::GetObject, 1, Fault::Corrupt);
    assert_eq!(get(&store, "read").await.unwrap(), b"1123456789");
    assert_eq!(get(&store, "read").await.unwrap(), BODY.as_bytes());

    plan.at(Operation::PutObject, 1, Fault::Corrupt);
    let refused = put(&store, "a", "body").await.unwrap_err();
    assert_eq!((refused.class, refused.code.as_str()), (ErrorClass::Transient, "BadDigest"));
    assert_eq!(store.inner().content("b", "a"), None);

    for (streamed, checksum, taken) in
        [(false, false, false), (false, true, false), (true, true, false), (true, false, true)]
    {
        let id = begin(&store, checksum).await;
        parts(&plan, Fault::Corrupt);
        match part(&store, &id, streamed, checksum).await {
            Ok(written) => assert!(taken && written.etag == etag("1123456789")),
            Err(error) => assert!(!taken && error.class == ErrorClass::Transient && error.code == "BadDigest"),
        }
        assert_eq!(stored(&store, &id).await, taken.then(|| etag("1123456789")));
        let written = part(&store, &id, streamed, checksum).await.unwrap();
        assert_eq!((written.etag, written.checksum), (etag(BODY), checksum.then(|| crc64nvme(BODY.as_bytes()))));
    }
}

#[tokio::test]
async fn others_act_in_the_middle_of_a_body() {
    let plan = FaultPlan::new();
    let store = store(&plan);
    store.inner().insert("b", "read", BODY);
    let other = store.inner().clone();
    plan.during_body(
        |call| call.subject == "b/read",
        4,
        move || {
            other.insert("b", "read", "another");
        },
    );
    let request = GetRequest { bucket: "b", key: "read", span: Span::Whole, if_match: None, version_id: None };
    let mut body = store.get(request).await.unwrap().body;
    assert_eq!(body.try_next().await.unwrap().unwrap(), "0123");
    assert_eq!((store.inner().content("b", "read").unwrap(), plan.injected()), (Bytes::from(BODY), 0));
    assert_eq!(body.try_next().await.unwrap().unwrap(), "456789");
    assert_eq!((store.inner().content("b", "read").unwrap(), plan.injected()), (Bytes::from("another"), 1));

    for (streamed, after) in [(true, 4), (true, 99), (false, 4)] {
        let id = begin(&store, false).await;
        let (other, aborted) = (store.inner().clone(), id.clone());
        plan.during_body(|call| call.operation == Operation::PutPart, after, move || other.end_upload("b", &aborted));
        let ended = part(&store, &id, streamed, false).await.unwrap_err();
        assert_eq!(ended.class, ErrorClass::NoSuchUpload, "{streamed} {after}");
    }
    assert_eq!(plan.injected(), 4);
}
