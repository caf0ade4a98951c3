//! Both ways of sending a request send the same.

use super::*;
use futures::stream;
use migration_core::config::Encryption;
use migration_core::ports::{ObjectLock, Retention, RetentionMode};

/// Headers that differ from one request of the SDK to the next, or that only it sends.
const OF_ITS_OWN: &[&str] = &[
    "authorization",
    "x-amz-date",
    "host",
    "user-agent",
    "x-amz-user-agent",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
];

const RICH: &str = "HTTP/1.1 200 OK\r\netag: \"e\"\r\nx-amz-request-id: R\r\nx-amz-version-id: v1\r\n\
                    x-amz-checksum-crc64nvme: rosUhgp5mIg=\r\nx-amz-checksum-type: FULL_OBJECT\r\n\
                    x-amz-server-side-encryption: aws:kms\r\ncontent-type: text/plain\r\nx-amz-meta-a: 1\r\n\
                    content-length: 0\r\n\r\n";

/// Method, path, sorted query, sorted headers and body of a request.
type Comparable = (String, Vec<String>, Vec<String>, Vec<u8>);

fn comparable(request: &Request) -> Comparable {
    let line = request.line().strip_suffix(" HTTP/1.1").unwrap();
    let (path, query) = line.split_once('?').unwrap_or((line, ""));
    let mut query: Vec<_> = query.split('&').map(ToOwned::to_owned).collect();
    query.sort();
    let headers = request.head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let headers = headers.filter(|(name, _)| !OF_ITS_OWN.contains(&name.as_str()));
    let mut headers: Vec<_> = headers.map(|(name, value)| format!("{name}: {value}")).collect();
    headers.sort();
    (path.to_owned(), query, headers, request.body.clone())
}

fn attributes() -> Attributes {
    let text = |text: &str| Some(text.to_owned());
    Attributes {
        content_type: text("text/plain; charset=utf-8"),
        content_encoding: text("gzip"),
        content_language: text("de"),
        content_disposition: text("attachment"),
        cache_control: text("no-store"),
        expires: text("0"),
        website_redirect: text("/other"),
        metadata: [("a".into(), "1  2".into()), ("umlaut".into(), "ä".into())].into(),
        missing_metadata: 0,
        storage_class: text("STANDARD_IA"),
        lock: ObjectLock {
            retention: Some(Retention { mode: RetentionMode::Governance, until: 1_767_225_600_000 }),
            legal_hold: true,
        },
    }
}

fn settings() -> WriteSettings {
    WriteSettings {
        storage_class: None,
        encryption: Some(Encryption::Kms { kms_key_id: Some("key-1".into()) }),
        acl: Some("bucket-owner-full-control".into()),
    }
}

/// Sends each kind of request once, and returns what was answered.
async fn send_each(store: &S3Store) -> Vec<String> {
    let key = "a b/ü+%/../x";
    let etag = ETag::new("e");
    let (rich, tags) = (attributes(), vec![("t".to_owned(), "v w".to_owned())]);
    let body = || Bytes::from_static(b"123456789");
    let streamed = || Body::Streamed { stream: Box::pin(stream::iter([Ok(body())])), len: 9 };
    let held = || Body::Held { bytes: body(), md5: [7; 16] };
    let upload = UploadRef { bucket: "b", key, upload_id: "u/+=" };
    let mut told = Vec::new();
    for (span, if_match, version_id) in [
        (Span::Whole, None, None),
        (Span::Whole, Some(&etag), Some("v+1")),
        (Span::Range { offset: 5, len: 10 }, Some(&etag), None),
        (Span::Part(1), None, None),
    ] {
        let got = store.get(GetRequest { bucket: "b", key, span, if_match, version_id }).await;
        told.push(format!("{:?}", got.map(|got| (got.head, got.len))));
    }
    for (version_id, checksum) in [(None, false), (Some("v+1"), true)] {
        told.push(format!("{:?}", store.head(HeadRequest { bucket: "b", key, version_id, checksum }).await));
    }
    for (attributes, tags, condition) in [
        (&rich, &tags, WriteCondition::Any),
        (&Attributes::default(), &Vec::new(), WriteCondition::Absent),
        (&Attributes::default(), &Vec::new(), WriteCondition::Matches(ETag::new("old"))),
    ] {
        let condition = &condition;
        let put = PutRequest { bucket: "b", key, body: body(), md5: [7; 16], attributes, tags, condition };
        told.push(format!("{:?}", store.put(put).await));
    }
    for (body, checksum) in [(held(), false), (held(), true), (streamed(), false), (streamed(), true)] {
        told.push(format!("{:?}", store.put_part(PutPart { upload, number: 7, body, checksum }).await));
    }
    let first = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    let below = ListRequest { prefix: "a b/ü", start_after: Some("a b/ü+&="), max_keys: Some(7), ..first };
    for list in [first, below, ListRequest { continuation: Some("t/+="), ..below }] {
        told.push(format!("{:?}", store.list(list).await));
    }
    for list in [first, below, ListRequest { continuation: Some("v+1\na b/ü"), ..below }] {
        told.push(format!("{:?}", store.list_versions(list).await));
    }
    told
}

