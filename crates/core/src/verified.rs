//! Which parts of a multipart upload were verified, so that whoever carries it on knows which of the listed parts are
//! the bytes that were read, and which only have their size.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::etag::{ETag, Md5Digest};

/// Bytes that are kept of each part.
const DIGEST_LEN: usize = 16;
/// Stands for a part that was not verified.
const UNVERIFIED: Md5Digest = [0; DIGEST_LEN];

/// The parts of one upload that were verified, each with what the destination's ETag of it was then: a part that was
/// stored again since has another one where its bytes are others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedParts(BTreeMap<u32, Md5Digest>);

/// What is kept of an ETag: the MD5 that it is, or 16 bytes of its SHA-256 where it is none.
fn digest_of(etag: &ETag) -> Md5Digest {
    etag.md5().unwrap_or_else(|| {
        let mut digest = Md5Digest::default();
        digest.copy_from_slice(&Sha256::digest(etag.as_str())[..DIGEST_LEN]);
        digest
    })
}

impl VerifiedParts {
    /// Remembers that a part was verified, and the ETag that it has at the destination.
    pub fn insert(&mut self, number: u32, etag: &ETag) {
        self.0.insert(number, digest_of(etag));
    }

    /// Whether the part was verified and has this ETag since.
    pub fn proves(&self, number: u32, etag: &ETag) -> bool {
        self.0.get(&number).is_some_and(|digest| *digest != UNVERIFIED && *digest == digest_of(etag))
    }

    /// Takes over what another worker verified; what is known here stands.
    pub fn merge(&mut self, other: Self) {
        for (number, digest) in other.0 {
            self.0.entry(number).or_insert(digest);
        }
    }

    /// Parts that were verified.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts of a range of numbers as text: base64 of 16 bytes for each, in order, up to the last one that was
    /// verified; zeros stand for one that was not. 10,000 parts, the most of an upload, are 213,336 characters, which is
    /// within the 400 KB of an item of DynamoDB.
    pub fn encode(&self, numbers: RangeInclusive<u32>) -> String {
        let first = *numbers.start();
        let mut bytes = Vec::new();
        for (number, digest) in self.0.range(numbers) {
            let place = usize::try_from(number - first).unwrap_or(usize::MAX).saturating_mul(DIGEST_LEN);
            bytes.resize(place, 0);
            bytes.extend_from_slice(digest);
        }
        STANDARD.encode(bytes)
    }

    /// What [`Self::encode`] gave of parts from `first` on. Text that is no such thing holds no part: parts are then
    /// sent again.
    pub fn decode(first: u32, text: &str) -> Self {
        let bytes = STANDARD.decode(text).unwrap_or_default();
        let digests = bytes.chunks_exact(DIGEST_LEN).filter_map(|chunk| Md5Digest::try_from(chunk).ok());
        Self((first..).zip(digests).filter(|(_, digest)| *digest != UNVERIFIED).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::MAX_PARTS;
    use proptest::prelude::*;

    #[test]
    fn a_part_is_proved_by_the_etag_that_it_was_verified_with() {
        let (plain, opaque) = (ETag::of_content(&[7; 16]), ETag::new("no digest"));
        let mut parts = VerifiedParts::default();
        parts.insert(1, &plain);
        parts.insert(3, &opaque);
        for (number, etag, expected) in [
            (1, &plain, true),
            (1, &opaque, false),
            (2, &plain, false),
            (3, &opaque, true),
            (3, &ETag::new("another"), false),
            (4, &ETag::of_content(&UNVERIFIED), false),
        ] {
            assert_eq!(parts.proves(number, etag), expected, "{number} {etag:?}");
        }
        assert!(parts.proves(1, &ETag::new(&plain.as_str().to_uppercase())), "hex in any case");
    }

    #[test]
    fn all_parts_of_the_largest_upload_fit_into_an_item() {
        let mut parts = VerifiedParts::default();
        let last = u32::try_from(MAX_PARTS).unwrap();
        (1..=last).for_each(|number| parts.insert(number, &ETag::of_content(&[1; 16])));
        assert_eq!(parts.encode(1..=last).len(), 213_336);
    }

    #[test]
    fn what_is_no_list_of_parts_proves_nothing() {
        for text in ["", "!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            assert!(VerifiedParts::decode(1, text).is_empty(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_recorded_is_read_back(numbers in prop::collection::btree_set(1_u32..300, 0..40), first in 1_u32..300) {
            let mut parts = VerifiedParts::default();
            for number in &numbers {
                parts.insert(*number, &ETag::new(&format!("etag {number}")));
            }
            let read = VerifiedParts::decode(first, &parts.encode(first..=299));
            for number in 1..300 {
                let expected = number >= first && numbers.contains(&number);
                prop_assert_eq!(read.proves(number, &ETag::new(&format!("etag {number}"))), expected);
            }
        }
    }
}
