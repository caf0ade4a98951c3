//! Tests of how responses are read.

use super::*;
use migration_core::ports::{ObjectLock, Retention, RetentionMode};

#[tokio::test]
async fn an_error_in_the_body_of_a_200_is_an_error() {
    let (store, _requests) =
        serve("HTTP/1.1 200 OK\r\n\r\n<Error><Code>InternalError</Code><Message>We erred.</Message></Error>").await;
    let parts = [CompletedPart { number: 1, etag: ETag::new("e"), checksum: None }];
    let condition = &WriteCondition::Any;
    let etag = ETag::new("e");
    let source = CopySource { bucket: "a", key: "k", version_id: None, if_match: &etag };
    let copy = CopyRequest { source, bucket: "b", key: "k", attributes: &Attributes::default(), condition };
    for result in [
        store.complete_upload(CompleteUpload { upload: UPLOAD, parts: &parts, condition }).await,
        store.copy(copy).await,
        store.copy_part(CopyPart { source, upload: UPLOAD, number: 1, offset: 0, len: 1 }).await,
    ] {
        let error = result.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "InternalError"), "{error}");
    }
}

#[tokio::test]
async fn each_answer_is_heard_by_who_asked_and_only_a_wrong_clock_is_tried_again_here() {
    let skewed = "HTTP/1.1 403 Forbidden\r\ndate: Wed, 01 Jan 2020 00:00:00 GMT\r\n\r\n\
        <Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>";
    for (answer, class, requests) in [
        ("HTTP/1.1 503 Slow Down\r\n\r\n<Error><Code>SlowDown</Code></Error>", ErrorClass::Throttled, 1),
        ("HTTP/1.1 500 Oh\r\n\r\n<Error><Code>InternalError</Code></Error>", ErrorClass::Transient, 1),
        ("HTTP/1.1 400 Bad\r\n\r\n<Error><Code>RequestTimeout</Code></Error>", ErrorClass::Transient, 1),
        ("HTTP/1.1 403 No\r\n\r\n<Error><Code>AccessDenied</Code></Error>", ErrorClass::AccessDenied, 1),
        // One of our own, and two of the SDK.
        (skewed, ErrorClass::Service(ServiceFault::ClockSkewed), if REQUESTS == Requests::Auto { 3 } else { 2 }),
    ] {
        let (store, mut seen) = serve(answer).await;
        let request = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
        let error = store.list(request).await.unwrap_err();
        assert_eq!((error.class, sent(&mut seen).len()), (class, requests), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let (store, _requests) = serve("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 10\r\n\r\nshort").await;
    let chunks: Vec<_> = store.get(WHOLE).await.unwrap().body.collect().await;
    let error = chunks.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "BodyBroken"));
}

#[tokio::test]
async fn another_span_than_the_one_asked_for_is_an_error() {
    let range = |offset, len| Span::Range { offset, len };
    let whole = "HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 3\r\n\r\nabc";
    let first = "HTTP/1.1 206 Partial\r\netag: \"e\"\r\ncontent-range: bytes 0-2/9\r\ncontent-length: 3\r\n\r\nabc";
    let second = "HTTP/1.1 206 Partial\r\netag: \"e\"\r\ncontent-range: bytes 3-5/9\r\ncontent-length: 3\r\n\r\nabc";
    let wrong = "HTTP/1.1 206 Partial\r\netag: \"e\"\r\ncontent-range: bytes 0-3/9\r\ncontent-length: 3\r\n\r\nabc";
    for (answer, span, expected) in [
        (whole, Span::Whole, Some((3, 3))),
        (whole, range(0, 3), Some((3, 3))),
        (whole, range(0, 2), None),
        (whole, range(1, 2), None),
        (whole, Span::Part(1), Some((3, 3))),
        (whole, Span::Part(2), None),
        (first, Span::Whole, None),
        (first, range(0, 3), Some((3, 9))),
        (first, range(0, 2), None),
        (first, range(1, 3), None),
        (first, Span::Part(1), Some((3, 9))),
        (first, Span::Part(2), None),
        (second, range(3, 100), Some((3, 9))),
        (second, Span::Part(1), None),
        (second, Span::Part(2), Some((3, 9))),
        (wrong, range(0, 3), None),
    ] {
        let (store, _requests) = serve(answer).await;
        match (store.get(GetRequest { span, ..WHOLE }).await, expected) {
            (Ok(got), Some(expected)) => assert_eq!((got.len, got.head.size), expected, "{span:?} {answer}"),
            (Err(error), None) => assert_eq!(error.code, "InvalidResponse"),
            (got, expected) => panic!("{span:?} {answer}: {:?}, not {expected:?}", got.map(|got| got.len)),
        }
    }
}

