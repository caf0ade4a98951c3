//! Tests of streamed parts.

use super::*;
use futures::stream;
use migration_core::ports::ByteStream;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const DENIED: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 40\r\n\r\n<Error><Code>AccessDenied</Code></Error>";

fn broken() -> ServiceError {
    ServiceError::new(ErrorClass::Transient, "read object body", "BodyBroken", "the source is gone")
}

fn streamed(stream: ByteStream, len: u64) -> Body {
    Body::Streamed { stream, len }
}

fn text(chunks: &'static [&'static str]) -> Body {
    let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    streamed(Box::pin(stream::iter(chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))))), len)
}

/// An endless stream, and a receiver that closes when it is dropped.
fn endless() -> (ByteStream, UnboundedReceiver<()>) {
    let (alive, dropped) = mpsc::unbounded_channel::<()>();
    let chunk = Bytes::from(vec![7_u8; 64 << 10]);
    let stream = stream::unfold(alive, move |alive| {
        let chunk = chunk.clone();
        async move { Some((Ok(chunk), alive)) }
    });
    (Box::pin(stream), dropped)
}

#[tokio::test]
async fn a_stream_without_checksum_is_sent_as_it_is() {
    let (store, mut requests) = serve(WRITTEN).await;
    assert_eq!(store.put_part(part(text(&["1234", "56789"]), false)).await.unwrap().checksum, None);
    let request = sent(&mut requests).pop().unwrap();
    assert_eq!(request.body, b"123456789");
    request.assert_headers(&[
        ("content-length", Some("9")),
        ("x-amz-content-sha256", Some("UNSIGNED-PAYLOAD")),
        ("content-encoding", None),
        ("transfer-encoding", None),
        ("x-amz-trailer", None),
        ("x-amz-decoded-content-length", None),
        ("content-md5", None),
        ("expect", None),
    ]);
    assert!(!request.head.to_lowercase().contains("checksum"), "{}", request.head);
}

#[tokio::test]
async fn a_stream_with_checksum_ends_with_it_and_signs_no_chunk() {
    let answer =
        "HTTP/1.1 200 OK\r\netag: \"e\"\r\nx-amz-checksum-crc64nvme: rosUhgp5mIg=\r\ncontent-length: 0\r\n\r\n";
    let (store, mut requests) = serve(answer).await;
    let written = store.put_part(part(text(&["1234", "56789"]), true)).await.unwrap();
    assert_eq!(written.checksum, Some(CHECK));
    let request = sent(&mut requests).pop().unwrap();
    let framed = "9\r\n123456789\r\n0\r\nx-amz-checksum-crc64nvme:rosUhgp5mIg=\r\n\r\n";
    assert_eq!(request.body, framed.as_bytes());
    request.assert_headers(&[
        ("content-length", Some(framed.len().to_string().as_str())),
        ("x-amz-content-sha256", Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER")),
        ("content-encoding", Some("aws-chunked")),
        ("x-amz-trailer", Some("x-amz-checksum-crc64nvme")),
        ("x-amz-decoded-content-length", Some("9")),
        ("x-amz-sdk-checksum-algorithm", Some("CRC64NVME")),
        ("transfer-encoding", None),
        ("x-amz-checksum-crc64nvme", None),
    ]);
    let signed = request.header("authorization").unwrap();
    for header in ["content-encoding", "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer"] {
        assert!(signed.contains(header), "{header} is not in {signed}");
    }
}

#[tokio::test]
async fn a_stream_is_sent_once() {
    let answer = "HTTP/1.1 503 Slow Down\r\n\r\n<Error><Code>SlowDown</Code></Error>";
    let (store, mut requests) = serve(answer).await;
    for checksum in [false, true] {
        let error = store.put_part(part(text(&["1234"]), checksum)).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Throttled, "SlowDown"));
        assert_eq!(sent(&mut requests).len(), 1);
    }
    // Parts from memory are sent once too: the caller retries.
    store.put_part(part(held("1234"), false)).await.unwrap_err();
    assert_eq!(sent(&mut requests).len(), 1);
}

