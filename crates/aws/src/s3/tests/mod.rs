//! Tests of requests on the wire, and of responses that a well-behaved service never sends, against a scripted server.

use super::super::*;
use super::REQUESTS;
use bytes::Bytes;
use futures::StreamExt;
use migration_core::error::{ErrorClass, ServiceFault};
use migration_core::etag::ETag;
use migration_core::ports::{Attributes, Body, Checksum, CompletedPart, CopySource, Span, WriteCondition};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::credentials::StaticKeys;

mod answers;
mod copies;
mod proxies;
mod streams;
mod versions;
mod ways;

/// A received request.
#[derive(Debug)]
struct Request {
    /// Request line and headers.
    head: String,
    body: Vec<u8>,
    /// True if the body has the length that the head announces.
    whole: bool,
}

impl Request {
    /// Returns the value of a header.
    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &'_ &str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }

    fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    #[track_caller]
    fn assert_headers(&self, expected: &[(&str, Option<&str>)]) {
        for (name, value) in expected {
            assert_eq!(self.header(name), *value, "{name} of\n{}", self.head);
        }
    }
}

/// Returns a store that only knows an address.
async fn store_at(listener: &TcpListener, settings: &WriteSettings) -> S3Store {
    store_by(REQUESTS, listener, settings, &["b"]).await
}

/// Returns a store that sends requests so, and that has been answered once about each of these buckets.
async fn store_by(requests: Requests, listener: &TcpListener, settings: &WriteSettings, known: &[&str]) -> S3Store {
    let keys = StaticKeys {
        access_key_id: "AKIA".into(),
        secret_access_key: "s3cr3t".into(),
        session_token: Some("t".into()),
    };
    let endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    let access = Access { region: "us-east-1".into(), endpoint, credentials: CredentialSource::Static(keys) };
    let reach = Reach { requests, ..Reach::default() };
    let store = S3Store::through(&access, &reach, true, settings, Service::Destination).await;
    if requests == Requests::Auto {
        for bucket in known {
            let answered = async { exchange(listener.accept().await.unwrap().0, NOT_FOUND).await };
            assert_eq!(tokio::join!(store.head(HeadRequest::new(bucket, "k")), answered).0.unwrap(), None);
            assert!(store.direct.sender(bucket).is_some());
        }
    }
    store
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Answers every request with the same text and closes the connection. Sends the requests to the returned receiver.
async fn serve(answer: &'static str) -> (S3Store, mpsc::UnboundedReceiver<Request>) {
    serve_with(answer, &WriteSettings::default()).await
}

async fn serve_with(answer: &'static str, settings: &WriteSettings) -> (S3Store, mpsc::UnboundedReceiver<Request>) {
    serve_by(REQUESTS, answer, settings).await
}

async fn serve_by(
    requests: Requests,
    answer: &'static str,
    settings: &WriteSettings,
) -> (S3Store, mpsc::UnboundedReceiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = store_by(requests, &listener, settings, &["b"]).await;
    let (heads, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if heads.send(exchange(stream, answer).await).is_err() {
                return;
            }
        }
    });
    (store, requests)
}

async fn exchange(mut stream: TcpStream, answer: &str) -> Request {
    let request = receive(&mut stream).await;
    if request.whole {
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
    request
}

/// Reads a request, or as much of it as comes before the connection closes.
async fn receive(stream: &mut TcpStream) -> Request {
    let mut received = Vec::new();
    loop {
        let open = stream.read_buf(&mut received).await.is_ok_and(|count| count > 0);
        let end = received.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            if open {
                continue;
            }
            return Request { head: String::new(), body: received, whole: false };
        };
        let head = String::from_utf8(received[..end].to_vec()).unwrap();
        let request = Request { head, body: received[end + 4..].to_vec(), whole: false };
        let length: usize = request.header("content-length").unwrap_or("0").parse().unwrap();
        if request.body.len() >= length || !open {
            return Request { whole: request.body.len() == length, ..request };
        }
    }
}

fn sent(requests: &mut mpsc::UnboundedReceiver<Request>) -> Vec<Request> {
    std::iter::from_fn(|| requests.try_recv().ok()).collect()
}

const UPLOAD: UploadRef<'_> = UploadRef { bucket: "b", key: "k", upload_id: "u" };
const WHOLE: GetRequest<'_> = GetRequest { bucket: "b", key: "k", span: Span::Whole, if_match: None, version_id: None };

const WRITTEN: &str = "HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n";
/// Checksum of "123456789"; see `encoding`.
const CHECK: Checksum = Checksum(0xae8b_1486_0a79_9888);

fn held(text: &'static str) -> Body {
    Body::Held { bytes: Bytes::from_static(text.as_bytes()), md5: [0; 16] }
}

fn part(body: Body, checksum: bool) -> PutPart<'static> {
    PutPart { upload: UPLOAD, number: 1, body, checksum }
}