#[tokio::test]
async fn only_whole_objects_are_asked_for_their_checksum() {
    let (store, mut requests) = serve("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n").await;
    store.get(WHOLE).await.unwrap();
    store.get(GetRequest { span: Span::Part(1), ..WHOLE }).await.unwrap();
    store.get(GetRequest { span: Span::Range { offset: 0, len: 1 }, ..WHOLE }).await.unwrap();
    store.head(HeadRequest::new("b", "k")).await.unwrap();
    store.head(HeadRequest { checksum: true, version_id: Some("v"), ..HeadRequest::new("b", "k") }).await.unwrap();
    let sent = sent(&mut requests);
    let modes: Vec<_> = sent.iter().map(|request| request.header("x-amz-checksum-mode")).collect();
    assert_eq!(modes, [Some("ENABLED"), None, None, None, Some("ENABLED")]);
    assert!(sent[1].line().contains("partNumber=1"), "{}", sent[1].line());
    assert!(sent[4].line().contains("versionId=v"), "{}", sent[4].line());
}

const KNOWN: &str = "HTTP/1.1 200 OK\r\netag: \"e-2\"\r\ncontent-length: 9\r\nx-amz-version-id: v1\r\n\
    last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nx-amz-tagging-count: 2\r\nx-amz-mp-parts-count: 2\r\n\
    x-amz-missing-meta: 1\r\nx-amz-meta-a: b\r\nx-amz-storage-class: STANDARD_IA\r\n\
    x-amz-object-lock-mode: GOVERNANCE\r\nx-amz-object-lock-retain-until-date: 2027-01-01T00:00:00Z\r\n\
    x-amz-object-lock-legal-hold: ON\r\nx-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n\
    x-amz-checksum-type: FULL_OBJECT\r\n\r\n123456789";

#[tokio::test]
async fn all_that_is_said_of_an_object_is_known() {
    let (store, _requests) = serve(KNOWN).await;
    let got = store.get(WHOLE).await.unwrap();
    let head = store.head(HeadRequest::new("b", "k")).await.unwrap().unwrap();
    assert_eq!(got.head, head);
    assert_eq!((head.size, head.modified, head.etag_is_md5), (9, 1_767_225_600_000, true));
    assert_eq!((head.tag_count, head.parts, head.checksum), (2, Some(2), Some(CHECK)));
    assert_eq!(head.version_id.as_deref(), Some("v1"));
    let attributes = head.attributes;
    assert_eq!((attributes.missing_metadata, attributes.metadata["a"].as_str()), (1, "b"));
    assert_eq!(attributes.storage_class.as_deref(), Some("STANDARD_IA"));
    let retention = Retention { mode: RetentionMode::Governance, until: 1_798_761_600_000 };
    assert_eq!(attributes.lock, ObjectLock { retention: Some(retention), legal_hold: true });
}

#[tokio::test]
async fn a_body_is_not_checked_against_checksums_that_come_with_it() {
    let answer = "HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 3\r\nx-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n\
                  x-amz-checksum-sha256: AAAA\r\nx-amz-server-side-encryption: aws:kms\r\n\r\nabc";
    let (store, _requests) = serve(answer).await;
    let got = store.get(WHOLE).await.unwrap();
    assert_eq!((got.head.checksum, got.head.etag_is_md5), (None, false));
    let body: Vec<_> = got.body.map(Result::unwrap).collect().await;
    assert_eq!(body.concat(), b"abc");
}

#[tokio::test]
async fn a_listing_never_ends_by_mistake() {
    let request = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    let (store, _requests) =
        serve("HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>").await;
    assert_eq!(store.list(request).await.unwrap_err().code, "InvalidResponse");
    let (store, _requests) = serve("HTTP/1.1 200 OK\r\n\r\n<ListBucketResult></ListBucketResult>").await;
    assert_eq!(store.list(request).await.unwrap_err().class, ErrorClass::NoAnswer);
    let missing = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<Error><Code>NoSuchBucket</Code></Error>";
    let (store, _requests) = serve(missing).await;
    assert_eq!(store.list(request).await.unwrap_err().class, ErrorClass::Service(ServiceFault::NotFound));
}

