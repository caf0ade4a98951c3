//! ETags as S3 makes them, and what two of them say of two contents.

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// An ETag without its quotes, as a service returned it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(String);

/// What two ETags say of two contents of equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ETagComparison {
    /// Equal tags: equal content.
    Same,
    /// Both are the MD5 of their content and they differ.
    Different,
    /// At least one is not a plain MD5 and they differ: parts may have been cut differently.
    NotComparable,
}

/// An MD5 digest.
pub type Md5Digest = [u8; 16];

impl ETag {
    /// Takes an ETag as it stands in a header or listing, with or without quotes.
    pub fn new(text: &str) -> Self {
        Self(text.trim_matches('"').to_owned())
    }

    /// The ETag of an object put in one request: the hex of its MD5.
    /// Source: "Object" in the S3 API reference, member `ETag`.
    pub fn of_content(md5: &Md5Digest) -> Self {
        Self(hex::encode(md5))
    }

    /// The ETag of an object completed from parts: the MD5 of their MD5s, and their number.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a Md5Digest>) -> Self {
        let mut hasher = Md5::new();
        let mut count = 0_usize;
        for part in parts {
            hasher.update(part);
            count += 1;
        }
        Self(format!("{}-{count}", hex::encode(hasher.finalize())))
    }

    /// The text, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text in quotes, as conditional headers take it.
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// The number of parts, where this has the form of an object completed from parts.
    pub fn parts(&self) -> Option<u32> {
        let (digest, count) = self.0.split_once('-')?;
        (digest.len() == 32).then(|| count.parse().ok()).flatten().filter(|count| *count > 0)
    }

    /// The digest, where this has the form of the MD5 of a whole content.
    pub fn md5(&self) -> Option<Md5Digest> {
        let mut digest = Md5Digest::default();
        hex::decode_to_slice(&self.0, &mut digest).ok().map(|()| digest)
    }

    /// What this and another ETag say of the contents they stand for.
    ///
    /// | this | other | result |
    /// |---|---|---|
    /// | x | x | Same |
    /// | MD5 | another MD5 | Different |
    /// | MD5 | with `-N` | `NotComparable` |
    /// | with `-N` | another with `-M` | `NotComparable` |
    pub fn compare(&self, other: &Self) -> ETagComparison {
        if self.0 == other.0 {
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
        ] {
            assert_eq!(ETag::new(a).compare(&ETag::new(b)), expected, "{a} {b}");
        }
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
