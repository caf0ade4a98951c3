//! Keys in XML documents.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::S3Result;
use s3s::dto::EncodingType;

use crate::error::refused;

/// What S3 encodes in keys of listings: all but the unreserved characters and `/`; a space becomes a plus sign.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*').remove(b'/').remove(b' ');

/// How keys are written in a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    encoded: bool,
}

impl Keys {
    /// Reads the request's `encoding-type`.
    pub(crate) fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { encoded: false }),
            Some(EncodingType::URL) => Ok(Self { encoded: true }),
            Some(_) => Err(refused("InvalidArgument", "invalid encoding method specified in request")),
        }
    }

    /// Writes a key. Without encoding, a key that XML can't hold is an error.
    /// Source: `ListObjectsV2` in the S3 API reference, `encoding-type`.
    pub(crate) fn write(self, key: &str) -> S3Result<String> {
        if self.encoded {
            return Ok(utf8_percent_encode(key, ENCODED).to_string().replace(' ', "+"));
        }
        let message = "a key has characters that XML can't hold: ask for encoding-type=url";
        in_xml(key.to_owned()).ok_or_else(|| refused("InvalidRequest", message))
    }

    /// Writes the text of an optional parameter, which is repeated in the answer.
    pub(crate) fn repeat(self, text: Option<&str>) -> S3Result<Option<String>> {
        text.map(|text| self.write(text)).transpose()
    }
}

/// Returns a text that XML can hold; `None` for others. Source: "Characters" in XML 1.0, section 2.2.
pub(crate) fn in_xml(text: String) -> Option<String> {
    let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().all(fits).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_as_amazon_encodes_them() {
        let keys = Keys { encoded: true };
        for (key, expected) in [
            ("a/b//c", "a/b//c"),
            ("two words", "two+words"),
            ("1+1=2", "1%2B1%3D2"),
            ("100%", "100%25"),
            ("\u{1}\u{1f600}", "%01%F0%9F%98%80"),
        ] {
            assert_eq!(keys.write(key).unwrap(), expected);
        }
    }

    #[test]
    fn a_key_beyond_xml_is_refused_where_it_is_not_encoded() {
        let keys = Keys { encoded: false };
        assert_eq!(keys.write("a b").unwrap(), "a b");
        assert!(keys.write("\u{1}").is_err() && keys.write("\u{fffe}").is_err());
    }
}