#[tokio::test]
async fn a_body_goes_with_a_signed_md5_and_is_not_hashed_again() {
    let (store, mut requests) = serve(WRITTEN).await;
    let attributes = Attributes { expires: Some("0".into()), ..Attributes::default() };
    let put = PutRequest {
        bucket: "b",
        key: "a b",
        body: Bytes::from_static(b"hi"),
        md5: [0; 16],
        attributes: &attributes,
        tags: &vec![("t".into(), "v w".into())],
        condition: &WriteCondition::Absent,
    };
    store.put(put).await.unwrap();
    store.put_part(part(held("hi"), false)).await.unwrap();
    let sent = sent(&mut requests);
    for request in &sent {
        request.assert_headers(&[
            ("content-md5", Some("AAAAAAAAAAAAAAAAAAAAAA==")),
            ("x-amz-content-sha256", Some("UNSIGNED-PAYLOAD")),
        ]);
        let signed = request.header("authorization").unwrap();
        assert!(signed.contains("content-md5;"), "{signed}");
        assert!(!request.head.contains("checksum") && !request.head.contains("aws-chunked"), "{}", request.head);
    }
    assert_eq!(sent[0].line(), "PUT /b/a%20b?x-id=PutObject HTTP/1.1");
    sent[0].assert_headers(&[
        ("expires", Some("0")),
        ("if-none-match", Some("*")),
        ("x-amz-tagging", Some("t=v%20w")),
        ("content-type", None),
        ("x-amz-acl", None),
        ("x-amz-server-side-encryption", None),
        ("x-amz-object-lock-mode", None),
    ]);
}

#[tokio::test]
async fn a_held_part_brings_its_checksum_in_a_header() {
    let answer =
        "HTTP/1.1 200 OK\r\netag: \"e\"\r\nx-amz-checksum-crc64nvme: rosUhgp5mIg=\r\ncontent-length: 0\r\n\r\n";
    let (store, mut requests) = serve(answer).await;
    let written = store.put_part(part(held("123456789"), true)).await.unwrap();
    assert_eq!(written.checksum, Some(CHECK));
    sent(&mut requests)[0].assert_headers(&[
        ("x-amz-checksum-crc64nvme", Some("rosUhgp5mIg=")),
        ("content-md5", Some("AAAAAAAAAAAAAAAAAAAAAA==")),
        ("x-amz-content-sha256", Some("UNSIGNED-PAYLOAD")),
        ("content-encoding", None),
    ]);
}

#[tokio::test]
async fn an_upload_says_what_its_checksums_are_of() {
    let answer =
        "HTTP/1.1 200 OK\r\n\r\n<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
    let (store, mut requests) = serve(answer).await;
    let attributes = Attributes::default();
    for checksum in [false, true] {
        let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &Vec::new(), checksum };
        assert_eq!(store.create_upload(create).await.unwrap(), "u");
    }
    let sent = sent(&mut requests);
    sent[0].assert_headers(&[("x-amz-checksum-algorithm", None), ("x-amz-checksum-type", None)]);
    sent[1].assert_headers(&[
        ("x-amz-checksum-algorithm", Some("CRC64NVME")),
        ("x-amz-checksum-type", Some("FULL_OBJECT")),
    ]);
}

#[tokio::test]
async fn completion_names_the_checksums_of_the_parts() {
    let answer = "HTTP/1.1 200 OK\r\nx-amz-version-id: v1\r\n\r\n<CompleteMultipartUploadResult><ETag>\"e-1\"</ETag>\
                  <ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>\
                  </CompleteMultipartUploadResult>";
    let (store, mut requests) = serve(answer).await;
    for checksum in [None, Some(CHECK)] {
        let parts = [CompletedPart { number: 1, etag: ETag::new("e"), checksum }];
        let complete = CompleteUpload { upload: UPLOAD, parts: &parts, condition: &WriteCondition::Absent };
        let written = store.complete_upload(complete).await.unwrap();
        assert_eq!((written.checksum, written.version_id.as_deref()), (Some(CHECK), Some("v1")));
    }
    let sent = sent(&mut requests);
    let body = |request: &Request| String::from_utf8(request.body.clone()).unwrap();
    assert!(!body(&sent[0]).contains("Checksum"), "{}", body(&sent[0]));
    assert!(body(&sent[1]).contains("<ChecksumCRC64NVME>rosUhgp5mIg=</ChecksumCRC64NVME>"), "{}", body(&sent[1]));
    sent[0].assert_headers(&[("x-amz-checksum-type", None), ("if-none-match", Some("*"))]);
    sent[1].assert_headers(&[("x-amz-checksum-type", Some("FULL_OBJECT"))]);
}

#[tokio::test]
async fn throttling_is_told_at_once() {
    let answer = "HTTP/1.1 503 Slow Down\r\nx-amz-request-id: R1\r\n\r\n\
                  <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let (store, mut requests) = serve(answer).await;
    let attributes = Attributes::default();
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &Vec::new(), checksum: false };
    let error = store.create_upload(create).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Throttled, "SlowDown"));
    assert_eq!(sent(&mut requests).len(), 1);
    let error = store.head(HeadRequest::new("b", "k")).await.unwrap_err();
    assert_eq!((error.class, error.request_id.as_deref()), (ErrorClass::Throttled, Some("R1")));
    assert_eq!(sent(&mut requests).len(), 1);
}
