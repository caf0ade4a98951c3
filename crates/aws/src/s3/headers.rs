//! Response headers as received. Most are parsed here because the SDK's deserialiser rejects the whole response over
//! one unexpected header: a time in ISO 8601, metadata in Latin-1, a name that occurs twice.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::http::Headers;

/// Headers left to the SDK: strings that the adapters take from its outputs, and those that its own layers read.
const LEFT: &[&str] = &[
    "etag",
    "x-amz-version-id",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-type",
    "x-amz-request-id",
    "x-amz-id-2",
    "date",
    "age",
    "content-length",
    "content-type",
];

/// Interceptor that removes from successful responses all headers that the SDK need not or can't read.
#[derive(Debug)]
pub(super) struct StripHeaders;

impl Intercept for StripHeaders {
    fn name(&self) -> &'static str {
        "StripHeaders"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_success() {
            strip(context.response_mut().headers_mut());
        }
        Ok(())
    }
}

fn strip(headers: &mut Headers) {
    let mut names: Vec<String> = headers.iter_bytes().map(|(name, _)| name.to_owned()).collect();
    names.dedup();
    for name in names {
        let is_left = LEFT.contains(&name.as_str());
        if is_left && headers.get_all_bytes(&name).count() == 1 && headers.get(&name).is_some() {
            continue;
        }
        let first = headers.get(&name).filter(|_| is_left).map(ToOwned::to_owned);
        headers.remove(&name);
        if let Some(first) = first {
            headers.insert(name, first);
        }
    }
}

/// Headers of the last response to a request. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Headers>>);

impl Kept {
    /// Takes the headers; empty before a response has come.
    pub(super) fn take(&self) -> Answered {
        Answered(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Intercept for Kept {
    fn name(&self) -> &'static str {
        "KeepHeaders"
    }

    /// Runs before any interceptor can change the headers.
    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone_from(context.response().headers());
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Answered(Headers);

/// A header value that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Answered {
    /// Takes the headers of a response.
    pub(super) fn of(answer: &mut HttpResponse) -> Self {
        Self(std::mem::take(answer.headers_mut()))
    }

    /// Returns the value of a header; values of a repeated header are joined with commas. Source: RFC 9110, section
    /// 5.3.
    pub(super) fn value(&self, name: &str) -> Result<Option<String>, Unreadable> {
        let mut values = self.0.get_all_bytes(name).map(|bytes| std::str::from_utf8(bytes).map(str::trim));
        let Some(first) = values.next() else { return Ok(None) };
        let mut text = first.map_err(|_| Unreadable)?.to_owned();
        for value in values {
            text.push_str(", ");
            text.push_str(value.map_err(|_| Unreadable)?);
        }
        Ok(Some(text))
    }

    /// Returns the first value of a header; `None` if it is empty or not UTF-8.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// Returns a header's value as a number.
    pub(super) fn number<N: std::str::FromStr>(&self, name: &str) -> Option<N> {
        self.text(name)?.parse().ok()
    }

    /// Returns a header's time in milliseconds since 1970.
    pub(super) fn time(&self, name: &str) -> Option<i64> {
        time(self.text(name)?)
    }

    /// Returns the names of the headers with this prefix, without the prefix, each once.
    pub(super) fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let mut last = None;
        let names = self.0.iter_bytes().filter_map(move |(name, _)| name.strip_prefix(prefix));
        names.filter(move |name| last.replace(*name) != Some(*name))
    }
}

/// Parses a time in the format of HTTP or ISO 8601 into milliseconds since 1970.
pub(super) fn time(text: &str) -> Option<i64> {
    [DateTimeFormat::HttpDate, DateTimeFormat::DateTimeWithOffset]
        .into_iter()
        .find_map(|format| DateTime::from_str(text, format).ok())
        .and_then(|time| time.to_millis().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_http_and_iso_8601_write_them() {
        for (text, expected) in [
            ("Thu, 01 Jan 2026 00:00:00 GMT", Some(1_767_225_600_000)),
            ("2026-01-01T00:00:00Z", Some(1_767_225_600_000)),
            ("2026-01-01T00:00:00.250Z", Some(1_767_225_600_250)),
            ("2026-01-01T01:00:00+01:00", Some(1_767_225_600_000)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }

    #[test]
    fn the_sdk_is_left_what_it_can_read() {
        let mut headers = Headers::new();
        headers.insert("etag", "\"a\"");
        headers.append("etag", "\"b\"");
        headers.insert("x-amz-abort-date", "never");
        headers.insert("x-amz-request-id", "R");
        headers.insert("content-length", "0");
        strip(&mut headers);
        assert_eq!((headers.get("etag"), headers.get("x-amz-abort-date")), (Some("\"a\""), None));
        assert_eq!((headers.get("x-amz-request-id"), headers.len()), (Some("R"), 3));
    }
}
