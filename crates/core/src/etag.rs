//! ETags as S3 computes them, and their comparison.

use std::hash::{Hash, Hasher};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// Prefix of a weak ETag, before the quotes. Source: RFC 9110, section 8.8.3; the `W` is case-sensitive.
const WEAK: &str = "W/";

/// An ETag as returned by a service, without quotes; a weak one keeps them after its `W/`.
///
/// Two ETags are equal if they denote the same content of one object. Weak and strong ones compare alike (the weak
/// comparison of RFC 9110, section 8.8.3.2). Those in the form of a digest compare without case, since services and
/// proxies write hexadecimal digits in either; others compare exactly. Requests always send the text that the service
/// returned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(String);

/// The result of comparing the ETags of two contents of equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ETagComparison {
    /// Equal ETags: equal content.
    Same,
    /// Both are MD5 digests of their content and differ.
    Different,
    /// They differ and at least one is not a plain MD5: the part layouts may differ.
    NotComparable,
}

/// An MD5 digest.
pub type Md5Digest = [u8; 16];

impl PartialEq for ETag {
    fn eq(&self, other: &Self) -> bool {
        let (this, other) = (self.opaque(), other.opaque());
        this == other || (this.eq_ignore_ascii_case(other) && has_digest_form(this))
    }
}

impl Eq for ETag {}

impl Hash for ETag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let opaque = self.opaque();
        if has_digest_form(opaque) {
            opaque.to_ascii_lowercase().hash(state);
        } else {
            opaque.hash(state);
        }
    }
}

/// Returns true for 32 hexadecimal digits, with or without a number of parts.
fn has_digest_form(opaque: &str) -> bool {
    let digest = opaque.split_once('-').map_or(opaque, |(digest, _)| digest);
    digest.len() == 32 && digest.bytes().all(|digit| digit.is_ascii_hexdigit())
}