/// Documents that the SDK takes for shorter ones where they are cut off.
#[tokio::test]
async fn a_document_that_is_cut_off_is_no_answer() {
    let entry = "<Contents><Key>a</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>";
    let version = "<Version><Key>a</Key><IsLatest>true</IsLatest><Size>1</Size></Version>";
    let part = "<Part><PartNumber>1</PartNumber><Size>1</Size><ETag>e</ETag></Part>";
    let upload = "<Upload><Key>k</Key><UploadId>u</UploadId><Initiated>2026-01-01T00:00:00Z</Initiated></Upload>";
    let rest = "<IsTruncated>false</IsTruncated>";
    let list = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    for (name, entry) in [
        ("ListBucketResult", entry),
        ("ListVersionsResult", version),
        ("ListPartsResult", part),
        ("ListMultipartUploadsResult", upload),
        ("Tagging", "<TagSet><Tag><Key>a</Key><Value>b</Value></Tag>"),
        ("\u{feff}<Tagging", "<TagSet><Tag><Key>a</Key><Value>b</Value></Tag>"),
        ("NotificationConfiguration", "<QueueConfiguration><Queue>q</Queue><Event>e</Event></QueueConfiguration>"),
        ("VersioningConfiguration", "<MfaDelete>Disabled</MfaDelete>"),
    ] {
        let cut = format!("HTTP/1.1 200 OK\r\nx-amz-request-id: R\r\nconnection: close\r\n\r\n<{name}>{rest}{entry}");
        let cut = cut.replace("<\u{feff}<", "\u{feff}<");
        let (store, _requests) = serve(cut.leak()).await;
        let result = match name.trim_start_matches("\u{feff}<") {
            "ListBucketResult" => store.list(list).await.map(drop),
            "ListVersionsResult" => store.list_versions(list).await.map(drop),
            "ListPartsResult" => store.list_parts(UPLOAD, None).await.map(drop),
            "ListMultipartUploadsResult" => store.list_uploads("b", "k").await.map(drop),
            "Tagging" => store.tags("b", "k", None).await.map(drop),
            "NotificationConfiguration" => store.notifications("b").await.map(drop),
            _ => store.keeps_versions("b").await.map(drop),
        };
        let error = result.expect_err(name);
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::NoAnswer, "InvalidResponse"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_page_is_read_in_full_or_not_at_all() {
    let list = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    let page = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let short = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 200\r\n\r\n{page}");
    let (store, _requests) = serve(short.leak()).await;
    assert_eq!(store.list(list).await.unwrap_err().class, ErrorClass::NoAnswer, "its length is announced");
    let slow = "HTTP/1.1 200 OK\r\nx-amz-request-id: R1\r\nconnection: close\r\n\r\n \n<?xml version=\"1.0\"?>\
                <Error><Code>SlowDown</Code><Message>m</Message></Error>";
    let (store, _requests) = serve(slow).await;
    let error = store.list(list).await.unwrap_err();
    assert_eq!((error.class, error.request_id.as_deref()), (ErrorClass::Throttled, Some("R1")), "it was on its way");
}

#[tokio::test]
async fn keys_of_a_service_that_does_not_encode_them_are_left_alone() {
    let entry =
        "<Contents><Key>a+b%20</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.5Z</LastModified></Contents>";
    let answer =
        format!("HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><IsTruncated>false</IsTruncated>{entry}</ListBucketResult>");
    let (store, _requests) = serve(answer.leak()).await;
    let request = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    let page = store.list(request).await.unwrap();
    assert_eq!((page.objects[0].key.as_str(), page.objects[0].modified), ("a+b%20", 1_767_225_600_500));
}

#[tokio::test]
async fn a_refused_head_is_asked_for_its_reason() {
    let answer = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n\
                  <Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    let (store, mut requests) = serve(answer).await;
    let error = store.head(HeadRequest::new("b", "k")).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Service(ServiceFault::CredentialsExpired));
    assert_eq!(error.operation, "head object");
    let methods: Vec<String> = sent(&mut requests).iter().map(|sent| sent.head.chars().take(4).collect()).collect();
    assert_eq!(methods, ["HEAD", "GET "]);
}
