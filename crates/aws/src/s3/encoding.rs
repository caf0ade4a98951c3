//! Encodings of S3: keys in listings and copy sources, tags in a header, ranges, digests, checksums.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr2;
use migration_core::etag::Md5Digest;
use migration_core::ports::{Checksum, CopySource};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Encodes all but the unreserved characters, for query strings. Source: RFC 3986, section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes all but the unreserved characters and `/`, for paths.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Decodes a key of a listing with `encoding-type=url`; `None` if the result is not UTF-8.
///
/// Amazon writes a space as `+` and a plus sign as `%2B`; other services write a space as `%20`. Both are accepted.
pub(super) fn decode_key(text: &str) -> Option<String> {
    let mut key = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(at) = memchr2(b'+', b'%', rest) {
        let (plain, encoded) = rest.split_at_checked(at)?;
        key.extend_from_slice(plain);
        let (byte, after) = match encoded {
            [b'+', after @ ..] => (b' ', after),
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_byte(*high, *low)?, after)
            }
            [other, after @ ..] => (*other, after),
            [] => break,
        };
        key.push(byte);
        rest = after;
    }
    key.extend_from_slice(rest);
    String::from_utf8(key).ok()
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// Encodes a key for the path of a URL.
pub(super) fn encode_key(key: &str) -> impl std::fmt::Display {
    utf8_percent_encode(key, PATH)
}

/// Encodes a value for a query string.
pub(super) fn encode_value(value: &str) -> impl std::fmt::Display {
    utf8_percent_encode(value, UNRESERVED)
}

/// Returns the value of the header `x-amz-tagging`; `None` without tags.
pub(super) fn tagging(tags: &[(String, String)]) -> Option<String> {
    let pair = |(key, value): &(String, String)| format!("{}={}", encode_value(key), encode_value(value));
    let pairs: Vec<String> = tags.iter().map(pair).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// Returns the value of the header `x-amz-copy-source`. Services decode it like a query string, so all but unreserved
/// characters are encoded, the plus sign included. Access points are named by ARN, with `/object/` before the key.
/// Source: `CopyObject` in the S3 API reference.
pub(super) fn copy_source(source: &CopySource<'_>) -> String {
    let between = if source.bucket.starts_with("arn:") { "/object/" } else { "/" };
    let key = encode_key(source.key);
    let version = source.version_id.map(|id| format!("?versionId={}", encode_value(id)));
    format!("{}{between}{key}{}", source.bucket, version.unwrap_or_default())
}

/// Returns a `Range` header that starts at byte `first`; a `length` of 0 counts as 1.
pub(super) fn range(first: u64, length: u64) -> String {
    format!("bytes={first}-{}", first.saturating_add(length.saturating_sub(1)))
}

/// Value of a `Content-Range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Bytes in the range.
    pub len: u64,
    /// Bytes of the whole object.
    pub size: u64,
}

impl ContentRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some(Self { first, len: last.checked_sub(first)?.checked_add(1)?, size: size.parse().ok()? })
    }
}

/// Returns the value of the header `Content-MD5`.
pub(super) fn md5(digest: &Md5Digest) -> String {
    STANDARD.encode(digest)
}

/// Encodes a checksum as in headers, trailers and XML: base64 of its big-endian bytes.
pub(super) fn encode_checksum(checksum: Checksum) -> String {
    STANDARD.encode(checksum.0.to_be_bytes())
}

/// Decodes a checksum; `None` for anything else, such as a checksum of checksums with its suffix `-N`.
pub(super) fn decode_checksum(text: &str) -> Option<Checksum> {
    let bytes = STANDARD.decode(text).ok()?;
    Some(Checksum(u64::from_be_bytes(bytes.try_into().ok()?)))
}

/// Returns a version id; `None` for `null`, the id in buckets without versions or with versions suspended.
pub(super) fn version_id(text: Option<&str>) -> Option<String> {
    text.filter(|id| !id.is_empty() && *id != "null").map(ToOwned::to_owned)
}

