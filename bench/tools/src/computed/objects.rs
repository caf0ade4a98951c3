//! Requests about objects.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    LAST_MODIFIED, RANGE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Response, StatusCode};
use jiff::Timestamp;

use super::Service;
use super::answer::{self, Body, Refusal};
use super::body::{Received, receive, text};
use super::buckets::{Bucket, Object, kept};
use super::query::Query;
use crate::pattern::{Content, part_size};

impl Service {
    /// Answers GET and HEAD.
    pub fn read(&self, bucket: &str, key: &str, query: &Query, head: &Parts) -> Result<Response<Body>, Refusal> {
        let object = self.buckets().get(bucket)?.object(key)?.clone();
        if !fulfils(head.headers.get(IF_MATCH), Some(&object)) {
            return Err(Refusal::PreconditionFailed);
        }
        let part = query.number("partNumber");
        let wanted = match part {
            Some(number) => Some(part_range(&object, number)?),
            None => text(&head.headers, RANGE.as_str()).map(|range| range_of(range, object.size)).transpose()?,
        };
        let mut answer = answer::empty();
        let headers = answer.headers_mut();
        if let Some(kept) = &object.headers {
            headers.extend(kept.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        if !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"));
        }
        headers.insert(ETAG, quoted(&object.etag)?);
        headers.insert(LAST_MODIFIED, value(&http_date(object.modified))?);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if part.is_some()
            && let Some((_, parts)) = object.etag.split_once('-')
        {
            headers.insert("x-amz-mp-parts-count", value(parts)?);
        }
        let range = wanted.clone().unwrap_or(0..object.size);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        if wanted.is_some() {
            let last = range.end.saturating_sub(1);
            headers.insert(CONTENT_RANGE, value(&format!("bytes {}-{last}/{}", range.start, object.size))?);
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        if head.method == Method::GET {
            *answer.body_mut() = Either::Right(Content::new(range.start, range.end - range.start));
        }
        Ok(answer)
    }

    /// Answers a PUT of a whole object.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let received = receive(headers, body, self.unchecked, &self.counts).await?;
        check_md5(headers, &received)?;
        let etag: Arc<str> = hex::encode(received.md5).into();
        let object =
            Object { size: received.size, etag: etag.clone(), modified: Timestamp::now(), headers: kept(headers) };
        insert(self.buckets().get(bucket)?, key, object, headers)?;
        with_etag(&etag)
    }

    /// Answers DELETE.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<Response<Body>, Refusal> {
        self.buckets().get(bucket)?.objects.remove(key);
        Ok(answer::no_content())
    }
}

/// Adds an object if the conditions of the request hold.
pub fn insert(bucket: &mut Bucket, key: &str, object: Object, headers: &HeaderMap) -> Result<(), Refusal> {
    let there = bucket.objects.get(key);
    let is_new = headers.get(IF_NONE_MATCH).is_none() || there.is_none();
    if !is_new || !fulfils(headers.get(IF_MATCH), there) {
        return Err(Refusal::PreconditionFailed);
    }
    bucket.objects.insert(key.to_owned(), object);
    Ok(())
}

/// Fails if the request's MD5 is not that of its body.
pub fn check_md5(headers: &HeaderMap, received: &Received) -> Result<(), Refusal> {
    let is_it = |claimed: &str| claimed == BASE64.encode(received.md5);
    text(headers, "content-md5").is_none_or(is_it).then_some(()).ok_or(Refusal::BadDigest)
}

fn fulfils(if_match: Option<&HeaderValue>, object: Option<&Object>) -> bool {
    let Some(wanted) = if_match else { return true };
    let is = |object: &Object| {
        wanted.to_str().is_ok_and(|wanted| wanted == "*" || wanted.trim_matches('"') == &*object.etag)
    };
    object.is_some_and(is)
}

/// Returns the bytes of a part of an object.
fn part_range(object: &Object, number: u64) -> Result<Range<u64>, Refusal> {
    let size = part_size(object.size).unwrap_or(object.size);
    let start = number.checked_sub(1).and_then(|before| before.checked_mul(size)).ok_or(Refusal::InvalidRange)?;
    if start > 0 && start >= object.size {
        return Err(Refusal::InvalidRange);
    }
    Ok(start..object.size.min(start + size))
}

/// Returns the bytes that a `Range` header asks for.
fn range_of(header: &str, size: u64) -> Result<Range<u64>, Refusal> {
    let (first, last) = header.strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or(Refusal::InvalidRange)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| Refusal::InvalidRange);
    let range = match (first, last) {
        ("", suffix) => size.saturating_sub(number(suffix)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..size.min(number(last)?.saturating_add(1)),
    };
    if range.start < range.end { Ok(range) } else { Err(Refusal::InvalidRange) }
}

/// Returns an answer that has an ETag only.
pub fn with_etag(etag: &str) -> Result<Response<Body>, Refusal> {
    let mut answer = answer::empty();
    answer.headers_mut().insert(ETAG, quoted(etag)?);
    Ok(answer)
}

fn quoted(etag: &str) -> Result<HeaderValue, Refusal> {
    value(&format!("\"{etag}\""))
}

fn value(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|_| Refusal::InvalidRequest)
}

fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        assert_eq!(range_of("bytes=0-9", 100), Ok(0..10));
        assert_eq!(range_of("bytes=90-200", 100), Ok(90..100));
        assert_eq!(range_of("bytes=90-", 100), Ok(90..100));
        assert_eq!(range_of("bytes=-10", 100), Ok(90..100));
        for wrong in ["bytes=100-", "bytes=9-1", "0-9", "bytes=a-b"] {
            assert_eq!(range_of(wrong, 100), Err(Refusal::InvalidRange), "{wrong}");
        }
    }

    #[test]
    fn parts_are_those_that_the_object_was_written_in() {
        let object = |size| Object { size, etag: "e".into(), modified: Timestamp::UNIX_EPOCH, headers: None };
        assert_eq!(part_range(&object(10), 1), Ok(0..10));
        assert_eq!(part_range(&object(0), 1), Ok(0..0));
        assert_eq!(part_range(&object((8 << 20) + 1), 2), Ok(8 << 20..(8 << 20) + 1));
        assert_eq!(part_range(&object(10), 2), Err(Refusal::InvalidRange));
        assert_eq!(part_range(&object(10), 0), Err(Refusal::InvalidRange));
    }
}
