use http_body_util::BodyExt as _;
use hyper::header::{HeaderMap, HeaderValue};

use super::tags::{quoted, respell};
use super::{Act, Canned, Keys, Quirk, Quirks, Spelling, Times};
use crate::proxy::classify::Request;
use crate::proxy::full;

const PAGE: Canned = Canned { status: 404, content_type: "text/plain", body: "404 page not found" };
const SPELLING: Spelling = Spelling { told: |tag| tag.to_uppercase(), meant: |tag| tag.to_lowercase() };

fn quirk(act: Act) -> Quirk {
    Quirk { side: "source", operations: &["GetObject"], keys: Keys::Under("a/"), times: Times::First(2), act }
}

fn request(operation: &str, key: &str) -> Request {
    Request { operation: operation.into(), bucket: "b".into(), key: key.into(), ..Request::default() }
}

fn answer(headers: &[(&'static str, &'static str)]) -> hyper::http::response::Parts {
    let mut response = hyper::Response::new(());
    for (name, value) in headers {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    response.into_parts().0
}

#[test]
fn a_quirk_meets_its_side_operation_keys_and_number_only() {
    let quirks = Quirks::default();
    quirks.set(quirk(Act::Answer(PAGE)));
    let instead =
        |side: &str, operation, key| quirks.draw(side, &request(operation, key), &HeaderMap::new()).instead().is_some();
    assert!(!instead("destination worker-1", "GetObject", "a/b"));
    assert!(!instead("source worker-1", "HeadObject", "a/b"));
    assert!(!instead("source worker-1", "GetObject", "b"));
    assert!(instead("source worker-1", "GetObject", "a/b"));
    assert!(instead("source worker-1", "GetObject", "a/c"));
    assert!(!instead("source worker-1", "GetObject", "a/d"));
    assert_eq!(quirks.met(), 2);
}

#[test]
fn requests_are_refused_by_their_headers() {
    let quirks = Quirks::default();
    quirks.set(quirk(Act::Refuse("x-amz-tagging", PAGE)));
    let mut headers = HeaderMap::new();
    assert_eq!(quirks.draw("source", &request("GetObject", "a/b"), &headers).instead(), None);
    headers.insert("x-amz-tagging", HeaderValue::from_static("a=b"));
    assert_eq!(quirks.draw("source", &request("GetObject", "a/b"), &headers).instead(), Some(PAGE));
}

#[test]
fn etags_are_respelled_in_their_quotes() {
    let xml = "<a><ETag>&quot;ab-2&quot;</ETag><ETag>\"cd\"</ETag><ETag>ef</ETag></a>";
    let upper = "<a><ETag>&quot;AB-2&quot;</ETag><ETag>\"CD\"</ETag><ETag>EF</ETag></a>";
    assert_eq!(respell(xml, SPELLING.told), upper);
    assert_eq!(respell(upper, SPELLING.meant), xml);
    assert_eq!(quoted("*", SPELLING.told), "*");
}

#[tokio::test]
async fn headers_and_bodies_of_answers_change() {
    let quirks = Quirks::default();
    for act in [
        Act::ETags(SPELLING),
        Act::Strip(&["last-modified"]),
        Act::Change("content-encoding", |value| format!("aws-chunked,{value}")),
        Act::Cut(3),
    ] {
        quirks.set(Quirk { operations: &[], times: Times::Always, ..quirk(act) });
    }
    let drawn = quirks.draw("source", &request("GetObject", "a/b"), &HeaderMap::new());
    let mut parts = answer(&[("etag", "\"ab\""), ("last-modified", "now"), ("content-encoding", "gzip")]);
    let body = drawn.answer(&mut parts, full("content")).await.unwrap();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "con");
    let headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("etag", "\"AB\""), ("content-encoding", "aws-chunked,gzip")]);
}

#[tokio::test]
async fn a_packed_body_is_unpacked_unless_it_may_stay() {
    // printf hello | gzip -n
    const PACKED: &[u8] =
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 7, 0, 0x86, 0xa6, 0x10, 0x36, 5, 0, 0, 0];
    let quirks = Quirks::default();
    quirks.set(quirk(Act::Unpack));
    for (accepted, expected) in [("", &b"hello"[..]), ("identity", PACKED)] {
        let mut headers = HeaderMap::new();
        headers.insert("accept-encoding", HeaderValue::from_static(accepted));
        let drawn = quirks.draw("source", &request("GetObject", "a/b"), &headers);
        let mut parts = answer(&[("content-encoding", "gzip"), ("content-length", "25")]);
        let body = drawn.answer(&mut parts, full(PACKED)).await.unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        assert_eq!(parts.headers.contains_key("content-length"), accepted == "identity");
    }
}