/// Returns true if a header can hold this value. Source: RFC 9110, section 5.5.
pub(super) fn fits_header(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_decoded_as_the_library_does(text in "[a-f0-9+%\u{80}é]{0,20}") {
            let spaced = text.replace('+', " ");
            let expected = percent_decode_str(&spaced).decode_utf8().ok();
            prop_assert_eq!(decode_key(&text), expected.map(std::borrow::Cow::into_owned));
        }
    }

    #[test]
    fn keys_of_listings_are_decoded_as_both_kinds_write_them() {
        for (text, key) in [
            ("a/b//c", "a/b//c"),
            ("two+words", "two words"),
            ("two%20words", "two words"),
            ("1%2B1", "1+1"),
            ("100%25", "100%"),
            ("%2541", "%41"),
            ("%F0%9F%98%80%0A%01", "\u{1f600}\n\u{1}"),
        ] {
            assert_eq!(decode_key(text).as_deref(), Some(key), "{text}");
        }
        assert_eq!(decode_key("%ff"), None);
    }

    #[test]
    fn tags_are_one_query_string() {
        assert_eq!(tagging(&[]), None);
        let tags = [("a b".to_owned(), "1+1=2&c".to_owned()), ("é".to_owned(), String::new())];
        assert_eq!(tagging(&tags).as_deref(), Some("a%20b=1%2B1%3D2%26c&%C3%A9="));
    }

    #[test]
    fn ranges_name_their_last_byte() {
        assert_eq!(range(0, 1), "bytes=0-0");
        assert_eq!(range(10, 5), "bytes=10-14");
        assert_eq!(ContentRange::parse("bytes 10-14/99"), Some(ContentRange { first: 10, len: 5, size: 99 }));
        for text in ["", "bytes */99", "bytes 1-2/*", "bytes 1/2", "bytes 2-1/3", "items 1-2/3"] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn copy_sources_survive_their_decoding() {
        let etag = migration_core::etag::ETag::new("e");
        for (bucket, key, version_id, expected) in [
            ("b", "a/b.c-d_e~f", None, "b/a/b.c-d_e~f"),
            ("b", "/a//../b", None, "b//a//../b"),
            ("b", "1+1 = 2?x&y#z%20", None, "b/1%2B1%20%3D%202%3Fx%26y%23z%2520"),
            ("b", "é\u{1f600}\n", Some("v/1+"), "b/%C3%A9%F0%9F%98%80%0A?versionId=v%2F1%2B"),
            ("arn:aws:s3:r:1:accesspoint/p", "k", None, "arn:aws:s3:r:1:accesspoint/p/object/k"),
        ] {
            let source = CopySource { bucket, key, version_id, if_match: &etag };
            assert_eq!(copy_source(&source), expected);
        }
    }

    #[test]
    fn checksums_are_base64_of_their_bytes() {
        // Source: catalogue of parametrised CRC algorithms, CRC-64/NVME, check value of "123456789".
        let check = Checksum(0xae8b_1486_0a79_9888);
        assert_eq!(encode_checksum(check), "rosUhgp5mIg=");
        assert_eq!(decode_checksum("rosUhgp5mIg="), Some(check));
        for text in ["", "rosUhgp5mIg=-2", "rosUhg==", "?"] {
            assert_eq!(decode_checksum(text), None, "{text}");
        }
    }

    #[test]
    fn the_null_version_is_none() {
        assert_eq!([None, Some(""), Some("null")].map(version_id), [None, None, None]);
        assert_eq!(version_id(Some("v1")).as_deref(), Some("v1"));
    }

    #[test]
    fn digests_are_base64() {
        assert_eq!(md5(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA==");
    }

    #[test]
    fn header_values_have_no_control_characters() {
        assert!(fits_header("Wed, 21 Oct 2015 07:28:00 GMT\t0"));
        assert!(!fits_header("a\nb") && !fits_header("\u{7f}"));
    }
}
