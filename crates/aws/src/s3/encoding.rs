//! Texts as S3 writes them: keys in listings, tags in a header, ranges, digests.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use migration_core::etag::Md5Digest;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stands for itself in a query string. Source: RFC 3986, section 2.3.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A key as a listing with `encoding-type=url` shows it; none if that is no UTF-8.
///
/// Amazon writes a space as `+` and a plus as `%2B`; others write a space as `%20`. Both are read here.
pub(super) fn decode_key(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Tags as the header `x-amz-tagging` takes them; none without tags.
pub(super) fn tagging(tags: &[(String, String)]) -> Option<String> {
    let encode = |text| utf8_percent_encode(text, UNRESERVED);
    let pairs: Vec<String> = tags.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// A `Range` header for this first byte and at least one byte.
pub(super) fn range(first: u64, length: u64) -> String {
    format!("bytes={first}-{}", first.saturating_add(length.saturating_sub(1)))
}

/// First byte and size of the whole object from a `Content-Range` header.
pub(super) fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()?))
}

/// A digest as the header `Content-MD5` takes it.
pub(super) fn md5(digest: &Md5Digest) -> String {
    STANDARD.encode(digest)
}

/// Whether a header can carry this value. Source: RFC 9110, section 5.5.
pub(super) fn fits_header(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(content_range("bytes 10-14/99"), Some((10, 99)));
        for text in ["", "bytes */99", "bytes 1-2/*", "bytes 1/2", "items 1-2/3"] {
            assert_eq!(content_range(text), None, "{text}");
        }
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
