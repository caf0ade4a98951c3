//! Tests of responses sent by something in front of a service: they tell nothing about an object, an upload or a
//! bucket.

use super::*;
use migration_core::etag::ETag;
use std::pin::Pin;

type Answer = Pin<Box<dyn Future<Output = Result<(), ServiceError>>>>;

/// One request of each kind.
fn requests(store: &S3Store) -> Vec<(&'static str, Answer)> {
    macro_rules! request {
        ($name:literal, |$store:ident| $request:expr) => {{
            let $store = store.clone();
            let answer: Answer = Box::pin(async move { $request.await.map(drop) });
            ($name, answer)
        }};
    }
    let list = ListRequest { bucket: "b", prefix: "", start_after: None, continuation: None, max_keys: None };
    vec![
        request!("list", |store| store.list(list)),
        request!("list versions", |store| store.list_versions(list)),
        request!("get", |store| store.get(WHOLE)),
        request!("get a byte", |store| store.get(GetRequest { span: Span::Range { offset: 0, len: 1 }, ..WHOLE })),
        request!("tags", |store| store.tags("b", "k", None)),
        request!("put", |store| put(&store, WriteCondition::Absent)),
        request!("put over", |store| put(&store, WriteCondition::Matches(ETag::new("e")))),
        request!("copy", |store| copy(&store)),
        request!("create", |store| create(&store)),
        request!("part", |store| store.put_part(part(held("hi"), false))),
        request!("streamed part", |store| store.put_part(part(streamed_hi(), true))),
        request!("copy part", |store| copy_part(&store)),
        request!("list parts", |store| store.list_parts(UPLOAD, None)),
        request!("complete", |store| complete(&store)),
        request!("abort", |store| store.abort_upload(UPLOAD)),
        request!("list uploads", |store| store.list_uploads("b", "k")),
        request!("delete", |store| store.delete(DeleteRequest { bucket: "b", key: "k", if_match: None })),
    ]
}

async fn put(store: &S3Store, condition: WriteCondition) -> Result<Written, ServiceError> {
    let (attributes, tags) = (Attributes::default(), Vec::new());
    let body = Bytes::from_static(b"hi");
    let put = PutRequest {
        bucket: "b",
        key: "k",
        body,
        md5: [0; 16],
        attributes: &attributes,
        tags: &tags,
        condition: &condition,
    };
    store.put(put).await
}

async fn create(store: &S3Store) -> Result<String, ServiceError> {
    let (attributes, tags) = (Attributes::default(), Vec::new());
    store
        .create_upload(CreateUpload { bucket: "b", key: "k", attributes: &attributes, tags: &tags, checksum: false })
        .await
}

async fn copy(store: &S3Store) -> Result<Written, ServiceError> {
    let (attributes, etag) = (Attributes::default(), ETag::new("s"));
    let source = CopySource { bucket: "a", key: "k", version_id: None, if_match: &etag };
    let condition = &WriteCondition::Any;
    store.copy(CopyRequest { source, bucket: "b", key: "k", attributes: &attributes, condition }).await
}

async fn copy_part(store: &S3Store) -> Result<Written, ServiceError> {
    let etag = ETag::new("s");
    let source = CopySource { bucket: "a", key: "k", version_id: None, if_match: &etag };
    store.copy_part(CopyPart { source, upload: UPLOAD, number: 1, offset: 0, len: 1 }).await
}

async fn complete(store: &S3Store) -> Result<Written, ServiceError> {
    let parts = [CompletedPart { number: 1, etag: ETag::new("e"), checksum: None }];
    store.complete_upload(CompleteUpload { upload: UPLOAD, parts: &parts, condition: &WriteCondition::Absent }).await
}

fn streamed_hi() -> Body {
    Body::Streamed { stream: Box::pin(futures::stream::iter([Ok(Bytes::from_static(b"hi"))])), len: 2 }
}

const TEXT: &str =
    "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n404 page not found\n";
const PAGE: &str = "HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\nserver: nginx\r\nconnection: close\r\n\r\n\
                    <html><head><title>404 Not Found</title></head><body><hr></body></html>";
