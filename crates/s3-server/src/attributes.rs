//! Attributes and tags of objects in headers.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use migration_core::ports::{Attributes, ObjectLock, Retention, RetentionMode, Tags};
use percent_encoding::percent_decode_str;
use s3s::{S3Error, S3Result};

use crate::error::refused;

const METADATA: &str = "x-amz-meta-";

/// Headers that ask for what the server does not have: it keeps neither encryption nor permissions.
const NOT_IMPLEMENTED: &[&str] = &["x-amz-server-side-encryption", "x-amz-grant-"];

/// Canned ACLs that change nothing where the owner is the only one with access.
const OWNERS_ACLS: &[&str] = &["private", "bucket-owner-full-control", "bucket-owner-read"];

/// Returns a header's value; `None` if it is absent or empty.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> S3Result<Option<&'a str>> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(name))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn invalid(name: &str) -> S3Error {
    refused("InvalidArgument", format!("the value of the header {name} is invalid"))
}

/// Refuses a request that asks for encryption or permissions, instead of storing an object without them.
pub(crate) fn check_known(headers: &HeaderMap) -> S3Result<()> {
    let unknown = headers.keys().find(|name| NOT_IMPLEMENTED.iter().any(|start| name.as_str().starts_with(start)));
    let acl = text(headers, "x-amz-acl")?.filter(|acl| !OWNERS_ACLS.contains(acl)).map(|_| "x-amz-acl");
    match unknown.map(HeaderName::as_str).or(acl) {
        None => Ok(()),
        Some(name) => Err(refused("NotImplemented", format!("header {name} is not implemented"))),
    }
}

/// Returns the attributes that a request gives to an object.
pub(crate) fn attributes(headers: &HeaderMap) -> S3Result<Attributes> {
    check_known(headers)?;
    let header = |name: &str| Ok::<_, S3Error>(text(headers, name)?.map(ToOwned::to_owned));
    let mut attributes = Attributes {
        content_type: header("content-type")?,
        content_encoding: header("content-encoding")?.and_then(|encoding| without_framing(&encoding)),
        content_language: header("content-language")?,
        content_disposition: header("content-disposition")?,
        cache_control: header("cache-control")?,
        expires: header("expires")?,
        website_redirect: header("x-amz-website-redirect-location")?,
        storage_class: header("x-amz-storage-class")?,
        lock: lock(headers)?,
        ..Attributes::default()
    };
    for (name, value) in headers {
        if let Some(name) = name.as_str().strip_prefix(METADATA) {
            let value = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(name))?;
            attributes.metadata.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(attributes)
}

/// Removes `aws-chunked`, which describes the request; `None` if nothing else is left.
fn without_framing(encoding: &str) -> Option<String> {
    let codings = encoding.split(',').map(str::trim);
    let codings: Vec<_> = codings.filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("aws-chunked")).collect();
    (!codings.is_empty()).then(|| codings.join(", "))
}

fn lock(headers: &HeaderMap) -> S3Result<ObjectLock> {
    const UNTIL: &str = "x-amz-object-lock-retain-until-date";
    let mode = match text(headers, "x-amz-object-lock-mode")? {
        None => None,
        Some("GOVERNANCE") => Some(RetentionMode::Governance),
        Some("COMPLIANCE") => Some(RetentionMode::Compliance),
        Some(_) => return Err(invalid("x-amz-object-lock-mode")),
    };
    let until = text(headers, UNTIL)?.map(|date| date.parse::<jiff::Timestamp>().map_err(|_| invalid(UNTIL)));
    let retention = match (mode, until.transpose()?) {
        (None, None) => None,
        (Some(mode), Some(until)) => Some(Retention { mode, until: until.as_millisecond() }),
        _ => {
            let message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
            return Err(refused("InvalidArgument", message));
        }
    };
    Ok(ObjectLock { retention, legal_hold: text(headers, "x-amz-object-lock-legal-hold")? == Some("ON") })
}

/// Returns the tags that a request gives to an object.
pub(crate) fn tags(headers: &HeaderMap) -> S3Result<Tags> {
    let Some(header) = text(headers, "x-amz-tagging")? else { return Ok(Tags::new()) };
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| invalid("x-amz-tagging"))
    };
    let pairs = header.split('&').filter(|pair| !pair.is_empty());
    let tags = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    });
    tags.collect()
}

/// Adds a header. A value that can't stand in one counts as missing, as S3 counts it.
pub(crate) fn add(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
        headers.insert(name, value);
    } else {
        let missing = headers.get("x-amz-missing-meta").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        headers.insert("x-amz-missing-meta", HeaderValue::from(missing.unwrap_or_default() + 1));
    }
}

/// Adds the attributes for which the library has no type that takes any text, and those of locks.
pub(crate) fn describe(headers: &mut HeaderMap, attributes: &Attributes) {
    if let Some(expires) = &attributes.expires {
        add(headers, "expires", expires);
    }
    for (name, value) in &attributes.metadata {
        add(headers, &format!("{METADATA}{name}"), value);
    }
    if let Some(retention) = attributes.lock.retention {
        let mode = match retention.mode {
            RetentionMode::Governance => "GOVERNANCE",
            RetentionMode::Compliance => "COMPLIANCE",
        };
        add(headers, "x-amz-object-lock-mode", mode);
        if let Ok(until) = jiff::Timestamp::from_millisecond(retention.until) {
            add(headers, "x-amz-object-lock-retain-until-date", &until.to_string());
        }
    }
    if attributes.lock.legal_hold {
        add(headers, "x-amz-object-lock-legal-hold", "ON");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn what_the_server_does_not_have_is_refused_by_name() {
        for (name, value) in [
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-server-side-encryption-customer-key", "k"),
            ("x-amz-grant-read", "id=1"),
            ("x-amz-acl", "public-read"),
        ] {
            let told = attributes(&headers(&[(name, value)])).unwrap_err();
            assert_eq!(told.code().as_str(), "NotImplemented");
            assert!(told.message().unwrap().contains(name), "{told}");
        }
        assert!(attributes(&headers(&[("x-amz-acl", "private")])).is_ok());
    }

    #[test]
    fn tags_are_one_query_string() {
        let header = [("x-amz-tagging", "a%20b=1%2B1&c+d&%C3%A9=")];
        let expected = [("a b", "1+1"), ("c d", ""), ("é", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(tags(&headers(&header)).unwrap(), expected);
        assert!(tags(&headers(&[("x-amz-tagging", "%ff=1")])).is_err());
    }

    #[test]
    fn a_lock_has_a_mode_and_an_end_or_neither() {
        const MODE: (&str, &str) = ("x-amz-object-lock-mode", "GOVERNANCE");
        const UNTIL: (&str, &str) = ("x-amz-object-lock-retain-until-date", "2026-01-01T00:00:00.5Z");
        let found = attributes(&headers(&[MODE, UNTIL])).unwrap().lock;
        let retention = Retention { mode: RetentionMode::Governance, until: 1_767_225_600_500 };
        assert_eq!(found, ObjectLock { retention: Some(retention), legal_hold: false });
        for wrong in [&[MODE][..], &[UNTIL], &[("x-amz-object-lock-mode", "NONE"), UNTIL]] {
            assert!(attributes(&headers(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_framing_of_a_request_is_no_encoding_of_its_object() {
        for (encoding, expected) in [("aws-chunked", None), ("aws-chunked,gzip", Some("gzip")), ("br", Some("br"))] {
            assert_eq!(without_framing(encoding).as_deref(), expected);
        }
    }
}
