use super::*;
use futures::stream;
use migration_core::error::{ErrorClass, ServiceError};
use std::task::Waker;

fn source(chunks: Vec<Result<&'static str, &'static str>>) -> ByteStream {
    let broken = |why| ServiceError::new(ErrorClass::Transient, "read object body", "BodyBroken", why);
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    Box::pin(stream::iter(chunks.into_iter().map(move |chunk| chunk.map(bytes).map_err(broken))))
}

/// Polls a body to its end. Returns the bytes sent, and the error if it failed.
fn drain(chunks: Vec<Result<&'static str, &'static str>>, len: u64, checksum: bool) -> (String, Option<String>) {
    let (body, sending) = body(source(chunks), len, checksum);
    let mut body = body.into_inner();
    let announced = body.size_hint().exact().unwrap();
    let mut sent = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    let broken = loop {
        match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => sent.extend_from_slice(&frame.into_data().unwrap()),
            Poll::Ready(Some(Err(error))) => break Some(error.to_string()),
            Poll::Ready(None) => break None,
            Poll::Pending => panic!("the source never waits"),
        }
    };
    assert_eq!(sending.progress.is_sent(), broken.is_none());
    assert_eq!(sending.progress.broken(), broken);
    if broken.is_none() {
        assert_eq!((sent.len() as u64, body.size_hint().exact()), (announced, Some(0)));
        assert!(body.is_end_stream());
    }
    (String::from_utf8(sent).unwrap(), broken)
}

#[test]
fn a_body_is_its_stream() {
    assert_eq!(drain(vec![Ok("1234"), Ok(""), Ok("56789")], 9, false), ("123456789".into(), None));
    assert_eq!(drain(vec![], 0, false), (String::new(), None));
}

#[test]
fn a_checksum_comes_behind_one_chunk() {
    let framed = "9\r\n123456789\r\n0\r\nx-amz-checksum-crc64nvme:rosUhgp5mIg=\r\n\r\n";
    assert_eq!(drain(vec![Ok("1234"), Ok("56789")], 9, true), (framed.into(), None));
    let empty = "0\r\nx-amz-checksum-crc64nvme:AAAAAAAAAAA=\r\n\r\n";
    assert_eq!(drain(vec![], 0, true), (empty.into(), None));
    let (long, _) = drain(vec![Ok("0123456789abcdef"); 4096], 1 << 16, true);
    assert!(long.starts_with("10000\r\n0123"));
}

#[test]
fn a_body_never_ends_well_when_its_stream_did_not() {
    for checksum in [false, true] {
        for (chunks, expected) in [
            (vec![Ok("1234"), Err("gone")], "failed to read object body: BodyBroken: gone"),
            // An error after the last byte, which may be the verdict on the bytes.
            (vec![Ok("1234"), Ok("56789"), Err("gone")], "failed to read object body: BodyBroken: gone"),
            (vec![Ok("1234")], "the stream ended 5 bytes early"),
            (vec![Ok("1234"), Ok("567890")], "the stream is 1 bytes too long"),
            (vec![Ok("123456789"), Ok("0")], "the stream is 1 bytes too long"),
        ] {
            let (sent, broken) = drain(chunks.clone(), 9, checksum);
            assert_eq!(broken.as_deref(), Some(expected));
            assert!(!sent.contains('5'), "{chunks:?}: the last chunk was sent: {sent}");
        }
    }
}

#[test]
fn a_body_stops_when_nobody_waits() {
    let (body, sending) = body(source(vec![Ok("1234"), Ok("5")]), 5, false);
    drop(sending);
    let mut body = body.into_inner();
    let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Some(Err(_)))));
}