#[tokio::test]
async fn an_error_in_the_stream_breaks_the_request() {
    let (store, mut requests) = serve(WRITTEN).await;
    for checksum in [false, true] {
        for chunks in [
            vec![Ok(Bytes::from_static(b"1234")), Err(broken())],
            vec![Ok(Bytes::from_static(b"123456789")), Err(broken())],
        ] {
            let error = store.put_part(part(streamed(Box::pin(stream::iter(chunks)), 9), checksum)).await.unwrap_err();
            assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "BodyBroken"), "{error}");
            assert!(error.message.contains("the source is gone"), "{error}");
            // The connection may have been closed before anything was sent.
            let request = timeout(PATIENCE, requests.recv()).await.unwrap().unwrap();
            assert!(!request.whole, "{request:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_another_length_breaks_the_request() {
    for len in [3, 5] {
        let (store, _requests) = serve(WRITTEN).await;
        let body: ByteStream = Box::pin(stream::iter([Ok(Bytes::from_static(b"1234"))]));
        let error = store.put_part(part(streamed(body, len), false)).await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "BodyBroken"), "{error}");
    }
}

/// Responds before reading the body, then reads the rest or nothing more.
async fn answer_early(answer: &'static str, then_reads: bool) -> (S3Store, UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = store_at(&listener, &WriteSettings::default()).await;
    let (ended, ends) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let _ = stream.read(&mut buffer).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            while then_reads && stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
            let _ = ended.send(());
        }
    });
    (store, ends)
}

#[tokio::test]
async fn an_answer_before_the_end_stops_the_stream() {
    let (store, mut ends) = answer_early(DENIED, true).await;
    let (stream, mut dropped) = endless();
    let error = timeout(PATIENCE, store.put_part(part(streamed(stream, 1 << 40), true))).await.unwrap().unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::AccessDenied, "AccessDenied"));
    timeout(PATIENCE, dropped.recv()).await.unwrap();
    timeout(PATIENCE, ends.recv()).await.unwrap();
    // A success reported before the whole body was sent is an error.
    let (store, _ends) = answer_early(WRITTEN, true).await;
    let (stream, _dropped) = endless();
    let error = timeout(PATIENCE, store.put_part(part(streamed(stream, 1 << 40), true))).await.unwrap().unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Transient, "InvalidResponse"));
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_no_answer_or_the_one_that_came() {
    let (store, _ends) = answer_early(DENIED, false).await;
    let (stream, mut dropped) = endless();
    let error = timeout(PATIENCE, store.put_part(part(streamed(stream, 1 << 40), false))).await.unwrap().unwrap_err();
    assert!(matches!(error.class, ErrorClass::AccessDenied | ErrorClass::NoAnswer), "{error}");
    timeout(PATIENCE, dropped.recv()).await.unwrap();
}

#[tokio::test]
async fn who_goes_away_leaves_no_stream_behind() {
    let (store, mut ends) = answer_early("", true).await;
    let (stream, mut dropped) = endless();
    let put = store.put_part(part(streamed(stream, 1 << 40), true));
    assert!(timeout(Duration::from_millis(300), put).await.is_err());
    timeout(PATIENCE, dropped.recv()).await.unwrap();
    timeout(PATIENCE, ends.recv()).await.unwrap();
}

#[tokio::test]
async fn chunks_are_taken_as_they_arrive() {
    let (store, mut requests) = serve(WRITTEN).await;
    let (chunks, arriving) = mpsc::unbounded_channel::<Result<Bytes, ServiceError>>();
    let stream =
        stream::unfold(arriving, |mut arriving| async { arriving.recv().await.map(|chunk| (chunk, arriving)) });
    let putting = tokio::spawn(async move { store.put_part(part(streamed(Box::pin(stream), 4), true)).await });
    for chunk in ["1", "23", "4"] {
        assert!(!putting.is_finished());
        chunks.send(Ok(Bytes::from_static(chunk.as_bytes()))).unwrap();
        tokio::task::yield_now().await;
    }
    drop(chunks);
    timeout(PATIENCE, putting).await.unwrap().unwrap().unwrap();
    assert!(sent(&mut requests)[0].body.starts_with(b"4\r\n1234\r\n0\r\n"));
}