#[tokio::test]
async fn a_request_is_the_same_whoever_sends_it() {
    let mut found = Vec::new();
    for requests in [Requests::Sdk, Requests::Auto] {
        let (store, mut received) = serve_by(requests, RICH, &settings()).await;
        let told = send_each(&store).await;
        let sent: Vec<_> = sent(&mut received).iter().map(comparable).collect();
        assert_eq!(sent.len(), told.len());
        found.push((sent, told));
    }
    let [by_sdk, direct] = found.try_into().unwrap();
    for (of_sdk, of_direct) in by_sdk.0.iter().zip(&direct.0) {
        assert_eq!(of_direct, of_sdk);
    }
    assert_eq!(direct.1, by_sdk.1);
}

#[tokio::test]
async fn a_bucket_is_known_from_its_listing_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = store_by(Requests::Auto, &listener, &WriteSettings::default(), &[]).await;
    let page = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\
                <ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let first = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    for by_sdk in [true, false] {
        let answered = async { exchange(listener.accept().await.unwrap().0, page).await };
        let (listed, request) = tokio::join!(store.list(first), answered);
        assert!(listed.unwrap().objects.is_empty());
        // Policies tell an empty prefix from none.
        assert!(request.line().contains("prefix="), "{}", request.line());
        assert_eq!(request.header("amz-sdk-invocation-id").is_some(), by_sdk);
    }
}

#[tokio::test]
async fn signatures_name_the_scope_that_the_sdk_had() {
    let (store, mut received) = serve_by(Requests::Auto, RICH, &settings()).await;
    store.head(HeadRequest::new("b", "k")).await.unwrap();
    let sent = sent(&mut received);
    let signed = sent[0].header("authorization").unwrap();
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIA/"), "{signed}");
    assert!(signed.contains("/us-east-1/s3/aws4_request, SignedHeaders=host;"), "{signed}");
    sent[0].assert_headers(&[("x-amz-security-token", Some("t")), ("amz-sdk-invocation-id", None)]);
}

#[tokio::test]
async fn a_bucket_is_left_to_the_sdk_until_it_has_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = store_by(Requests::Auto, &listener, &WriteSettings::default(), &[]).await;
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let (failed, ()) = tokio::join!(store.head(HeadRequest::new("b", "k")), hang_up);
    assert_eq!(failed.unwrap_err().class, ErrorClass::NoAnswer);
    assert!(store.direct.sender("b").is_none());
    let answered = async { exchange(listener.accept().await.unwrap().0, NOT_FOUND).await };
    assert_eq!(tokio::join!(store.head(HeadRequest::new("b", "k")), answered).0.unwrap(), None);
    assert!(store.direct.sender("b").is_some() && store.direct.sender("other").is_none());
}

/// A service whose clock is 20 minutes ahead, and which rejects requests that are signed with another time.
const AHEAD: &str = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                     content-length: 115\r\n\r\n<Error><Code>RequestTimeTooSkewed</Code><Message>The difference \
                     between the request time and ours</Message></Error>";

#[tokio::test]
async fn a_wrong_clock_is_left_to_the_sdk_and_heeded_from_then_on() {
    let (store, mut received) = serve_by(Requests::Auto, AHEAD, &WriteSettings::default()).await;
    let error = store.get(WHOLE).await.err().unwrap();
    assert_eq!(error.code, "RequestTimeTooSkewed");
    let sent = sent(&mut received);
    let by_sdk: Vec<_> = sent.iter().map(|request| request.header("amz-sdk-invocation-id").is_some()).collect();
    assert_eq!(by_sdk, [false, true, true], "the SDK sends it again with the service's time");
    assert!(store.get(WHOLE).await.is_err());
    let again = self::sent(&mut received);
    assert!(again[0].header("x-amz-date").unwrap().starts_with("20260101T"), "{}", again[0].head);
}

#[tokio::test]
async fn only_words_about_time_are_asked_again_of_a_service_with_another_clock() {
    let denied = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                  content-length: 40\r\n\r\n<Error><Code>AccessDenied</Code></Error>";
    let (store, mut received) = serve_by(Requests::Auto, denied, &WriteSettings::default()).await;
    assert_eq!(store.get(WHOLE).await.err().unwrap().code, "AccessDenied");
    assert_eq!(sent(&mut received).len(), 1);
}

#[tokio::test]
async fn an_error_that_is_cut_off_says_nothing() {
    let cut = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 100\r\n\r\n<Error><Code>NoSuchUplo";
    let (store, _received) = serve_by(Requests::Auto, cut, &WriteSettings::default()).await;
    assert_eq!(store.get(WHOLE).await.err().unwrap().class, ErrorClass::NoAnswer);
}

#[tokio::test]
async fn a_request_without_key_or_upload_is_not_sent() {
    let (store, mut received) = serve_by(Requests::Auto, RICH, &WriteSettings::default()).await;
    let got = store.get(GetRequest { key: "", ..WHOLE }).await;
    let first = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: Some(""), max_keys: None };
    let listed = store.list(first).await;
    let upload = UploadRef { upload_id: "", ..UPLOAD };
    let put = store.put_part(PutPart { upload, number: 1, body: held("1"), checksum: false }).await;
    for error in [got.err().unwrap(), put.unwrap_err(), listed.unwrap_err()] {
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Refused, "InvalidRequest"));
    }
    assert!(sent(&mut received).is_empty());
}

#[tokio::test]
async fn a_store_that_has_learned_can_be_shown_and_is_freed() {
    let (store, _received) = serve_by(Requests::Auto, RICH, &WriteSettings::default()).await;
    assert!(format!("{store:?}").contains("Route"), "it names the route, and ends");
    let ways = std::sync::Arc::downgrade(store.direct.ways.as_ref().unwrap());
    drop(store);
    assert_eq!(ways.strong_count(), 0);
}