impl ETag {
    /// Parses an ETag from a header or listing, with or without quotes.
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        match text.strip_prefix(WEAK).and_then(|tag| tag.strip_prefix('"')) {
            Some(tag) => Self(format!("{WEAK}\"{}\"", tag.trim_matches('"'))),
            None => Self(text.trim_matches('"').to_owned()),
        }
    }

    /// Returns the ETag of an object written in one request: its MD5 in hexadecimal.
    /// Source: "Object" in the S3 API reference, member `ETag`.
    pub fn of_content(md5: &Md5Digest) -> Self {
        Self(hex::encode(md5))
    }

    /// Returns the ETag of an object completed from parts: the MD5 of their MD5s, and the number of parts.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a Md5Digest>) -> Self {
        let mut hasher = Md5::new();
        let mut count = 0_usize;
        for part in parts {
            hasher.update(part);
            count += 1;
        }
        Self(format!("{}-{count}", hex::encode(hasher.finalize())))
    }

    /// Returns the text, without quotes if the ETag is strong.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text between the quotes.
    pub fn opaque(&self) -> &str {
        let weak = self.0.strip_prefix(WEAK).and_then(|tag| tag.strip_prefix('"'));
        weak.map_or(&self.0, |tag| tag.trim_end_matches('"'))
    }

    /// Returns true if the bytes under this ETag may differ, as with proxies that compress and decompress content.
    pub fn is_weak(&self) -> bool {
        self.0.len() > self.opaque().len()
    }

    /// Returns the text in quotes, as the service sent it.
    pub fn quoted(&self) -> String {
        if self.is_weak() { self.0.clone() } else { format!("\"{}\"", self.0) }
    }

    /// Returns the text in quotes for conditional headers. Returns `None` for a weak ETag: `If-Match` uses the strong
    /// comparison, so its condition would never hold. Source: RFC 9110, section 13.1.1.
    pub fn condition(&self) -> Option<String> {
        (!self.is_weak()).then(|| self.quoted())
    }

    /// Returns the number of parts if this has the form of an object completed from parts.
    pub fn parts(&self) -> Option<u32> {
        let (digest, count) = self.opaque().split_once('-')?;
        (digest.len() == 32).then(|| count.parse().ok()).flatten().filter(|count| *count > 0)
    }

    /// Returns the digest if this has the form of the MD5 of a whole content. A weak ETag says nothing about the bytes.
    pub fn md5(&self) -> Option<Md5Digest> {
        let mut digest = Md5Digest::default();
        hex::decode_to_slice(&self.0, &mut digest).ok().map(|()| digest)
    }

    /// Compares the contents that two ETags stand for.
    ///
    /// | this | other | result |
    /// |---|---|---|
    /// | x | x | Same |
    /// | MD5 | another MD5 | Different |
    /// | MD5 | with `-N` | `NotComparable` |
    /// | with `-N` | another with `-M` | `NotComparable` |
    /// | weak | another | `NotComparable` |
    pub fn compare(&self, other: &Self) -> ETagComparison {
        if self == other {
            ETagComparison::Same
        } else if self.md5().is_some() && other.md5().is_some() {
            ETagComparison::Different
        } else {
            ETagComparison::NotComparable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

    #[test]
    fn compares_as_the_table_says() {
        let other = "0cc175b9c0f1b6a831c399e269772661";
        for (a, b, expected) in [
            (EMPTY, EMPTY, ETagComparison::Same),
            ("x-2", "x-2", ETagComparison::Same),
            (EMPTY, other, ETagComparison::Different),
            (EMPTY, "d41d8cd98f00b204e9800998ecf8427e-1", ETagComparison::NotComparable),
            ("a-2", "a-3", ETagComparison::NotComparable),
            (EMPTY, "D41D8CD98F00B204E9800998ECF8427E", ETagComparison::Same),
            (EMPTY, "W/\"d41d8cd98f00b204e9800998ecf8427e\"", ETagComparison::Same),
            (other, "W/\"d41d8cd98f00b204e9800998ecf8427e\"", ETagComparison::NotComparable),
            ("CJbA", "cjba", ETagComparison::NotComparable),
        ] {
            assert_eq!(ETag::new(a).compare(&ETag::new(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_tag_goes_back_as_it_came_and_is_found_again_in_either_case() {
        for (text, quoted, opaque, condition) in [
            ("\"aB\"", "\"aB\"", "aB", Some("\"aB\"")),
            ("aB", "\"aB\"", "aB", Some("\"aB\"")),
            ("W/\"aB\"", "W/\"aB\"", "aB", None),
            ("W/aB", "\"W/aB\"", "W/aB", Some("\"W/aB\"")),
            ("", "\"\"", "", Some("\"\"")),
        ] {
            let tag = ETag::new(text);
            let found = (tag.quoted(), tag.opaque(), tag.condition());
            assert_eq!(found, (quoted.to_owned(), opaque, condition.map(ToOwned::to_owned)), "{text}");
            assert_eq!(tag.is_weak(), condition.is_none(), "{text}");
            let json = serde_json::to_string(&tag).unwrap();
            let back: ETag = serde_json::from_str(&json).unwrap();
            assert_eq!((back.quoted(), &back), (quoted.to_owned(), &tag), "{text}");
        }
        let upper = ETag::new("D41D8CD98F00B204E9800998ECF8427E-2");
        let set: std::collections::HashSet<ETag> = [upper, ETag::new("d41d8cd98f00b204e9800998ecf8427e-2")].into();
        assert_eq!(set.len(), 1);
        assert_ne!(ETag::new("aB"), ETag::new("ab"), "no digest: its case may mean something");
        assert_eq!(ETag::new("W/\"aB\""), ETag::new("aB"));
        assert_eq!(ETag::new("W/\"d41d8cd98f00b204e9800998ecf8427e\"").md5(), None);
    }

    #[test]
    fn the_number_of_parts_stands_at_the_end() {
        let of = |text| ETag::new(text).parts();
        assert_eq!(of("d41d8cd98f00b204e9800998ecf8427e-12"), Some(12));
        for text in [EMPTY, "x-2", "d41d8cd98f00b204e9800998ecf8427e-0", "d41d8cd98f00b204e9800998ecf8427e-x"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn the_tag_of_parts_is_the_one_s3_documents() {
        // printf a | md5sum, printf b | md5sum, and the MD5 of both digests as bytes.
        let parts: Vec<Md5Digest> = ["a", "b"].iter().map(|text| Md5::digest(text).into()).collect();
        assert_eq!(ETag::of_parts(&parts).as_str(), "96e024ba2074fe77e8e965ba43a704be-2");
    }

    proptest! {
        #[test]
        fn comparison_is_symmetric(a in "[0-9a-f]{32}(-[1-9])?", b in "[0-9a-f]{32}(-[1-9])?") {
            let (a, b) = (ETag::new(&a), ETag::new(&b));
            prop_assert_eq!(a.compare(&b), b.compare(&a));
            prop_assert_eq!(a.compare(&a), ETagComparison::Same);
        }
    }
}