const EMPTY: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const JSON: &str = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n{\"code\":\"NoSuchKey\"}";
const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n<html>access denied</html>";
const FAILED: &str = "HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n";
const CONFLICT: &str = "HTTP/1.1 409 Conflict\r\nconnection: close\r\n\r\nconflict";
const MOVED: &str = "HTTP/1.1 301 Moved\r\nlocation: https://login\r\nconnection: close\r\n\r\n<html></html>";
const WELCOME: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 20\r\n\r\n<html>log in</html>\n";
const NOTHING: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn what_is_not_the_services_own_is_no_answer_to_any_request() {
    for answer in [TEXT, PAGE, EMPTY, JSON, DENIED, FAILED, CONFLICT, MOVED, WELCOME, NOTHING] {
        let (store, _requests) = serve(answer).await;
        for (request, answered) in requests(&store) {
            let error = answered.await.expect_err(request);
            assert_eq!(error.class, ErrorClass::NoAnswer, "{request}: {error} of\n{answer}");
        }
    }
}

#[tokio::test]
async fn what_answered_in_place_of_the_service_is_named() {
    let (store, _requests) = serve(PAGE).await;
    let error = store.get(WHOLE).await.err().unwrap();
    let expected = "failed to get object: Http404: the response is not the service's own: HTTP status 404 and 71 bytes, \
                    content-type: text/html, server: nginx";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn where_a_bucket_is_and_what_the_time_is_there_is_told() {
    let redirected = "HTTP/1.1 301 Moved Permanently\r\nconnection: close\r\nx-amz-bucket-region: cn-north-1\r\n\
                      date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n<Error><Code>PermanentRedirect</Code><Message>use the \
                      endpoint</Message></Error>";
    let (store, _requests) = serve(redirected).await;
    assert_eq!(store.clock_offset(), None);
    let error = store.get(WHOLE).await.err().unwrap();
    assert_eq!(error.class, ErrorClass::Service(ServiceFault::WrongRegion));
    assert_eq!(error.message, "use the endpoint (the bucket is in cn-north-1)");
    assert!(store.clock_offset().is_some_and(|offset| offset < 0), "{:?}", store.clock_offset());
}

/// HEAD responses have no body, so only the status counts.
#[tokio::test]
async fn the_statuses_of_a_head_keep_their_meaning() {
    use ErrorClass::{PreconditionFailed, Service, Transient};
    for (status, expected) in [
        ("301 Moved Permanently", Service(ServiceFault::WrongRegion)),
        ("304 Not Modified", Transient),
        ("412 Precondition Failed", PreconditionFailed),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let (store, _requests) = serve(answer.leak()).await;
        assert_eq!(store.head(HeadRequest::new("b", "k")).await.unwrap_err().class, expected, "{status}");
    }
    for (status, code, expected) in [
        ("403 Forbidden", "AccessDenied", ErrorClass::AccessDenied),
        ("405 Method Not Allowed", "MethodNotAllowed", ErrorClass::Refused),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n<Error><Code>{code}</Code></Error>");
        let (store, _requests) = serve(answer.leak()).await;
        assert_eq!(store.head(HeadRequest::new("b", "k")).await.unwrap_err().class, expected, "{status}");
    }
}

#[tokio::test]
async fn a_head_that_finds_nothing_proves_nothing_and_a_get_does() {
    let gone = "HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n<Error><Code>NoSuchKey</Code></Error>";
    for (answer, expected) in
        [(gone, ErrorClass::NoSuchKey), (EMPTY, ErrorClass::NoAnswer), (TEXT, ErrorClass::NoAnswer)]
    {
        let (store, _requests) = serve(answer).await;
        assert_eq!(store.head(HeadRequest::new("b", "k")).await, Ok(None));
        let byte = GetRequest { span: Span::Range { offset: 0, len: 1 }, ..WHOLE };
        assert_eq!(store.get(byte).await.err().unwrap().class, expected, "{answer}");
    }
}
