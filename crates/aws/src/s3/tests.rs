//! What goes over the wire, and what comes of answers that no well-behaved service gives: a server with written answers.

use super::*;
use bytes::Bytes;
use futures::StreamExt;
use migration_core::error::{ErrorClass, SideFault};
use migration_core::ports::Attributes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::credentials::StaticKeys;

/// Answers each request with the same text and closes; gives the head of each request.
async fn serve(answer: &'static str) -> (S3Store, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (heads, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let head = exchange(stream, answer).await;
            if heads.send(head).is_err() {
                return;
            }
        }
    });
    let keys = StaticKeys {
        access_key_id: "AKIA".into(),
        secret_access_key: "s3cr3t".into(),
        session_token: Some("t".into()),
    };
    let credentials = CredentialSource::Static(keys);
    let access = Access { region: "us-east-1".into(), endpoint: Some(endpoint), credentials };
    (S3Store::with_access(&access, true, None, Side::Destination).await, requests)
}

async fn exchange(mut stream: TcpStream, answer: &str) -> String {
    let mut request = Vec::new();
    let head = loop {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0, "the request ended early");
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                break head.to_owned();
            }
        }
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    head
}

fn sent(requests: &mut mpsc::UnboundedReceiver<String>) -> Vec<String> {
    std::iter::from_fn(|| requests.try_recv().ok()).collect()
}

const UPLOAD: UploadRef<'_> = UploadRef { bucket: "b", key: "k", upload_id: "u" };
const WHOLE: GetRequest<'_> = GetRequest { bucket: "b", key: "k", range: None, if_match: None, version_id: None };

#[tokio::test]
async fn a_body_goes_with_a_signed_md5_and_is_not_hashed_again() {
    let (store, mut requests) = serve("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n").await;
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
    store.put_part(PutPart { upload: UPLOAD, number: 1, body: Bytes::from_static(b"hi"), md5: [0; 16] }).await.unwrap();
    let sent = sent(&mut requests);
    for head in &sent {
        for line in ["content-md5: aaaaaaaaaaaaaaaaaaaaaa==", "x-amz-content-sha256: unsigned-payload"] {
            assert!(head.lines().any(|found| found == line), "{line} is not in\n{head}");
        }
        let signed = head.lines().find(|line| line.starts_with("authorization: ")).unwrap();
        assert!(signed.contains("content-md5;"), "{signed}");
        assert!(!head.contains("checksum") && !head.contains("aws-chunked"), "{head}");
    }
    for line in ["put /b/a%20b?x-id=putobject http/1.1", "expires: 0", "if-none-match: *", "x-amz-tagging: t=v%20w"] {
        assert!(sent[0].lines().any(|found| found == line), "{line} is not in\n{}", sent[0]);
    }
    assert!(!sent[0].contains("content-type"), "{}", sent[0]);
}

#[tokio::test]
async fn throttling_is_tried_four_times_and_the_creation_of_an_upload_once() {
    let answer = "HTTP/1.1 503 Slow Down\r\nx-amz-request-id: R1\r\n\r\n\
                  <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let (store, mut requests) = serve(answer).await;
    let attributes = Attributes::default();
    let create = CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &Vec::new() };
    let error = store.create_upload(create).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Throttled, "SlowDown"));
    assert_eq!(sent(&mut requests).len(), 1);
    let error = store.head("b", "k").await.unwrap_err();
    assert_eq!((error.class, error.request_id.as_deref()), (ErrorClass::Throttled, Some("R1")));
    assert_eq!(sent(&mut requests).len(), 4);
}

#[tokio::test]
async fn an_error_in_the_body_of_a_200_is_an_error() {
    let (store, _requests) =
        serve("HTTP/1.1 200 OK\r\n\r\n<Error><Code>InternalError</Code><Message>We erred.</Message></Error>").await;
    let error = store.complete_upload(UPLOAD, &[(1, ETag::new("e"))], &WriteCondition::Any).await.unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "InternalError"));
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let (store, _requests) = serve("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 10\r\n\r\nshort").await;
    let chunks: Vec<_> = store.get(WHOLE).await.unwrap().body.collect().await;
    let error = chunks.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "BodyBroken"));
}

#[tokio::test]
async fn another_range_than_the_one_asked_for_is_an_error() {
    let (store, _requests) = serve("HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 3\r\n\r\nabc").await;
    let class =
        async |range| store.get(GetRequest { range, ..WHOLE }).await.map(|got| got.head.size).map_err(|e| e.class);
    assert_eq!(class(Some((0, 3))).await, Ok(3));
    assert_eq!(class(Some((0, 2))).await, Err(ErrorClass::Transient));
    assert_eq!(class(Some((1, 2))).await, Err(ErrorClass::Transient));
}

#[tokio::test]
async fn a_listing_never_ends_by_mistake() {
    let request = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None };
    let (store, _requests) =
        serve("HTTP/1.1 200 OK\r\n\r\n<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>").await;
    assert_eq!(store.list(request).await.unwrap_err().code, "InvalidResponse");
    let (store, _requests) = serve("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(store.list(request).await.unwrap_err().class, ErrorClass::Side(SideFault::NotFound));
}

#[tokio::test]
async fn keys_of_a_service_that_does_not_encode_them_are_left_alone() {
    let entry =
        "<Contents><Key>a+b%20</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.5Z</LastModified></Contents>";
    let answer = format!("HTTP/1.1 200 OK\r\n\r\n<ListBucketResult>{entry}</ListBucketResult>");
    let (store, _requests) = serve(answer.leak()).await;
    let request = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None };
    let page = store.list(request).await.unwrap();
    assert_eq!((page.objects[0].key.as_str(), page.objects[0].modified), ("a+b%20", 1_767_225_600_500));
}

#[tokio::test]
async fn a_refused_head_is_asked_for_its_reason() {
    let answer = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n\
                  <Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    let (store, mut requests) = serve(answer).await;
    let error = store.head("b", "k").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Side(SideFault::CredentialsExpired));
    assert_eq!(error.operation, "head object");
    let methods: Vec<String> = sent(&mut requests).iter().map(|head| head.chars().take(4).collect()).collect();
    assert_eq!(methods, ["head", "get "]);
}
