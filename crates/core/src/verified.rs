//! Records which parts of an upload were verified when sent, so that a worker that continues the upload can tell proved
//! parts from parts that merely have the right size.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::etag::{ETag, Md5Digest};

/// Bytes stored per part.
const DIGEST_LEN: usize = 16;
/// Placeholder for a part that was not verified.
const UNVERIFIED: Md5Digest = [0; DIGEST_LEN];

/// The verified parts of one upload, each with a digest of its ETag at the destination. A part that was later
/// overwritten with other bytes has another ETag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedParts(BTreeMap<u32, Md5Digest>);

/// Returns the MD5 that an ETag consists of, or 16 bytes of its SHA-256 if it is not an MD5.
fn digest_of(etag: &ETag) -> Md5Digest {
    etag.md5().unwrap_or_else(|| {
        let mut digest = Md5Digest::default();
        digest.copy_from_slice(&Sha256::digest(etag.as_str())[..DIGEST_LEN]);
        digest
    })
}

impl VerifiedParts {
    /// Adds a verified part with its ETag at the destination.
    pub fn insert(&mut self, number: u32, etag: &ETag) {
        self.0.insert(number, digest_of(etag));
    }

    /// Returns true if the part was verified and still has this ETag.
    pub fn proves(&self, number: u32, etag: &ETag) -> bool {
        self.0.get(&number).is_some_and(|digest| *digest != UNVERIFIED && *digest == digest_of(etag))
    }

    /// Adds the parts verified by another worker. Existing entries are kept.
    pub fn merge(&mut self, other: Self) {
        for (number, digest) in other.0 {
            self.0.entry(number).or_insert(digest);
        }
    }

    /// Returns the number of verified parts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if no part was verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes the parts in a range of numbers: base64 of 16 bytes each, in order, up to the last verified part; zeros
    /// stand for a part that was not verified. 10,000 parts, the maximum of an upload, take 213,336 characters, within
    /// the 400 KB of a DynamoDB item.
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

    /// Decodes the output of [`Self::encode`] for parts from `first` on. Invalid text yields no parts, so that they are
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
